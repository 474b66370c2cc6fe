//! Objects of the Gateway API whose status says that they are in force, and a real Envoy that does
//! otherwise. The API server is the stand-in.

mod data_plane;
mod objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hopsight_core::model::Security;
use hopsight_posture::hops::hop::Hop;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    api_stand_in::StandIn,
    envoy, http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{self, Pki},
    place::Place,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use serde_json::{Value, json};

use self::{
    data_plane::{bootstrap, servers},
    objects::objects,
};
use super::agent::{PodCgroup, component};

/// The finding.
const OTHERWISE: &str = "status_says_otherwise";
/// Within what each has to be found, from the first connection on.
const FOUND: Duration = Duration::from_secs(5);
/// Healthy objects beside those that are not.
const HEALTHY: usize = 20;

/// How a cluster of the data plane speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Plaintext,
    OneWay,
    Mutual,
}

/// What kind of route leads to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouteKind {
    Http,
    Grpc,
    Tcp,
}

impl RouteKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tcp => "TCPRoute",
        }
    }
}

/// What the status of a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Nothing at all.
    Absent,
    /// It is in force.
    Good,
    /// It is accepted, and what it refers to is missing.
    Unresolved,
}

/// A Service with its policy and route, and what Envoy makes of them.
struct Backend {
    name: String,
    route: RouteKind,
    /// What the policy trusts.
    validation: Value,
    status: Status,
    speaks: Speaks,
    /// The object that says otherwise than the wire shows.
    blamed: Option<&'static str>,
    address: SocketAddr,
    front: SocketAddr,
}

/// The backends of a run: four in which the status says otherwise, one that says truly that it is not in
/// force, and the healthy ones.
fn backends(block: Loopback) -> Vec<Backend> {
    use RouteKind::{Grpc, Http, Tcp};
    use Speaks::{Mutual, OneWay, Plaintext};
    use Status::{Absent, Good, Unresolved};

    let own =
        || json!({ "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "ca" }] });
    let system = || json!({ "wellKnownCACertificates": "System" });
    let names = || {
        let name = json!({ "type": "Hostname", "hostname": format!("a.{}", pki::DOMAIN) });
        let mut validation = own();
        validation["subjectAltNames"] = json!([name]);
        validation
    };
    let mut all = vec![
        // cilium/cilium #48307
        ("system-ca", Http, system(), Good, Plaintext, Some("BackendTLSPolicy shop/system-ca")),
        // cilium/cilium #48935
        ("grpc", Grpc, own(), Absent, Plaintext, Some("GRPCRoute shop/grpc")),
        // istio/istio #61515
        ("certificate", Http, own(), Good, OneWay, Some("Gateway shop/edge")),
        // envoyproxy/gateway #8143
        ("tcp", Tcp, own(), Good, Plaintext, Some("BackendTLSPolicy shop/tcp")),
        ("honest", Http, own(), Unresolved, Plaintext, None),
    ];
    let routes = [Http, Grpc, Tcp];
    let validations = [own(), names(), own()];
    for number in 0..HEALTHY {
        let (route, validation) = (routes[number % 3], validations[number % 3].clone());
        all.push(("healthy", route, validation, Good, Mutual, None));
    }
    let front = block.socket(1, 7000);
    let backend = |(number, (name, route, validation, status, speaks, blamed))| {
        let number: u8 = number;
        let is_healthy = name == "healthy";
        Backend {
            name: if is_healthy { format!("healthy-{number}") } else { String::from(name) },
            route,
            validation,
            status,
            speaks,
            blamed,
            address: block.socket(20 + number, 8443),
            // A byte stream has a port of its own.
            front: if route == Tcp { block.socket(1, 7100 + u16::from(number)) } else { front },
        }
    };
    (0..).zip(all).map(backend).collect()
}

/// The objects that are blamed for what a hop is.
fn blamed(hop: &Hop) -> BTreeSet<String> {
    let violations = hop.context.compliance.iter().flat_map(|one| &one.violations);
    let otherwise = violations.filter(|one| one.rule.as_str() == OTHERWISE);
    otherwise.map(|one| one.place.as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_status_that_says_otherwise_is_found() {
    let test = "a_status_that_says_otherwise_is_found";
    let Some(binary) = envoy::binary() else {
        hopsight_test_support::not_run(test, "Envoy is not installed");
        return;
    };
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let block = Loopback::reserve().unwrap();
    let backends = backends(block);
    let config = nginx::Config { http: servers(&backends, &pki), ..nginx::Config::default() };
    let upstreams = dir.path().join("upstreams");
    let _servers = Nginx::start(&upstreams, &config, &Place::here(), backends[0].address).unwrap();
    let pod = PodCgroup::create();
    let stand_in = StandIn::serving(objects(&backends, &pod)).unwrap();

    let path = dir.path().join("envoy.json");
    fs::write(&path, bootstrap(&backends, &pki).to_string()).unwrap();
    let words = ["-l", "warning", "--concurrency", "1", "--disable-hot-restart", "-c"];
    let words = words.into_iter().chain([utf8(&path).unwrap()]);
    let join = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
    let launcher = ["sh".into(), "-c".into(), join.into(), pod.container.clone().into()];
    let place = Place::behind(launcher, true);
    let log = dir.path().join("envoy.log");
    let mut proxy = Daemon::spawn_at(&place, &binary, words, &log).unwrap();
    proxy.wait_listening(backends[0].front).unwrap();

    let kubeconfig = stand_in.kubeconfig(dir.path()).unwrap();
    let config = dir.path().join("hopsight.toml");
    let options =
        format!("[kubernetes]\nkubeconfig = \"{}\"\ngateway = true\n", kubeconfig.display());
    fs::write(&config, options).unwrap();
    let options = ["--config", utf8(&config).unwrap(), "--cgroup", utf8(&pod.container).unwrap()];
    let agent = Agent::start(&dir.path().join("agent"), block.socket(2, 9464), &options).unwrap();
    let ask = |one: &Backend| http::get(one.front, &format!("/{}/", one.name));

    // The first proxy in a pod has the agent ask the API server.
    wait_until("the objects to be known", VERDICT, || {
        let _ = ask(backends.last().unwrap());
        Ok((component(&agent, "kubernetes")["state"] == "ready").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", component(&agent, "kubernetes")));

    let began_at = Instant::now();
    let mut found = BTreeMap::new();
    let expected: BTreeMap<_, _> = backends
        .iter()
        .filter_map(|one| Some((one.name.clone(), BTreeSet::from([one.blamed?.to_owned()]))))
        .collect();
    let look = |found: &mut BTreeMap<String, (BTreeSet<String>, Duration)>| {
        for one in &backends {
            // What does not speak TLS to the backend is answered with an error.
            let _ = ask(one);
        }
        let hops = agent.hops()?.hops;
        for one in &backends {
            let theirs = hops.iter().filter(|hop| hop.is_to(one.address));
            let blamed: BTreeSet<_> = theirs.flat_map(|hop| blamed(hop)).collect();
            if !blamed.is_empty() {
                found.entry(one.name.clone()).or_insert((blamed, began_at.elapsed()));
            }
        }
        anyhow::Ok(hops)
    };
    wait_until("the four to be found", VERDICT, || {
        look(&mut found)?;
        Ok((found.len() >= expected.len()).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{found:#?}\n{:#?}", agent.hops()));
    // As many connections again change nothing of it.
    let mut hops = Vec::new();
    for _ in 0..5 {
        hops = look(&mut found).unwrap();
    }
    let objects: BTreeMap<_, _> =
        found.iter().map(|(name, (blamed, _))| (name.clone(), blamed.clone())).collect();
    assert_eq!(objects, expected);
    for (name, (_, after)) in &found {
        assert!(*after <= FOUND, "{name}: after {after:?}");
    }
    for one in &backends {
        let hop = hops.iter().find(|hop| hop.is_to(one.address)).unwrap();
        let security = match one.speaks {
            Speaks::Plaintext => Security::Plaintext,
            Speaks::OneWay => Security::Tls,
            Speaks::Mutual => Security::Mtls,
        };
        assert_eq!((&*hop.proxy, hop.state.security), ("shop/edge", security), "{hop:#?}");
        if one.name.starts_with("healthy") {
            let compliance = hop.context.compliance.as_ref().unwrap();
            assert!(compliance.violations.is_empty(), "{hop:#?}");
        }
    }
    let slowest = found.values().map(|(_, after)| *after).max();
    println!(
        "{} of {} found within {slowest:?}, no other of {}",
        found.len(),
        expected.len(),
        backends.len()
    );
    let labels = [&format!("rule=\"{OTHERWISE}\"")[..]];
    assert_eq!(agent.metric("hopsight_policy_violation{", &labels).unwrap(), Some(1.0));
}

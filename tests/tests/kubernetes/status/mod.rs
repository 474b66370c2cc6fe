//! Objects of the Kubernetes API that say otherwise than a real Envoy does. The API server is the
//! stand-in, and Envoy stands in for whatever the objects are for.

mod data_plane;
mod gateway;
mod istio;
mod linkerd;

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
    pki::Pki,
    place::Place,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use serde_json::{Value, json};

use self::data_plane::{bootstrap, servers};
use super::agent::{PodCgroup, component};

/// The finding.
const OTHERWISE: &str = "status_says_otherwise";
/// Within what each has to be found, from the first connection on.
const FOUND: Duration = Duration::from_secs(30);
/// What those are called that speak as it is said, and how many of them there are.
const HEALTHY: &str = "healthy";
const HEALTHY_COUNT: usize = 20;

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

/// A Service, and what Envoy makes of what is said of it.
struct Backend {
    name: String,
    /// What the data plane calls it.
    cluster: String,
    route: RouteKind,
    speaks: Speaks,
    /// The object that says otherwise than the wire shows.
    blamed: Option<String>,
    address: SocketAddr,
    front: SocketAddr,
}

impl Backend {
    /// What `name` says of it, the `number`th: healthy ones are numbered, and speak as they should.
    fn new(
        block: Loopback,
        number: u8,
        name: &str,
        route: RouteKind,
        speaks: Speaks,
        blamed: Option<&str>,
    ) -> Self {
        let name = if name == HEALTHY { format!("{name}-{number}") } else { name.to_owned() };
        Self {
            cluster: name.clone(),
            name,
            route,
            speaks,
            blamed: blamed.map(str::to_owned),
            address: block.socket(20 + number, 8443),
            // A byte stream has a port of its own.
            front: match route {
                RouteKind::Tcp => block.socket(1, 7100 + u16::from(number)),
                RouteKind::Http | RouteKind::Grpc => block.socket(1, 7000),
            },
        }
    }

    fn is_healthy(&self) -> bool {
        self.name.starts_with(HEALTHY)
    }

    /// Whether a hop to it is as it speaks, and blames nothing where nothing is to be blamed.
    fn is_shown_by(&self, hop: &Hop) -> bool {
        let security = match self.speaks {
            Speaks::Plaintext => Security::Plaintext,
            Speaks::OneWay => Security::Tls,
            Speaks::Mutual => Security::Mtls,
        };
        let compliance = hop.context.compliance.as_ref();
        let is_clean = compliance.is_some_and(|compliance| compliance.violations.is_empty());
        (&*hop.proxy, hop.state.security) == ("shop/edge", security)
            && (is_clean || !self.is_healthy())
    }
}

/// What the API server has, by the paths of its kinds.
type Objects = Vec<(&'static str, Vec<Value>)>;

/// What is run.
struct Run<'a> {
    block: Loopback,
    backends: &'a [Backend],
    objects: &'a dyn Fn(&PodCgroup) -> Objects,
    /// The option that has the agent read them.
    option: &'a str,
    /// What is looked for.
    rule: &'a str,
}

/// The objects that are blamed for what a hop is.
fn blamed(hop: &Hop, rule: &str) -> BTreeSet<String> {
    let violations = hop.context.compliance.iter().flat_map(|one| &one.violations);
    let ours = violations.filter(|one| one.rule.as_str() == rule);
    ours.map(|one| one.place.as_ref().unwrap().to_string()).collect()
}

/// What the objects of an API server have in common.
fn meta(name: &str) -> Value {
    json!({ "name": name, "namespace": "shop", "generation": 1 })
}

/// The data plane's pod, whose one container has this name.
fn proxy_pod(pod: &PodCgroup, container: &str, labels: &Value) -> Value {
    let mut all = json!({ "pod-template-hash": "7d9c5b6d8" });
    for (key, value) in labels.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "edge-7d9c5b6d8-x2x4z", "namespace": "shop", "uid": pod.uid, "labels": all,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-7d9c5b6d8", "uid": "r",
                "controller": true,
            }],
        },
        "spec": {},
        "status": { "containerStatuses": [
            { "name": container, "containerID": format!("containerd://{}", pod.id) },
        ] },
    })
}

/// A Service for each backend, and where it is.
fn services(backends: &[Backend]) -> Objects {
    let services = backends.iter().map(|one| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta(&one.name),
            "spec": { "clusterIP": "None", "ports": [{ "name": "tls", "port": 443 }] },
        })
    });
    let slices = backends.iter().map(|one| {
        let mut metadata = meta(&one.name);
        metadata["labels"] = json!({ "kubernetes.io/service-name": one.name });
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [one.address.ip().to_string()] }],
            "ports": [{ "name": "tls", "port": one.address.port(), "protocol": "TCP" }],
        })
    });
    vec![
        ("/api/v1/services", services.collect()),
        ("/apis/discovery.k8s.io/v1/endpointslices", slices.collect()),
    ]
}

impl Run<'_> {
    /// Every backend is spoken to; those that are to be found have to be, in time, and no other.
    fn go(&self, test: &str) {
        let Some(binary) = envoy::binary() else {
            hopsight_test_support::not_run(test, "Envoy is not installed");
            return;
        };
        if !requirement::met(test, &["nginx"]) {
            return;
        }
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let &Self { block, backends, objects, option, rule } = self;
        let config = nginx::Config { http: servers(backends, &pki), ..nginx::Config::default() };
        let upstreams = dir.path().join("upstreams");
        let _servers =
            Nginx::start(&upstreams, &config, &Place::here(), backends[0].address).unwrap();
        let pod = PodCgroup::create();
        let stand_in = StandIn::serving(objects(&pod)).unwrap();

        let path = dir.path().join("envoy.json");
        fs::write(&path, bootstrap(backends, &pki).to_string()).unwrap();
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
            format!("[kubernetes]\nkubeconfig = \"{}\"\n{option} = true\n", kubeconfig.display());
        fs::write(&config, options).unwrap();
        let options =
            ["--config", utf8(&config).unwrap(), "--cgroup", utf8(&pod.container).unwrap()];
        let agent =
            Agent::start(&dir.path().join("agent"), block.socket(2, 9464), &options).unwrap();
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
            .filter_map(|one| Some((one.name.clone(), BTreeSet::from([one.blamed.clone()?]))))
            .collect();
        let look = |found: &mut BTreeMap<String, (BTreeSet<String>, Duration)>| {
            for one in backends {
                // What does not speak TLS to the backend is answered with an error.
                let _ = ask(one);
            }
            let hops = agent.hops()?.hops;
            for one in backends {
                let theirs = hops.iter().filter(|hop| hop.is_to(one.address));
                let blamed: BTreeSet<_> = theirs.flat_map(|hop| blamed(hop, rule)).collect();
                if !blamed.is_empty() {
                    found.entry(one.name.clone()).or_insert((blamed, began_at.elapsed()));
                }
            }
            anyhow::Ok(hops)
        };
        wait_until("all of them to be found", VERDICT, || {
            look(&mut found)?;
            Ok((found.len() >= expected.len()).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{found:#?}\n{:#?}", agent.hops()));
        // As many connections again change nothing of it.
        for _ in 0..5 {
            look(&mut found).unwrap();
        }
        let objects: BTreeMap<_, _> =
            found.iter().map(|(name, (blamed, _))| (name.clone(), blamed.clone())).collect();
        assert_eq!(objects, expected);
        for (name, (_, after)) in &found {
            assert!(*after <= FOUND, "{name}: after {after:?}");
        }
        wait_until("every hop to be as it speaks", VERDICT, || {
            let hops = agent.hops()?.hops;
            let is_so = |one: &Backend| {
                hops.iter().any(|hop| hop.is_to(one.address) && one.is_shown_by(hop))
            };
            Ok(backends.iter().all(is_so).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{:#?}", agent.hops()));
        let slowest = found.values().map(|(_, after)| *after).max();
        println!(
            "{} of {} found within {slowest:?}, no other of {}",
            found.len(),
            expected.len(),
            backends.len()
        );
        let labels = [&format!("rule=\"{rule}\"")[..]];
        assert_eq!(agent.metric("hopsight_policy_violation{", &labels).unwrap(), Some(1.0));
    }
}

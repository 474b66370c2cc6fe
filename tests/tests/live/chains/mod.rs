//! What upstreams present, against what the proxy's configuration trusts.

mod renewal;
mod staples;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    slice,
    time::{Duration, Instant},
};

use crate::inventory::inventory;
use hopsight_posture::{hops::hop::Hop, policy::drift::Compliance};
use hopsight_tests::{
    agent::{Agent, CHANGE},
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{Chains, DOMAIN, Identity},
    place::Place,
    requirement,
    wait::wait_until,
};

/// How long after a handshake that violates a rule it may be told.
const TOLD: Duration = Duration::from_secs(10);
/// Hops of which nothing is wrong.
const HEALTHY: u8 = 12;
const UNTRUSTED: &str = "chain_not_trusted";
const REVOKED: &str = "certificate_revoked";

/// A hop as it is to be.
struct Wanted<'a> {
    name: String,
    presents: &'a Identity,
    asks_for: String,
    /// What the proxy presents.
    client: Option<&'a Identity>,
    /// The CA that its request for it names.
    names: Option<&'a Path>,
    /// What is wrong.
    rule: &'static str,
    /// What its chain is called in `/hops`.
    leads: &'static str,
}

fn wanted(chains: &Chains) -> Vec<Wanted<'_>> {
    let hop = |name: &str, presents, leads| Wanted {
        name: name.to_owned(),
        presents,
        asks_for: format!("a.{DOMAIN}"),
        client: None,
        names: None,
        rule: UNTRUSTED,
        leads,
    };
    let healthy = (0..HEALTHY).map(|number| Wanted {
        client: (number % 2 == 0).then_some(&chains.client),
        names: (number % 4 == 0).then_some(&chains.clients_root),
        ..hop(&format!("healthy-{number}"), &chains.good, "trusted")
    });
    let wrong_name = format!("a.b.{DOMAIN}");
    let faulty = [
        hop("another-ca", &chains.of_another, "incomplete"),
        hop("ended-intermediate", &chains.ended_intermediate, "not_valid_now"),
        hop("missing-intermediate", &chains.without_intermediate, "incomplete"),
        Wanted { asks_for: wrong_name, ..hop("wrong-name", &chains.good, "wrong_name") },
        Wanted { rule: REVOKED, ..hop("revoked-upstream", &chains.revoked, "trusted") },
        Wanted {
            client: Some(&chains.revoked_client),
            rule: REVOKED,
            ..hop("revoked-client", &chains.good, "trusted")
        },
        Wanted {
            client: Some(&chains.client),
            names: Some(&chains.root),
            rule: "client_ca_not_requested",
            ..hop("client-of-another-ca", &chains.good, "trusted")
        },
        Wanted {
            rule: "upstream_issuer_not_allowed",
            ..hop("not-of-the-mesh", &chains.good, "trusted")
        },
        Wanted { rule: "public_key_not_allowed", ..hop("not-rsa", &chains.good, "trusted") },
        Wanted {
            rule: "certificate_signature_not_allowed",
            ..hop("not-with-rsa", &chains.good, "trusted")
        },
        Wanted { rule: "key_shared", ..hop("key-of-others", &chains.with_its_key, "incomplete") },
    ];
    healthy.chain(faulty).collect()
}

/// Everything that runs, and where.
struct Scene {
    front: SocketAddr,
    agent: Agent,
    chains: Chains,
    proxy: Nginx,
    upstream: Nginx,
    _cgroup: Cgroup,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start(hops: impl Fn(&Chains) -> Vec<Wanted<'_>>) -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let chains = Chains::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let front = block.socket(1, 7000);
        let (mut upstreams, mut proxies, mut locations) =
            (String::new(), String::new(), String::new());
        for (hop, number) in hops(&chains).iter().zip(10..) {
            let address = block.socket(number, 8443);
            let Wanted { name, presents, asks_for, client, names, .. } = hop;
            let names =
                names.map(|names| format!("ssl_client_certificate {};", utf8(names).unwrap()));
            let names = names.unwrap_or_default();
            let (chain, key) = (utf8(&presents.chain).unwrap(), utf8(&presents.key).unwrap());
            writeln!(
                upstreams,
                "server {{ listen {address} ssl; ssl_protocols TLSv1.2; ssl_certificate {chain}; \
                 ssl_certificate_key {key}; {names} ssl_verify_client optional_no_ca; location / {{ return 200 \"x\"; }} }}"
            )
            .unwrap();
            writeln!(proxies, "upstream {name} {{ server {address}; }}").unwrap();
            let presents = client.map(|client| {
                let (chain, key) = (utf8(&client.chain).unwrap(), utf8(&client.key).unwrap());
                format!("proxy_ssl_certificate {chain}; proxy_ssl_certificate_key {key};")
            });
            let presents = presents.unwrap_or_default();
            writeln!(
                locations,
                "location /{name} {{ {presents} proxy_ssl_trusted_certificate {}; proxy_ssl_name {asks_for}; \
                 proxy_ssl_session_reuse off; proxy_pass https://{name}; }}",
                utf8(&chains.root).unwrap()
            )
            .unwrap();
        }
        let config = nginx::Config { http: upstreams, ..nginx::Config::default() };
        let first = block.socket(10, 8443);
        let upstream = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), first);
        let http = format!("{proxies}server {{ listen {front}; {locations} }}\n");
        let config = nginx::Config { http, ..nginx::Config::default() };
        let cgroup = Cgroup::create().unwrap();
        let proxy = Nginx::start(&dir.path().join("proxy"), &config, &cgroup.place(), front);
        let agent = agent(dir.path(), block.socket(2, 9464), &cgroup, &chains.lists);
        Self {
            front,
            agent,
            proxy: proxy.unwrap(),
            upstream: upstream.unwrap(),
            chains,
            _cgroup: cgroup,
            _dir: dir,
        }
    }

    /// Asks for each of these until their hops are so.
    fn wait(&self, names: &[String], what: &str, is_so: impl Fn(&Hop) -> bool) -> Vec<Hop> {
        wait_until(what, CHANGE, || {
            for name in names {
                http::get(self.front, &format!("/{name}"))?;
            }
            let hops = self.agent.hops()?.hops;
            let found = names.iter().map(|name| {
                let hop = hops.iter().find(|hop| *hop.upstream == **name)?;
                is_so(hop).then(|| Hop::clone(hop))
            });
            Ok(found.collect::<Option<Vec<_>>>())
        })
        .unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{:#?}", self.agent.daemon.log(), self.agent.hops())
        })
    }
}

fn agent(dir: &Path, http: SocketAddr, cgroup: &Cgroup, lists: &Path) -> Agent {
    let policy = dir.join("policy.toml");
    let asks = "require = \"tls\"\nverify_upstream = \"never\"\nmust_chain = true\n";
    let of_certificates = [
        ("not-of-the-mesh", "allowed_upstream_issuers = [\"CN=mesh *\"]"),
        ("not-rsa", "allowed_public_keys = [\"rsa*\"]"),
        ("not-with-rsa", "allowed_certificate_signatures = [\"*RSA*\"]"),
        ("key-of-others", "keys_must_be_unique = true"),
    ];
    let mut text = format!(
        "[[policies]]\nmatch.upstream = [\"healthy-*\", \"revoked-*\"]\n{asks}\
         must_not_be_revoked = true\n"
    );
    for (upstream, asks) in of_certificates {
        let asks = format!("require = \"tls\"\nverify_upstream = \"never\"\n{asks}\n");
        writeln!(text, "[[policies]]\nmatch.upstream = [{upstream:?}]\n{asks}").unwrap();
    }
    writeln!(text, "[[policies]]\n{asks}").unwrap();
    fs::write(&policy, text).unwrap();
    let file = dir.join("hopsight.toml");
    let text = format!("[policy]\nrevocation_lists = {:?}\n", utf8(lists).unwrap());
    fs::write(&file, text).unwrap();
    let own = ["--config", utf8(&file).unwrap(), "--policy", utf8(&policy).unwrap()];
    let options = [cgroup.options().unwrap().as_slice(), &own].concat();
    Agent::start(&dir.join("agent"), http, &options).unwrap()
}

fn compliant(hop: &Hop) -> bool {
    let compliance = hop.context.compliance.as_ref();
    compliance.is_some_and(|compliance| compliance.status == Compliance::Compliant)
}

/// What is open of a hop.
fn open(hop: &Hop) -> Vec<&'static str> {
    let compliance = hop.context.compliance.as_ref();
    let violations = compliance.into_iter().flat_map(|compliance| &compliance.violations);
    violations.map(|violation| violation.rule.as_str()).collect()
}

/// From when the newest offending handshake of this rule began until it was told.
fn told_after(scene: &Scene, rule: &str) -> Duration {
    let drift = wait_until(rule, CHANGE, || {
        let drifts = scene.agent.events_named("drift_opened");
        Ok(drifts.into_iter().rfind(|drift| drift["rule"] == rule))
    })
    .unwrap();
    let [since, told] = ["since", "detected_at"].map(|field| {
        let text = drift[field].as_str().unwrap();
        hopsight_export::time::parse_rfc3339(text).unwrap()
    });
    told.duration_since(since).unwrap()
}

/// Where the chain leads that its upstream presents.
fn leads(hop: &Hop) -> Option<&'static str> {
    let [server, _] = hop.servers.first()?.certificates.in_use();
    Some(server.first()?.chain?.as_str())
}

#[test]
fn chains_that_lead_nowhere_are_told() {
    if !requirement::met("chains_that_lead_nowhere_are_told", &["nginx"]) {
        return;
    }
    let scene = Scene::start(wanted);
    let all = wanted(&scene.chains);
    let (healthy, faulty) = all.split_at(HEALTHY.into());
    let names: Vec<_> = healthy.iter().map(|hop| hop.name.clone()).collect();
    scene.wait(&names, "the healthy hops to be compliant", compliant);
    for hop in faulty {
        let asked_at = Instant::now();
        let name = slice::from_ref(&hop.name);
        let found = scene.wait(name, &hop.name, |found| open(found) == [hop.rule]);
        println!("{}: told after {:?}", hop.name, asked_at.elapsed());
        assert!(told_after(&scene, hop.rule) < TOLD, "{}", hop.name);
        assert_eq!(leads(&found[0]), Some(hop.leads), "{}: {found:#?}", hop.name);
    }
    for hop in scene.wait(&names, "the healthy hops to be compliant still", compliant) {
        assert_eq!((open(&hop), leads(&hop)), (vec![], Some("trusted")), "{hop:#?}");
    }
    let said = upstreams(&inventory(&["--address", &scene.agent.http.to_string()]));
    for hop in &all {
        let revocation = if hop.name == "revoked-upstream" { "revoked" } else { "good" };
        let [chain, revoked] = &said[&hop.name];
        assert_eq!(chain, hop.leads, "{}", hop.name);
        if hop.leads == "trusted" {
            assert_eq!(revoked, revocation, "{}", hop.name);
        }
    }
}

/// `chain` and `revocation` of the upstream's certificates, by upstream.
fn upstreams(inventory: &serde_json::Value) -> BTreeMap<String, [String; 2]> {
    let lines = inventory["certificates"].as_array().unwrap();
    let lines = lines.iter().filter(|line| line["role"] == "upstream");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |line: &serde_json::Value| {
        (word(&line["upstream"]), [&line["chain"], &line["revocation"]].map(word))
    };
    lines.map(entry).collect()
}

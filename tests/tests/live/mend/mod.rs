//! What `hopsight lint` prints for a violation is put where it says, and the real proxy loads it: the
//! drift that the agent has seen closes, and no other opens.

mod apache;
mod caddy;
mod envoy;
mod haproxy;
mod insert;
mod nginx;
mod traefik;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use hopsight_core::model::Security;
use hopsight_posture::{hops::hop::Hop, policy::drift::Rule};
use hopsight_tests::{
    agent::{self, Agent, VERDICT},
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{Config, Nginx, utf8},
    pki::{self, Pki},
    place::Place,
    wait::wait_until,
};
use serde::Deserialize;

/// What a configuration can do about a rule.
enum Mending {
    /// A snippet mends it.
    Snippet(Broken),
    /// None can, and why.
    No(&'static str),
}

/// How a hop violates a rule.
#[derive(Clone, Copy)]
struct Broken {
    rule: Rule,
    /// What its configuration says.
    says: Says,
    /// What the operator's policy asks for; nothing where only the configuration does.
    policy: &'static str,
}

/// What a proxy is configured to do toward one upstream.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
struct Says {
    tls: bool,
    certificate: bool,
    verify: bool,
    /// TLS 1.2 is the highest version.
    old: bool,
}

/// As it should be.
const GOOD: Says = Says { tls: true, certificate: true, verify: true, old: false };

/// Of every rule, what a configuration can do about it.
fn mending(rule: Rule) -> Mending {
    use Mending::{No, Snippet};
    let broken = |says, policy| Snippet(Broken { rule, says, policy });
    match rule {
        Rule::Plaintext => broken(
            Says { tls: false, certificate: false, verify: false, ..GOOD },
            "require = \"mtls\"\nverify_upstream = \"always\"\nmin_version = \"1.2\"",
        ),
        Rule::ClientCertificateMissing => {
            broken(Says { certificate: false, ..GOOD }, "require = \"mtls\"")
        }
        // `lint` has no configuration of before: what it is told by a policy is that there has to be one.
        Rule::ClientCertificateRemoved => broken(Says { certificate: false, ..GOOD }, ""),
        Rule::UpstreamNotVerified => {
            broken(Says { certificate: false, verify: false, ..GOOD }, "require = \"tls\"")
        }
        Rule::VersionBelowMinimum => broken(
            Says { certificate: false, old: true, ..GOOD },
            "require = \"tls\"\nmin_version = \"1.3\"",
        ),
        Rule::ThirdPartyCertificate => {
            broken(GOOD, "require = \"tls\"\nclient_certificate = \"forbidden\"")
        }
        Rule::ClientCertificateRejected => No("the upstream decides which certificates it accepts"),
        Rule::NeverRequested => No("the upstream does not ask"),
        Rule::ResumedUnseen => No("the configuration is good: a reload makes full handshakes"),
        Rule::ForbiddenCipher => No("what is negotiated depends on both ends and their libraries"),
        Rule::KeyExchangeBelowMinimum | Rule::GroupNotAllowed | Rule::SignatureSchemeNotAllowed => {
            No("what is negotiated depends on both ends and their libraries")
        }
        Rule::CertificateExpiring
        | Rule::ClientIssuerNotAllowed
        | Rule::ClientSanNotAllowed
        | Rule::SpiffeIdNotAllowed
        | Rule::CertificateLifetimeTooLong
        | Rule::UpstreamIssuerNotAllowed
        | Rule::PublicKeyNotAllowed
        | Rule::CertificateSignatureNotAllowed
        | Rule::KeyShared
        | Rule::CertificateRevoked => No("another certificate has to be issued"),
        Rule::ChainNotTrusted | Rule::ClientCaNotRequested => {
            No("nobody but its operator knows which authority is the right one")
        }
        Rule::StatusSaysOtherwise => No(
            "a controller writes the configuration: the object that it passed over is the one to mend",
        ),
        Rule::StaleCertificate => No("the file is good: a reload presents what is in it"),
        Rule::AuthenticationTooOld | Rule::SessionOutlivesCertificate => {
            No("the configuration is good: a reload makes full handshakes")
        }
    }
}

/// The hops of a run that a snippet of this kind of proxy mends.
fn all_broken(without: &[Rule]) -> Vec<Broken> {
    let rules = Rule::ALL.iter().filter(|rule| !without.contains(rule));
    let broken = rules.filter_map(|&rule| match mending(rule) {
        Mending::Snippet(broken) => Some(broken),
        Mending::No(_) => None,
    });
    broken.collect()
}

/// A snippet that `hopsight lint` printed.
#[derive(Debug, Deserialize)]
struct Finding {
    state: String,
    rule: String,
    upstream: String,
    at: At,
    mend: Option<String>,
}

#[derive(Debug, Deserialize)]
struct At {
    file: String,
    line: usize,
}

/// One upstream of the run.
struct Upstream {
    broken: Broken,
    /// What it is called where the configuration gives it a name, and the path that leads to it.
    name: String,
    address: SocketAddr,
}

impl Upstream {
    /// Whether this is what a configuration, or a hop, calls it.
    fn is_called(&self, label: &str) -> bool {
        self.name == label || self.address.to_string() == label
    }

    /// Whether this drift is of what is broken of it.
    fn has(&self, drift: &Drift) -> bool {
        self.is_called(&drift.upstream) && drift.rule == self.broken.rule.as_str()
    }
}

/// Upstreams, one for each rule, and what proxies need to reach them.
struct Scene {
    front: SocketAddr,
    http: SocketAddr,
    upstreams: Vec<Upstream>,
    /// Every certificate and key.
    pki: Pki,
    cgroup: Cgroup,
    _servers: Nginx,
    dir: tempfile::TempDir,
}

/// A proxy whose configuration is broken and mended.
trait Proxy {
    /// The directory of the files that its snippets name as examples.
    const EXAMPLES: &'static str;
    /// Its upstreams have no names but their addresses.
    const IS_NAMELESS: bool = false;
    /// What `hopsight lint` is to take the configuration for, where that does not show.
    const FOR: &'static str = "";

    /// A configuration that says this of each upstream.
    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String;
    /// Runs with it from now on.
    fn load(&mut self, scene: &Scene, configuration: &str);
    /// What stands for a file of its examples.
    fn real(&self, scene: &Scene, example: &str) -> Option<PathBuf> {
        let Pki { client, root, .. } = &scene.pki;
        match example {
            "client.pem" => Some(client.chain.clone()),
            "client.key" => Some(client.key.clone()),
            "upstream-ca.pem" => Some(root.clone()),
            _ => None,
        }
    }
    /// What `hopsight lint` is to read.
    fn to_lint(&self, scene: &Scene) -> String;
    /// The configuration with the snippet where the finding says.
    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String;
}

impl Scene {
    fn start(broken: Vec<Broken>) -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let upstreams: Vec<_> = (10..)
            .zip(broken)
            .map(|(host, broken)| Upstream {
                name: format!("mend-{}", broken.rule.as_str().replace('_', "-")),
                address: block.socket(host, 8443),
                broken,
            })
            .collect();
        let servers: Vec<_> = upstreams.iter().map(|one| server(one, &pki)).collect();
        let config = Config { http: servers.concat(), ..Config::default() };
        let first = upstreams[0].address;
        let servers = Nginx::start(&dir.path().join("upstreams"), &config, &Place::here(), first);
        Self {
            front: block.socket(1, 7000),
            http: block.socket(2, 9464),
            upstreams,
            pki,
            cgroup: Cgroup::create().unwrap(),
            _servers: servers.unwrap(),
            dir,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A policy for each upstream. For `lint`, those that only a configuration asks for are as well.
    fn policies(&self, is_nameless: bool, is_for_lint: bool) -> String {
        let mut text = String::new();
        for Upstream { broken, name, address } in &self.upstreams {
            let policy = match broken.policy {
                "" if is_for_lint => "require = \"mtls\"",
                "" => continue,
                policy => policy,
            };
            let upstream = if is_nameless { address.to_string() } else { name.clone() };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "[[policies]]\nname = \"{name}\"\nmatch.upstream = \"{upstream}\"\n{policy}"
            );
        }
        text
    }

    /// What `hopsight lint` finds in the configuration.
    fn lint<P: Proxy>(&self, proxy: &P, policy: &Path) -> Vec<Finding> {
        let agent = agent::binary().unwrap();
        let configuration = proxy.to_lint(self);
        let policy = utf8(policy).unwrap();
        let mut words = vec!["lint", &configuration, "--policy", policy, "-o", "json"];
        if !P::FOR.is_empty() {
            words.extend(["--for", P::FOR]);
        }
        let output = Command::new(agent).args(words).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut found: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {errors}"));
        assert_eq!(found.get("fault"), None, "{found}");
        serde_json::from_value(found["findings"].take()).unwrap()
    }

    /// The snippet with real paths and names for its examples.
    fn filled_in<P: Proxy>(&self, proxy: &P, snippet: &str) -> String {
        let mut out = snippet.replace("NAME", &server_name());
        for example in ["client.pem", "client.key", "client-chain.pem", "upstream-ca.pem"] {
            if let Some(real) = proxy.real(self, example) {
                out = out.replace(&format!("{}/{example}", P::EXAMPLES), utf8(&real).unwrap());
            }
        }
        out
    }

    /// Waits, with requests to every upstream, for all hops to be like this.
    fn wait(&self, agent: &Agent, what: &str, is_so: impl Fn(&Upstream, &Hop) -> bool) {
        let is_done = || {
            for upstream in &self.upstreams {
                // While it reloads it may answer nobody.
                let _ = http::get(self.front, &format!("/{}", upstream.name));
            }
            let hops = agent.hops()?.hops;
            let all = self.upstreams.iter().all(|upstream| {
                let mut theirs = hops.iter().filter(|hop| hop.is_to(upstream.address));
                theirs.any(|hop| is_so(upstream, hop))
            });
            Ok(all.then_some(()))
        };
        wait_until(what, 2 * VERDICT, is_done).unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops())
        });
    }
}

/// A name that the certificate of every upstream is good for.
fn server_name() -> String {
    format!("a.{}", pki::DOMAIN)
}

/// An upstream that asks for a certificate and accepts connections without; in the clear it answers as
/// well, with an error. Where the version is the point it has both, and does not ask.
fn server(upstream: &Upstream, pki: &Pki) -> String {
    let Upstream { broken, address, .. } = upstream;
    if broken.says.old {
        let (chain, key) = (utf8(&pki.server.chain).unwrap(), utf8(&pki.server.key).unwrap());
        return format!(
            "server {{ listen {address} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {chain}; \
             ssl_certificate_key {key}; location / {{ return 200 \"x\"; }} }}\n"
        );
    }
    hopsight_tests::nginx::asking_server(*address, &pki.server, pki).unwrap()
}

/// A drift that was told.
#[derive(Debug, Deserialize)]
struct Drift {
    upstream: String,
    rule: String,
    /// How it ended, if it has.
    #[serde(default)]
    end: String,
}

fn told(agent: &Agent, event: &str) -> Vec<Drift> {
    let events = agent.events_named(event);
    events.into_iter().map(|event| serde_json::from_value(event).unwrap()).collect()
}

/// The rules that a hop violates.
fn open(hop: &Hop) -> Vec<&'static str> {
    let compliance = hop.context.compliance.iter();
    compliance.flat_map(|one| &one.violations).map(|violation| violation.rule.as_str()).collect()
}

/// Breaks, mends and watches all hops of one proxy. Of these rules no snippet is printed for it.
fn snippets_mend<P: Proxy>(start: impl FnOnce(&Scene) -> P, without: &[Rule]) {
    let scene = Scene::start(all_broken(without));
    let mut proxy = start(&scene);
    let is_removed = |one: &Upstream| one.broken.rule == Rule::ClientCertificateRemoved;
    let broken = |one: &Upstream| one.broken.says;
    let before = |one: &Upstream| if is_removed(one) { GOOD } else { broken(one) };
    let configuration = proxy.configuration(&scene, &before);
    proxy.load(&scene, &configuration);
    let policy = scene.path("policy.toml");
    fs::write(&policy, scene.policies(P::IS_NAMELESS, false)).unwrap();
    let options = scene.cgroup.options().unwrap();
    let options = [&options[..], &["--policy", utf8(&policy).unwrap()]].concat();
    let agent = Agent::start(&scene.path("agent"), scene.http, &options).unwrap();

    let is_violated = |one: &Upstream, hop: &Hop| open(hop).contains(&one.broken.rule.as_str());
    scene.wait(&agent, "the drifts to open, and one hop to be mutual", |one, hop| {
        let is_mutual = hop.state.security == Security::Mtls && hop.context.intent.is_some();
        if is_removed(one) { is_mutual } else { is_violated(one, hop) }
    });
    let mut configuration = proxy.configuration(&scene, &broken);
    proxy.load(&scene, &configuration);
    scene.wait(&agent, "all drifts to be open", is_violated);

    let lint_policy = scene.path("lint.toml");
    fs::write(&lint_policy, scene.policies(P::IS_NAMELESS, true)).unwrap();
    let findings = scene.lint(&proxy, &lint_policy);
    assert_eq!(findings.len(), scene.upstreams.len(), "{findings:#?}");
    let before = wait_until("every drift to be told", VERDICT, || {
        let told = told(&agent, "drift_opened");
        let is_told = |one: &Upstream| told.iter().any(|drift| one.has(drift));
        Ok(scene.upstreams.iter().all(is_told).then_some(told.len()))
    })
    .unwrap();
    // From the last line on, so that a snippet moves none that another is for.
    let mut in_order: Vec<_> = findings.iter().collect();
    in_order.sort_by_key(|finding| std::cmp::Reverse(finding.at.line));
    for finding in in_order {
        let mut upstreams = scene.upstreams.iter();
        let upstream = upstreams.find(|one| one.is_called(&finding.upstream)).unwrap();
        let rule = match upstream.broken.rule {
            Rule::ClientCertificateRemoved => Rule::ClientCertificateMissing,
            rule => rule,
        };
        assert_eq!((&*finding.state, &*finding.rule), ("violation", rule.as_str()), "{finding:?}");
        let snippet = finding.mend.as_deref().unwrap_or_else(|| panic!("no snippet: {finding:?}"));
        let snippet = scene.filled_in(&proxy, snippet);
        configuration = proxy.insert(&configuration, finding, &snippet);
    }
    proxy.load(&scene, &configuration);
    let can_say = |finding: &Finding| without.iter().all(|rule| rule.as_str() != finding.rule);
    wait_until("lint to find nothing more", VERDICT, || {
        Ok((!scene.lint(&proxy, &lint_policy).iter().any(can_say)).then_some(()))
    })
    .unwrap_or_else(|error| {
        panic!("{error:#}: {:#?}\n{configuration}", scene.lint(&proxy, &lint_policy))
    });
    scene.wait(&agent, "every drift to close", |_, hop| open(hop).is_empty());
    // Not by what nobody sees any more: the hops are what is asked for.
    scene.wait(&agent, "every hop to be TLS", |one, hop| {
        let is_mutual = one.broken.policy.contains("mtls") || is_removed(one);
        hop.state.security == if is_mutual { Security::Mtls } else { Security::Tls }
    });
    let opened = told(&agent, "drift_opened");
    assert_eq!(opened.len(), before, "no other opens: {:#?}", &opened[before..]);
    let closed = wait_until("every end to be told", VERDICT, || {
        Ok(Some(told(&agent, "drift_closed")).filter(|closed| closed.len() >= before))
    })
    .unwrap();
    assert_eq!(closed.len(), before, "{closed:#?}");
    for upstream in &scene.upstreams {
        let end = closed.iter().find(|drift| upstream.has(drift)).map(|drift| &*drift.end);
        assert_eq!(end, Some("remediated"), "{}: {closed:#?}", upstream.name);
    }
}

#[test]
fn every_rule_is_mended_by_a_snippet_or_says_why_not() {
    let judged = hopsight_posture::policy::lint::RULES;
    for &rule in Rule::ALL {
        match mending(rule) {
            Mending::Snippet(_) => {
                let is_removed = rule == Rule::ClientCertificateRemoved;
                assert!(judged.contains(&rule) || is_removed, "{rule}: who prints it?");
            }
            Mending::No(why) => assert!(!judged.contains(&rule), "{rule}: {why}"),
        }
    }
}

//! Configurations that are not nginx's: hops carry the configured names, and what a reload changes is
//! drift until it is mended.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hopsight_core::{
    hops::hop::Hop,
    model::Security,
    policy::intent::{Scheme, Stated},
};
use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{self, Pki},
    place::Place,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use rustix::process::Signal;

/// How long a change may take to be seen, reload included.
const CHANGE: Duration = Duration::from_secs(20);
/// The upstream's name in the configurations.
const UPSTREAM: &str = "intent-payments";
/// What is violated without a client certificate, where only the configuration asks for one.
const REMOVED: &str = "client_certificate_removed";

/// An upstream that asks for certificates and accepts connections without, and where its proxy is.
struct Scene {
    front: SocketAddr,
    upstream: SocketAddr,
    http: SocketAddr,
    cgroup: Cgroup,
    pki: Pki,
    _upstream: Nginx,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let upstream = block.socket(10, 8443);
        let server = format!(
            "server {{ listen {upstream} ssl; ssl_protocols TLSv1.2; ssl_certificate {}; \
             ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client optional; \
             ssl_verify_depth 3; location / {{ return 200 \"x\"; }} }}\n",
            utf8(&pki.server.chain).unwrap(),
            utf8(&pki.server.key).unwrap(),
            utf8(&pki.root).unwrap(),
        );
        let config = nginx::Config { http: server, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream);
        Self {
            front: block.socket(1, 7000),
            upstream,
            http: block.socket(2, 9464),
            cgroup: Cgroup::create().unwrap(),
            pki,
            _upstream: other.unwrap(),
            dir,
        }
    }

    fn agent(&self) -> Agent {
        let options = self.cgroup.options().unwrap();
        Agent::start(&self.dir.path().join("agent"), self.http, &options).unwrap()
    }

    /// The hop as the agent knows it, after another request.
    fn hop(&self, agent: &Agent) -> anyhow::Result<Option<Hop>> {
        http::get(self.front, "/")?;
        let hops = agent.hops()?.hops;
        let found = hops.iter().find(|hop| &*hop.upstream == UPSTREAM && hop.is_to(self.upstream));
        Ok(found.map(|hop| Hop::clone(hop)))
    }

    /// Waits for the hop to be like this, with requests.
    fn wait(&self, agent: &Agent, what: &str, is_so: impl Fn(&Hop) -> bool) -> Hop {
        wait_until(what, CHANGE, || Ok(self.hop(agent)?.filter(&is_so))).unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops())
        })
    }
}

fn is_mutual_by_intent(hop: &Hop) -> bool {
    hop.state.security == Security::Mtls
        && hop.context.intent.as_ref().is_some_and(|intent| {
            (intent.scheme, intent.client_certificate, intent.verify)
                == (Scheme::Tls, Stated::Yes, Stated::Yes)
        })
}

/// The line that a drift of this rule blames, while one is open.
fn blamed(hop: &Hop, rule: &str) -> Option<String> {
    let violations = &hop.context.compliance.as_ref()?.violations;
    let open = violations.iter().find(|violation| violation.rule.as_str() == rule)?;
    open.place.as_ref().map(ToString::to_string)
}

/// haproxy's configuration, with or without a client certificate.
fn haproxy(scene: &Scene, is_mutual: bool) -> String {
    let bundle = utf8(&scene.pki.client.bundle).unwrap();
    let certificate = if is_mutual { format!("crt {bundle}") } else { String::new() };
    format!(
        "global\nnbthread 1\ndefaults\nmode http\ntimeout connect 5s\ntimeout client 10s\n\
         timeout server 10s\nfrontend in\nbind {}\nhttp-request return status 200 if {{ path /alive }}\n\
         default_backend {UPSTREAM}\nbackend {UPSTREAM}\nhttp-reuse never\n\
         default-server ssl verify required ca-file {} no-ssl-reuse {certificate}\n\
         server a {} sni str(a.{})\n",
        scene.front,
        utf8(&scene.pki.root).unwrap(),
        scene.upstream,
        pki::DOMAIN,
    )
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// The number of the line that begins with `keyword`.
fn line_of(path: &PathBuf, keyword: &str) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().position(|line| line.starts_with(keyword)).unwrap() + 1
}

#[test]
fn haproxy_is_read_and_its_reload_is_drift() {
    if !requirement::met("haproxy_is_read_and_its_reload_is_drift", &["nginx", "haproxy"]) {
        return;
    }
    let scene = Scene::start();
    let path = scene.dir.path().join("haproxy.cfg");
    write(&path, &haproxy(&scene, true));
    let log = scene.dir.path().join("haproxy.log");
    let arguments = ["-W", "-db", "-f", utf8(&path).unwrap()];
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), "haproxy", arguments, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let agent = scene.agent();
    let hop = scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    assert_eq!(hop.context.name.as_deref(), Some(UPSTREAM));
    let at = hop.context.intent.unwrap().place.unwrap();
    assert_eq!(at.to_string(), format!("{}:{}", path.display(), line_of(&path, "server a")));
    let finding = hop.context.configured_certificate.unwrap();
    assert!(finding.problems.is_empty() && finding.certificate.is_some(), "{finding:?}");

    // On disk, and not loaded.
    write(&path, &haproxy(&scene, false));
    let pending = || agent.metric("hopsight_proxy_config_pending_reload{", &["haproxy"]);
    wait_until("the change to be pending", CHANGE, || Ok(pending()?.filter(|&is| is > 0.5)))
        .unwrap();
    let hop = scene.wait(&agent, "the hop to be as before", is_mutual_by_intent);
    assert_eq!(blamed(&hop, REMOVED), None);

    proxy.signal(Signal::USR2).unwrap();
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    let expected = format!("{}:{}", path.display(), line_of(&path, "server a"));
    assert_eq!(blamed(&hop, REMOVED), Some(expected));
    wait_until("nothing to be pending", CHANGE, || Ok(pending()?.filter(|&is| is == 0.0))).unwrap();

    write(&path, &haproxy(&scene, true));
    proxy.signal(Signal::USR2).unwrap();
    scene.wait(&agent, "the drift to close", |hop| {
        blamed(hop, REMOVED).is_none() && is_mutual_by_intent(hop)
    });

    write(&path, "backend x\n server a 10.0.0.1:443 ssl\n");
    wait_until("the broken file to be told", CHANGE, || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 200, "{}", ready.body);
        let json: serde_json::Value = serde_json::from_str(&ready.body)?;
        let component = &json["components"]["haproxy_configuration"];
        let detail = component["detail"].as_str().unwrap_or_default();
        Ok((component["state"] == "degraded" && detail.contains("haproxy.cfg:2")).then_some(()))
    })
    .unwrap();
    scene.wait(&agent, "the last good configuration to count", is_mutual_by_intent);
}

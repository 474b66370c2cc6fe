//! Configurations that are not nginx's: hops carry the configured names, and what a reload changes is
//! drift until it is mended.

mod admin;
pub(crate) mod apache;
mod caddy;
mod envoy;
mod haproxy;
mod traefik;

use std::{fs, net::SocketAddr, path::Path};

use hopsight_core::model::Security;
use hopsight_posture::{
    hops::hop::Hop,
    policy::intent::{Scheme, Stated},
};
use hopsight_tests::{
    agent::{Agent, CHANGE},
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{self, Nginx},
    pki::Pki,
    place::Place,
    wait::wait_until,
};

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
        let server = nginx::asking_server(upstream, &pki.server, &pki).unwrap();
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

    /// Waits for the hop to be like this, with requests.
    fn wait(&self, agent: &Agent, what: &str, is_so: impl Fn(&Hop) -> bool) -> Hop {
        wait_until(what, CHANGE, || {
            // While it reloads it may answer nobody.
            let _ = http::get(self.front, "/");
            let hops = agent.hops()?.hops;
            let mut ours = hops.iter().filter(|hop| hop.is_to(self.upstream));
            Ok(ours.find(|hop| is_so(hop)).map(|hop| Hop::clone(hop)))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()))
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

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// The number of the line that begins with `keyword`.
fn line_of(path: &Path, keyword: &str) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().position(|line| line.starts_with(keyword)).unwrap() + 1
}

//! A proxy that presents a client certificate to an upstream that resumes its sessions, and the agent
//! beside it.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use hopsight_core::report::ConnectionReport;
use hopsight_tests::{
    agent::Agent,
    caddy::{self, Caddy},
    case::{Asks, Case, Holds, Proxy, Upstream, Version},
    cgroup::Cgroup,
    envoy::{self, Envoy},
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{DOMAIN, Identity, Pki},
    place::Place,
    truth,
    wait::wait_until,
};
use serde_json::Value;

const RULE: &str = "session_outlives_certificate";
/// From the next resumption to the event: seconds, but a busy machine asks Envoy the more seldom the longer
/// it takes to answer.
pub const SOON: Duration = Duration::from_mins(1);
/// How long a drift has to be quiet before it closes (`policy.settle_seconds`), and some.
const SETTLED: Duration = Duration::from_mins(1);

/// What a proxy is told.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The certificate that it presents.
    pub identity: &'a Identity,
    /// A revocation list for what upstreams present.
    pub list: Option<&'a Path>,
}

impl<'a> From<&'a Identity> for Told<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { identity, list: None }
    }
}

/// The proxy while it runs.
enum Running {
    Nginx(Nginx),
    Envoy { _process: Envoy },
    Caddy { _process: Caddy },
}

/// Where the parts listen, and what they are made of.
struct Parts {
    proxy: Proxy,
    front: SocketAddr,
    back: SocketAddr,
    admin: SocketAddr,
    pki: Pki,
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    _block: Loopback,
}

pub struct Stage {
    running: Option<Running>,
    agent: Agent,
    _upstream: Nginx,
    parts: Parts,
}

impl Parts {
    fn nginx(&self, told: Told<'_>) -> anyhow::Result<nginx::Config> {
        let mut http = String::new();
        writeln!(
            http,
            "proxy_ssl_protocols TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name a.{DOMAIN};\n\
             proxy_ssl_certificate {}; proxy_ssl_certificate_key {};",
            utf8(&told.identity.chain)?,
            utf8(&told.identity.key)?
        )?;
        if let Some(list) = told.list {
            writeln!(http, "proxy_ssl_crl {};", utf8(list)?)?;
        }
        let Self { front, back, .. } = self;
        writeln!(http, "server {{ listen {front}; location / {{ proxy_pass https://{back}; }} }}")?;
        Ok(nginx::Config { http, ..nginx::Config::default() })
    }

    fn case(&self) -> Case {
        let upstream = Upstream::Nginx(Version::V13, Asks::Optional);
        Case { reuse: true, ..Case::new("outlived", self.proxy, upstream, Holds::Trusted) }
    }

    /// The certificates, with that of the proxy.
    fn pki(&self, told: Told<'_>) -> Pki {
        Pki { client: told.identity.clone(), ..self.pki.clone() }
    }

    fn envoy(&self, told: Told<'_>) -> anyhow::Result<envoy::Config> {
        let mut config = envoy::Config::default();
        config.is_watched = true;
        config.add(&self.case(), self.front, self.back, &self.pki(told))?;
        if let Some(list) = told.list {
            config.revoke(list, &self.pki.root)?;
        }
        Ok(config)
    }

    fn start(&self, told: Told<'_>) -> anyhow::Result<Running> {
        let (dir, place) = (self.dir(), self.cgroup.place());
        let Self { front, back, admin, .. } = *self;
        Ok(match self.proxy {
            Proxy::Envoy => {
                let process = Envoy::start(&dir, &self.envoy(told)?, &place, admin, front)?;
                Running::Envoy { _process: process }
            }
            Proxy::Caddy => {
                let mut config = caddy::Config::default();
                config.add(&self.case(), front, back, &self.pki(told))?;
                let process = Caddy::start(&dir, &config, &place, front)?;
                Running::Caddy { _process: process }
            }
            _ => Running::Nginx(Nginx::start(&dir, &self.nginx(told)?, &place, front)?),
        })
    }

    /// Where the proxy's files are.
    fn dir(&self) -> PathBuf {
        self.dir.path().join("proxy")
    }
}

impl Stage {
    /// Starts the proxy with what it is told, and returns once the agent has looked into it.
    pub fn start(dir: tempfile::TempDir, proxy: Proxy, told: Told<'_>) -> anyhow::Result<Self> {
        let here = dir.path().to_owned();
        let pki = Pki::create(&here.join("pki"))?;
        let block = Loopback::reserve()?;
        let (front, back) = (block.socket(1, 8080), block.socket(2, 8443));
        let (address, admin) = (block.socket(3, 9464), block.socket(3, 9901));
        let upstream = format!(
            "server {{ listen {back} ssl; ssl_protocols TLSv1.3; ssl_certificate {}; \
             ssl_certificate_key {}; ssl_verify_client optional_no_ca; access_log {} truth; \
             location / {{ return 200; }} }}",
            utf8(&pki.server.chain)?,
            utf8(&pki.server.key)?,
            utf8(&here.join("upstream.log"))?,
        );
        let upstream = nginx::Config { http: upstream, ..nginx::Config::default() };
        let upstream = Nginx::start(&here.join("upstream"), &upstream, &Place::here(), back)?;
        let cgroup = Cgroup::create()?;
        let parts = Parts { proxy, front, back, admin, pki, dir, cgroup, _block: block };
        let running = Some(parts.start(told)?);
        let name = ["--proxy", proxy.process_name()];
        let options = [parts.cgroup.options()?.as_slice(), &name].concat();
        let agent = Agent::start(&here.join("agent"), address, &options)?;
        agent.wait_looked_into()?;
        Ok(Self { running, agent, _upstream: upstream, parts })
    }

    /// Has the proxy go on with what it is told: nginx by a reload, Envoy by a push of its cluster,
    /// Caddy by a restart.
    pub fn load(&mut self, told: Told<'_>) -> anyhow::Result<()> {
        match &self.running {
            Some(Running::Nginx(nginx)) => {
                Nginx::write(&self.parts.dir(), &self.parts.nginx(told)?)?;
                nginx.reload()
            }
            Some(Running::Envoy { .. }) => {
                self.parts.envoy(told)?.write(&self.parts.dir(), self.parts.admin).map(drop)
            }
            _ => {
                self.running = None;
                self.running = Some(self.parts.start(told)?);
                Ok(())
            }
        }
    }

    /// One request. What is answered is not looked at: an upstream that resumes goes on with a
    /// certificate that ended, and refuses it in a full handshake.
    pub fn request(&self) -> anyhow::Result<()> {
        http::get(self.parts.front, "/").map(drop)
    }

    /// How many connections of the upstream there were, and how many of them were resumed.
    pub fn resumed(&self) -> anyhow::Result<(usize, usize)> {
        let seen = truth::nginx(&self.parts.dir.path().join("upstream.log"))?;
        Ok((seen.len(), seen.iter().filter(|seen| seen.resumed).count()))
    }

    /// Waits until so many connections were told to their end.
    pub fn wait_told(&self, count: usize) -> anyhow::Result<()> {
        self.agent.wait_finals(self.parts.back, count).map(drop)
    }

    /// Requests until a connection is like this.
    pub fn request_until(
        &self,
        what: &str,
        is_it: impl Fn(&ConnectionReport) -> bool,
    ) -> anyhow::Result<()> {
        wait_until(what, SETTLED, || {
            self.request()?;
            Ok(self.agent.reports()?.iter().any(&is_it).then_some(()))
        })
        .with_context(|| format!("the newest report is {:?}", self.newest_report()))
    }

    fn newest_report(&self) -> Option<ConnectionReport> {
        self.agent.reports().ok()?.pop()
    }

    /// The newest event that opens or closes a drift of the rule.
    pub fn newest(&self) -> Option<Value> {
        let is_it = |event: &Value| {
            event["rule"] == RULE
                && (event["event"] == "drift_opened" || event["event"] == "drift_closed")
        };
        self.agent.drifts().into_iter().rfind(is_it)
    }

    /// Requests until the drift has opened with these words.
    pub fn request_until_opened(&self, words: &str) -> anyhow::Result<()> {
        wait_until(words, SOON, || {
            self.request()?;
            let newest = self.newest().filter(|newest| newest["event"] == "drift_opened");
            let detail = newest.as_ref().and_then(|newest| newest["detail"].as_str());
            Ok(detail.is_some_and(|detail| detail.contains(words)).then_some(()))
        })
    }

    /// Requests until the drift that is open has closed.
    pub fn request_until_closed(&self) -> anyhow::Result<()> {
        wait_until("the drift to close", SETTLED, || {
            self.request()?;
            let newest = self.newest();
            Ok(newest.is_some_and(|newest| newest["event"] == "drift_closed").then_some(()))
        })
    }
}

/// Whether a connection showed this client certificate.
pub fn shows(identity: &Identity) -> impl Fn(&ConnectionReport) -> bool {
    let serial = identity.serial.clone();
    move |report| report.client_certificate.as_ref().is_some_and(|facts| facts.serial == serial)
}

/// Puts a file in the place of another, as those do who renew certificates.
pub fn replace(path: &Path, content: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(new, path)?;
    Ok(())
}

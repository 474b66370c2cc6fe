//! A proxy whose configuration changes under load: what drift is measured with.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hopsight_posture::hops::hop::Hop;
use serde_json::Value;

use crate::{
    agent::{Agent, CHANGE},
    cgroup::Cgroup,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    process::Daemon,
    wait::wait_until,
};

/// The upstream's name in the configuration, and so the label of its hop.
pub const UPSTREAM: &str = "drift-payments";
/// The violations that [`Flip`] leads to.
pub const MISSING: &str = "client_certificate_missing";
/// See [`MISSING`].
pub const PLAINTEXT: &str = "plaintext";

/// How the proxy speaks to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// With a client certificate.
    Mutual,
    /// Without one.
    OneWay,
    /// Without TLS.
    Plaintext,
}

/// A proxy with one named upstream that asks for certificates and accepts connections without.
#[derive(Debug)]
pub struct Scene {
    /// The proxy, whose every request opens a connection.
    pub proxy: Nginx,
    /// Where the proxy listens.
    pub front: SocketAddr,
    /// The address behind [`UPSTREAM`].
    pub upstream: SocketAddr,
    /// The proxy's directory, with its `nginx.conf`.
    pub proxy_dir: PathBuf,
    http: SocketAddr,
    pki: Pki,
    _upstream: Nginx,
    cgroup: Cgroup,
    dir: tempfile::TempDir,
}

impl Scene {
    /// Starts both with the mutual configuration.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir()?;
        let pki = Pki::create(&dir.path().join("pki"))?;
        let block = Loopback::reserve()?;
        let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8443));
        let server = nginx::asking_server(upstream, &pki.server, &pki)?;
        let config = nginx::Config { http: server, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream)?;
        let proxy_dir = dir.path().join("proxy");
        let config = proxy_config(Flip::Mutual, front, upstream, &pki)?;
        let cgroup = Cgroup::create()?;
        let proxy = Nginx::start(&proxy_dir, &config, &cgroup.place(), front)?;
        let http = block.socket(2, 9464);
        Ok(Self { proxy, front, upstream, proxy_dir, http, pki, _upstream: other, cgroup, dir })
    }

    /// Where files of a run may be put.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An agent that evaluates the hop against a policy of mutual TLS and keeps its state from one
    /// start to the next.
    ///
    /// # Errors
    /// When it does not start.
    pub fn agent(&self) -> anyhow::Result<Agent> {
        let policy = self.dir.path().join("policy.toml");
        let text = format!(
            "[[policies]]\nname = \"payments\"\nmatch.upstream = \"{UPSTREAM}\"\nrequire = \"mtls\"\n"
        );
        fs::write(&policy, text).context("write the policy")?;
        let state = self.dir.path().join("state");
        let own = ["--policy", utf8(&policy)?, "--state", utf8(&state)?];
        let options = [self.cgroup.options()?.as_slice(), &own].concat();
        Agent::start(&self.dir.path().join("agent"), self.http, &options)
    }

    /// Requests to the proxy for so many seconds, over so many connections.
    ///
    /// # Errors
    /// When wrk does not start.
    pub fn load(&self, connections: u32, seconds: u32, log: &Path) -> anyhow::Result<Daemon> {
        let (connections, seconds) = (format!("-c{connections}"), format!("-d{seconds}s"));
        let url = format!("http://{}/", self.front);
        Daemon::spawn("wrk", ["-t1", &connections, &seconds, &url], log)
    }

    /// Writes the proxy's configuration, which is not loaded yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, flip: Flip) -> anyhow::Result<()> {
        let config = proxy_config(flip, self.front, self.upstream, &self.pki)?;
        Nginx::write(&self.proxy_dir, &config).map(drop)
    }

    /// Writes and loads it.
    ///
    /// # Errors
    /// When one of these fails.
    pub fn flip(&self, flip: Flip) -> anyhow::Result<()> {
        self.write(flip)?;
        self.proxy.reload()
    }

    /// The value of a series of this hop.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn value(&self, agent: &Agent, name: &str, rule: &str) -> anyhow::Result<Option<f64>> {
        let (upstream, rule) = (format!("upstream=\"{UPSTREAM}\""), format!("rule=\"{rule}\""));
        agent.metric(&format!("{name}{{"), &["proxy=\"nginx\"", &upstream, &rule])
    }

    /// Waits until the violation of a rule is open (1) or closed (0).
    ///
    /// # Errors
    /// When it is not in [`CHANGE`]; the message carries what the agent knows.
    pub fn wait_violation(&self, agent: &Agent, rule: &str, value: f64) -> anyhow::Result<()> {
        let what = format!("hopsight_policy_violation of {rule} to be {value}");
        let seen = wait_until(&what, CHANGE, || {
            let now = self.value(agent, "hopsight_policy_violation", rule)?;
            Ok((now == Some(value)).then_some(()))
        });
        seen.with_context(|| format!("{}\n{:#?}", agent.daemon.log(), agent.hops()))
    }

    /// The hop as the agent knows it.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn hop(&self, agent: &Agent) -> anyhow::Result<Option<Hop>> {
        let hops = agent.hops()?.hops;
        let found = hops.iter().find(|hop| &*hop.upstream == UPSTREAM && hop.is_to(self.upstream));
        Ok(found.map(|hop| Hop::clone(hop)))
    }

    /// The event of this hop's violation of a rule: `drift_opened` or `drift_closed`, the newest.
    #[must_use]
    pub fn event(&self, agent: &Agent, event: &str, rule: &str) -> Option<Value> {
        let is_ours = |one: &Value| {
            one["event"] == event && one["rule"] == rule && one["upstream"] == UPSTREAM
        };
        agent.drifts().into_iter().rfind(is_ours)
    }
}

fn proxy_config(
    flip: Flip,
    front: SocketAddr,
    upstream: SocketAddr,
    pki: &Pki,
) -> anyhow::Result<nginx::Config> {
    let pass = match flip {
        Flip::Mutual => format!(
            "proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; \
             proxy_pass https://{UPSTREAM};",
            utf8(&pki.client.chain)?,
            utf8(&pki.client.key)?
        ),
        Flip::OneWay => format!("proxy_pass https://{UPSTREAM};"),
        Flip::Plaintext => format!("proxy_pass http://{UPSTREAM};"),
    };
    // A few requests per connection, so that handshakes are not all that the processor does.
    let http = format!(
        "upstream {UPSTREAM} {{ server {upstream}; keepalive 64; keepalive_requests 10; }}\n\
         server {{ listen {front}; location / {{ proxy_ssl_session_reuse off; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; {pass} }} }}\n"
    );
    Ok(nginx::Config { http, ..nginx::Config::default() })
}

/// Seconds between two RFC 3339 times of one day.
///
/// # Errors
/// When one of them is no such time.
pub fn seconds_between(earlier: &Value, later: &Value) -> anyhow::Result<f64> {
    let of_day = |time: &Value| {
        let (_, time) = time.as_str()?.split_once('T')?;
        let fields = time.trim_end_matches('Z').split(':');
        fields.map(str::parse::<f64>).try_fold(0.0, |sum, part| Some(sum * 60.0 + part.ok()?))
    };
    let (earlier, later) =
        of_day(earlier).zip(of_day(later)).context("read the times of an event")?;
    Ok((later - earlier).rem_euclid(86_400.0))
}

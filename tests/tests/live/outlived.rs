//! A session that goes on after the client certificate it rests on.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{self, DOMAIN, Identity, Pki},
    place::Place,
    requirement,
    wait::wait_until,
};

use hopsight_core::report::ConnectionReport;
use serde_json::Value;

const RULE: &str = "session_outlives_certificate";
/// Until the first certificate ends.
const LIFE: Duration = Duration::from_secs(4);
/// From the next resumption to the event.
const SOON: Duration = Duration::from_secs(5);
/// How long a drift has to be quiet before it closes (`policy.settle_seconds`), and some.
const SETTLED: Duration = Duration::from_secs(30);

/// nginx that presents a client certificate to an upstream, and the agent beside it.
struct Stage {
    dir: tempfile::TempDir,
    front: SocketAddr,
    back: SocketAddr,
    nginx: Nginx,
    agent: Agent,
    _upstream: Nginx,
    _cgroup: Cgroup,
    _block: Loopback,
}

impl Stage {
    /// Starts with what `config` makes of the proxy's address and the upstream's.
    fn start(
        dir: tempfile::TempDir,
        config: impl FnOnce(SocketAddr, SocketAddr) -> anyhow::Result<nginx::Config>,
    ) -> anyhow::Result<Self> {
        let here = dir.path();
        let pki = Pki::create(&here.join("pki"))?;
        let block = Loopback::reserve()?;
        let (front, back) = (block.socket(1, 8080), block.socket(2, 8443));
        let upstream = format!(
            "server {{ listen {back} ssl; ssl_protocols TLSv1.3; ssl_certificate {}; \
             ssl_certificate_key {}; ssl_verify_client optional_no_ca; location / {{ return 200; }} }}",
            utf8(&pki.server.chain)?,
            utf8(&pki.server.key)?
        );
        let upstream = nginx::Config { http: upstream, ..nginx::Config::default() };
        let upstream = Nginx::start(&here.join("upstream"), &upstream, &Place::here(), back)?;
        let cgroup = Cgroup::create()?;
        let config = config(front, back)?;
        let nginx = Nginx::start(&here.join("proxy"), &config, &cgroup.place(), front)?;
        let options = [cgroup.options()?.as_slice(), &["--proxy", "nginx"]].concat();
        let agent = Agent::start(&here.join("agent"), block.socket(3, 9464), &options)?;
        agent.wait_looked_into()?;
        Ok(Self {
            dir,
            front,
            back,
            nginx,
            agent,
            _upstream: upstream,
            _cgroup: cgroup,
            _block: block,
        })
    }

    /// Has nginx load another configuration.
    fn load(&self, config: &nginx::Config) -> anyhow::Result<()> {
        Nginx::write(&self.dir.path().join("proxy"), config)?;
        self.nginx.reload()
    }

    /// Requests until a connection is like this.
    fn request_until(
        &self,
        what: &str,
        is_it: impl Fn(&ConnectionReport) -> bool,
    ) -> anyhow::Result<()> {
        wait_until(what, SETTLED, || {
            http::get(self.front, "/")?;
            Ok(self.agent.reports()?.iter().any(&is_it).then_some(()))
        })
    }

    /// The newest of the events of this name that are about the rule.
    fn event(&self, name: &str) -> Option<Value> {
        let is_it = |event: &Value| event["event"] == name && event["rule"] == RULE;
        self.agent.drifts().into_iter().rfind(is_it)
    }

    /// Requests until the drift has opened with these words.
    fn request_until_opened(&self, words: &str) -> anyhow::Result<()> {
        wait_until(words, SOON, || {
            http::get(self.front, "/")?;
            let opened = self.event("drift_opened");
            let detail = opened.as_ref().and_then(|opened| opened["detail"].as_str());
            Ok(detail.is_some_and(|detail| detail.contains(words)).then_some(()))
        })
    }

    /// Requests until the drift has closed.
    fn request_until_closed(&self) -> anyhow::Result<()> {
        wait_until("the drift to close", SETTLED, || {
            http::get(self.front, "/")?;
            Ok(self.event("drift_closed").map(drop))
        })
    }
}

/// Whether a connection showed this client certificate.
fn shows(identity: &Identity) -> impl Fn(&ConnectionReport) -> bool {
    let serial = identity.serial.clone();
    move |report| report.client_certificate.as_ref().is_some_and(|facts| facts.serial == serial)
}

/// nginx that presents this certificate to the upstream at `back`, with what else is `said`.
fn proxy(
    (front, back): (SocketAddr, SocketAddr),
    identity: &Identity,
    said: &str,
) -> anyhow::Result<nginx::Config> {
    let mut http = String::new();
    write!(
        http,
        "proxy_ssl_protocols TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name a.{DOMAIN};\n\
         proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; {said}\n\
         server {{ listen {front}; location / {{ proxy_pass https://{back}; }} }}",
        utf8(&identity.chain)?,
        utf8(&identity.key)?
    )?;
    Ok(nginx::Config { http, ..nginx::Config::default() })
}

#[test]
fn a_session_that_outlives_its_certificate_is_a_drift_until_a_full_handshake() {
    if requirement::met("a session that outlives its certificate", &["nginx"]) {
        outlive_an_end().unwrap_or_else(|error| panic!("{error:#}"));
    }
}

fn outlive_an_end() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().to_owned();
    // Started with what lasts, so that the agent is there before the other one ends.
    let renewed = pki::ending_client(&here, "renewed", Duration::from_hours(24))?;
    let stage = Stage::start(dir, |front, back| proxy((front, back), &renewed, ""))?;
    let ends = (stage.front, stage.back);
    let ending = pki::ending_client(&here, "ending", LIFE)?;
    let ends_at = Instant::now() + LIFE;
    stage.load(&proxy(ends, &ending, "")?)?;
    stage.request_until("the certificate to be presented", shows(&ending))?;
    let early = stage.event("drift_opened");
    anyhow::ensure!(Instant::now() >= ends_at || early.is_none(), "too early: {early:?}");
    wait_until("the certificate to end", LIFE + SOON, || {
        Ok((Instant::now() > ends_at + Duration::from_secs(1)).then_some(()))
    })?;
    stage.request_until_opened("that ended")?;
    stage.load(&proxy(ends, &renewed, "")?)?;
    stage.request_until_closed()
}

#[test]
fn a_session_that_outlives_what_its_files_say_is_a_drift_until_a_full_handshake() {
    if requirement::met("a session that outlives what its files say", &["nginx"]) {
        outlive_the_files().unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// Nobody reloads nginx when its certificate is renewed on disk, or is revoked.
fn outlive_the_files() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().to_owned();
    let revocable = pki::revocable_client(&here, "revocable")?;
    let renewed = pki::ending_client(&here, "renewed", Duration::from_hours(24))?;
    let list = here.join("list.pem");
    fs::write(&list, &revocable.empty)?;
    let said = format!("proxy_ssl_crl {};", utf8(&list)?);
    let stage = Stage::start(dir, |front, back| proxy((front, back), &revocable.client, &said))?;
    let is_resumed = |report: &ConnectionReport| report.carried_from.is_some();
    stage.request_until("the certificate to be presented", shows(&revocable.client))?;
    stage.request_until("its session to be resumed", is_resumed)?;
    anyhow::ensure!(stage.event("drift_opened").is_none(), "{:?}", stage.event("drift_opened"));
    replace(&list, &revocable.revoking)?;
    stage.request_until_opened("is revoked")?;
    stage.load(&proxy((stage.front, stage.back), &renewed, &said)?)?;
    stage.request_until_closed()?;
    stage.request_until("the other to be presented", shows(&renewed))?;
    let newest = pki::ending_client(&here, "newest", Duration::from_hours(24))?;
    replace(&renewed.chain, &fs::read_to_string(&newest.chain)?)?;
    stage.request_until_opened("was replaced on disk")
}

/// Puts a file in the place of another, as those do who renew certificates.
fn replace(path: &Path, content: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(new, path)?;
    Ok(())
}

//! A session that goes on after the client certificate it rests on.

use std::{
    fmt::Write as _,
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

const RULE: &str = "session_outlives_certificate";
/// Until the first certificate ends.
const LIFE: Duration = Duration::from_secs(4);
/// From the next resumption to the event.
const SOON: Duration = Duration::from_secs(5);
/// How long a drift has to be quiet before it closes (`policy.settle_seconds`), and some.
const SETTLED: Duration = Duration::from_secs(30);

/// nginx that presents this certificate to the upstream at `back`, and says in which file it lies.
fn proxy(front: &str, back: &str, identity: &Identity) -> anyhow::Result<nginx::Config> {
    let mut http = String::new();
    write!(
        http,
        "proxy_ssl_protocols TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name a.{DOMAIN};\n\
         proxy_ssl_certificate {}; proxy_ssl_certificate_key {};\n\
         server {{ listen {front}; location / {{ proxy_pass https://{back}; }} }}",
        utf8(&identity.chain)?,
        utf8(&identity.key)?
    )?;
    Ok(nginx::Config { http, ..nginx::Config::default() })
}

#[test]
fn a_session_that_outlives_its_certificate_is_a_drift_until_a_full_handshake() {
    if requirement::met("a session that outlives its certificate", &["nginx"]) {
        outlive().unwrap_or_else(|error| panic!("{error:#}"));
    }
}

fn outlive() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
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
    let _upstream = Nginx::start(&here.join("upstream"), &upstream, &Place::here(), back)?;
    let cgroup = Cgroup::create()?;
    let [front_text, back_text] = [front, back].map(|address| address.to_string());
    let renewed = pki::ending_client(here, "renewed", Duration::from_hours(24))?;
    // Started with what lasts, so that the agent is there before the other one ends.
    let config = proxy(&front_text, &back_text, &renewed)?;
    let nginx = Nginx::start(&here.join("proxy"), &config, &cgroup.place(), front)?;
    let options = [cgroup.options()?.as_slice(), &["--proxy", "nginx"]].concat();
    let agent = Agent::start(&here.join("agent"), block.socket(3, 9464), &options)?;
    agent.wait_looked_into()?;

    let ending = pki::ending_client(here, "ending", LIFE)?;
    let ends = Instant::now() + LIFE;
    Nginx::write(&here.join("proxy"), &proxy(&front_text, &back_text, &ending)?)?;
    nginx.reload()?;
    let presents = |identity: &Identity| {
        wait_until("the certificate to be presented", SETTLED, || {
            http::get(front, "/")?;
            let shown = |report: &hopsight_core::report::ConnectionReport| {
                let facts = report.client_certificate.as_ref();
                facts.is_some_and(|facts| facts.serial == identity.serial)
            };
            Ok(agent.reports()?.iter().any(shown).then_some(()))
        })
    };
    presents(&ending)?;
    let events = |name: &str| {
        let is_it = |event: &serde_json::Value| event["event"] == name && event["rule"] == RULE;
        agent.drifts().into_iter().rfind(is_it)
    };
    let early = events("drift_opened");
    anyhow::ensure!(Instant::now() >= ends || early.is_none(), "too early: {early:?}");
    wait_until("the certificate to end", LIFE + SOON, || {
        Ok((Instant::now() > ends + Duration::from_secs(1)).then_some(()))
    })?;
    let opened = wait_until("the drift to open", SOON, || {
        http::get(front, "/")?;
        Ok(events("drift_opened"))
    })?;
    let detail = opened["detail"].as_str().unwrap_or_default();
    anyhow::ensure!(detail.contains("that ended"), "{opened}");

    Nginx::write(&here.join("proxy"), &config)?;
    nginx.reload()?;
    wait_until("the drift to close", SETTLED, || {
        http::get(front, "/")?;
        Ok(events("drift_closed"))
    })?;
    Ok(())
}

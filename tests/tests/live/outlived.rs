//! A session that goes on after the client certificate it rests on.

mod stage;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use hopsight_core::report::ConnectionReport;
use hopsight_tests::{
    case::{Case, Holds, Proxy, Upstream},
    pki, requirement,
    wait::wait_until,
};

use self::stage::{SOON, Stage, Told, replace, shows};

/// Until the first certificate ends: the proxy starts and is asked meanwhile.
const LIFE: Duration = Duration::from_secs(8);
/// How long the others are good.
const LONG: Duration = Duration::from_hours(24);
/// Connections that tell whether a proxy resumes sessions.
const ENOUGH: usize = 5;

/// Plays a scene with this proxy, where it can be had.
fn play(test: &str, proxy: Proxy, scene: fn(Proxy) -> anyhow::Result<()>) {
    let case = Case::new(proxy.process_name(), proxy, Upstream::Http1, Holds::Trusted);
    if requirement::met(test, &["nginx"]) && !requirement::runnable(&[case]).is_empty() {
        scene(proxy).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_session_that_outlives_its_certificate_is_a_drift_until_a_full_handshake() {
    play("a session that outlives its certificate", Proxy::Nginx, outlive_an_end);
}

#[test]
fn a_session_that_outlives_what_its_files_say_is_a_drift_until_a_full_handshake() {
    play("a session that outlives what its files say", Proxy::Nginx, outlive_the_files);
}

#[test]
fn a_session_of_envoy_that_outlives_its_certificate_is_a_drift_until_a_full_handshake() {
    play("a session of Envoy that outlives its certificate", Proxy::Envoy, outlive_an_end);
}

#[test]
fn a_session_of_envoy_that_outlives_what_its_files_say_is_a_drift_until_a_full_handshake() {
    play("a session of Envoy that outlives what its files say", Proxy::Envoy, outlive_the_files);
}

#[test]
fn caddy_keeps_no_session_that_could_outlive_its_certificate() {
    let test = "Caddy keeps no session that could outlive its certificate";
    play(test, Proxy::Caddy, outlive_nothing);
}

/// Each of Caddy's handshakes is a full one and shows what it has loaded, and it names no revocation
/// list: there is nothing to outlive.
fn outlive_nothing(proxy: Proxy) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().to_owned();
    let ending = pki::ending_client(&here, "ending", LIFE)?;
    let ends_at = Instant::now() + LIFE;
    let stage = Stage::start(dir, proxy, (&ending).into())?;
    stage.request_until("the certificate to be presented", shows(&ending))?;
    wait_for_the_end(ends_at)?;
    let renewed = pki::ending_client(&here, "renewed", LONG)?;
    replace(&ending.chain, &fs::read_to_string(&renewed.chain)?)?;
    let (before, _) = stage.resumed()?;
    for _ in 0..ENOUGH {
        stage.request()?;
    }
    // The upstream logs a connection once it has answered.
    let (count, resumed) = wait_until("the upstream to log them all", SOON, || {
        Ok(Some(stage.resumed()?).filter(|(count, _)| *count >= before + ENOUGH))
    })?;
    anyhow::ensure!(resumed == 0, "Caddy resumed {resumed} of {count} sessions");
    stage.wait_told(count)?;
    anyhow::ensure!(stage.newest().is_none(), "{:?}", stage.newest());
    Ok(())
}

fn wait_for_the_end(ends_at: Instant) -> anyhow::Result<()> {
    wait_until("the certificate to end", LIFE + SOON, || {
        Ok((Instant::now() > ends_at + Duration::from_secs(1)).then_some(()))
    })
}

fn outlive_an_end(proxy: Proxy) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().to_owned();
    // Started with what lasts, so that the agent is there before the other one ends.
    let renewed = pki::ending_client(&here, "renewed", LONG)?;
    let mut stage = Stage::start(dir, proxy, (&renewed).into())?;
    let ending = pki::ending_client(&here, "ending", LIFE)?;
    let ends_at = Instant::now() + LIFE;
    stage.load((&ending).into())?;
    stage.request_until("the certificate to be presented", shows(&ending))?;
    let early = stage.newest();
    anyhow::ensure!(Instant::now() >= ends_at || early.is_none(), "too early: {early:?}");
    wait_for_the_end(ends_at)?;
    stage.request_until_opened("that ended")?;
    stage.load((&renewed).into())?;
    stage.request_until_closed()
}

/// Nobody reloads a proxy when its certificate is renewed on disk, or is revoked.
fn outlive_the_files(proxy: Proxy) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let here = dir.path().to_owned();
    let revocable = pki::revocable_client(&here, "revocable")?;
    let renewed = pki::ending_client(&here, "renewed", LONG)?;
    let list = here.join("list.pem");
    fs::write(&list, &revocable.empty)?;
    let told = |identity| Told { identity, list: Some(list.as_path()) };
    let mut stage = Stage::start(dir, proxy, told(&revocable.client))?;
    let is_resumed = |report: &ConnectionReport| report.carried_from.is_some();
    stage.request_until("the certificate to be presented", shows(&revocable.client))?;
    stage.request_until("its session to be resumed", is_resumed)?;
    anyhow::ensure!(stage.newest().is_none(), "{:?}", stage.newest());
    replace(&list, &revocable.revoking)?;
    stage.request_until_opened("is revoked")?;
    stage.load(told(&renewed))?;
    stage.request_until_closed()?;
    stage.request_until("the other to be presented", shows(&renewed))?;
    let newest = pki::ending_client(&here, "newest", LONG)?;
    let copy = |from: &Path, to: &Path| replace(to, &fs::read_to_string(from)?);
    copy(&newest.key, &renewed.key)?;
    copy(&newest.chain, &renewed.chain)?;
    stage.request_until_opened("was replaced on disk")?;
    // Envoy takes up only what it is told in other words, nginx what lies there by now.
    let anew = if proxy == Proxy::Envoy { &newest } else { &renewed };
    stage.load(told(anew))?;
    stage.request_until("the one on disk to be presented", shows(&newest))?;
    stage.request_until_closed()
}

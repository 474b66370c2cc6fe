//! Intended against observed, while a configuration changes under load. How fast is measured by
//! `cargo xtask bench drift`; here it has to be right.

use std::fs;

use hopsight_core::model::Security;
use hopsight_posture::policy::drift::Compliance;
use hopsight_tests::{
    agent::{Agent, CHANGE, VERDICT},
    drift::{Flip, MISSING, PLAINTEXT, Scene, UPSTREAM, seconds_between},
    requirement,
    wait::wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

fn wait_compliant(scene: &Scene, agent: &Agent) {
    wait_until("the hop to be named and compliant", CHANGE, || {
        let hop = scene.hop(agent)?;
        Ok(hop
            .filter(|hop| hop.context.name.as_deref() == Some(UPSTREAM))
            .and_then(|hop| hop.context.compliance)
            .filter(|compliance| compliance.status == Compliance::Compliant))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()));
}

#[test]
fn a_change_of_configuration_is_drift_until_it_is_mended() {
    let name = "a_change_of_configuration_is_drift_until_it_is_mended";
    if !requirement::met(name, &["nginx", "wrk"]) {
        return;
    }
    let _alone = hopsight_tests::alone();
    let scene = Scene::start().unwrap();
    let mut agent = scene.agent().unwrap();
    let _load = scene.load(4, 600, &scene.dir().join("wrk.log")).unwrap();
    wait_compliant(&scene, &agent);
    let intent = ["name=\"drift-payments\"", "scheme=\"tls\"", "client_certificate=\"yes\""];
    assert_eq!(agent.metric("hopsight_intent_info{", &intent).unwrap(), Some(1.0));
    let hop = scene.hop(&agent).unwrap().unwrap();
    assert_eq!(hop.state.security, Security::Mtls);
    let finding = hop.context.configured_certificate.unwrap();
    assert!(finding.problems.is_empty() && finding.certificate.is_some(), "{finding:?}");
    let address = format!("upstream=\"{}\"", scene.upstream);
    wait_until("one label", CHANGE, || {
        Ok(agent.metric("hopsight_hop_security{", &[&address])?.is_none().then_some(()))
    })
    .unwrap();

    scene.write(Flip::OneWay).unwrap();
    agent.wait_pending("nginx", true).unwrap();
    let violation = "hopsight_policy_violation";
    assert_eq!(scene.value(&agent, violation, MISSING).unwrap(), None);
    scene.proxy.reload().unwrap();
    scene.wait_violation(&agent, MISSING, 1.0).unwrap();
    agent.wait_pending("nginx", false).unwrap();

    scene.flip(Flip::Plaintext).unwrap();
    scene.wait_violation(&agent, PLAINTEXT, 1.0).unwrap();
    for rule in [MISSING, PLAINTEXT] {
        let event =
            wait_until("the event", CHANGE, || Ok(scene.event(&agent, "drift_opened", rule)));
        let event = event.unwrap();
        assert_eq!(event["name"], UPSTREAM, "{event}");
        seconds_between(&event["since"], &event["detected_at"]).unwrap();
        assert!(event["changed_at"].is_string(), "the reload is its cause: {event}");
    }

    // Killed, so that nothing can be saved at the end.
    wait_until("both to be saved", CHANGE, || {
        let saved = fs::read_to_string(scene.dir().join("state/state.json")).unwrap_or_default();
        let is_there = |rule: &&str| saved.contains(&format!("\"{rule}\""));
        Ok([MISSING, PLAINTEXT].iter().all(is_there).then_some(()))
    })
    .unwrap();
    let age = |agent: &Agent| scene.value(agent, "hopsight_drift_open_seconds", MISSING).unwrap();
    let before = age(&agent).unwrap();
    agent.daemon.signal(Signal::KILL).unwrap();
    agent.daemon.wait_exit(VERDICT).unwrap();
    let agent = scene.agent().unwrap();
    let after = age(&agent).unwrap();
    assert!(after >= before, "{after} s after the restart, {before} s before");
    let count = |what: &str| {
        agent.metric(&format!("hopsight_drift_{what}_seconds_count"), &[]).unwrap().unwrap()
    };
    assert!(count("detection") >= 2.0);
    assert!(count("remediation") < 1.0);

    scene.flip(Flip::Mutual).unwrap();
    for rule in [MISSING, PLAINTEXT] {
        scene.wait_violation(&agent, rule, 0.0).unwrap();
    }
    assert!(count("remediation") >= 2.0);
    wait_compliant(&scene, &agent);

    fs::write(scene.proxy_dir.join("nginx.conf"), "http {\n oops\n}\n").unwrap();
    wait_until("the broken file to be told", CHANGE, || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 200, "{}", ready.body);
        let json: Value = serde_json::from_str(&ready.body)?;
        let component = &json["components"]["nginx_configuration"];
        let detail = component["detail"].as_str().unwrap_or_default();
        Ok((component["state"] == "degraded" && detail.contains("nginx.conf:3")).then_some(()))
    })
    .unwrap();
    wait_compliant(&scene, &agent);
}

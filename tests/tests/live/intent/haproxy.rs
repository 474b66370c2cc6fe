//! haproxy's files are read.

use hopsight_tests::{nginx::utf8, pki, process::Daemon, requirement, wait::wait_until};
use rustix::process::Signal;

use super::{CHANGE, REMOVED, Scene, UPSTREAM, blamed, is_mutual_by_intent, line_of, write};

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
    agent.wait_pending("haproxy", true).unwrap();
    let hop = scene.wait(&agent, "the hop to be as before", is_mutual_by_intent);
    assert_eq!(blamed(&hop, REMOVED), None);

    proxy.signal(Signal::USR2).unwrap();
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    let expected = format!("{}:{}", path.display(), line_of(&path, "server a"));
    assert_eq!(blamed(&hop, REMOVED), Some(expected));
    agent.wait_pending("haproxy", false).unwrap();

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

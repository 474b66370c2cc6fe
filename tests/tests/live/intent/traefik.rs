//! Traefik's files are read, and its API says what of them is loaded.

use std::net::SocketAddr;

use hopsight_tests::{
    loopback,
    nginx::utf8,
    ordinary::launch::{Program, TRAEFIK},
    pki,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use serde_json::json;

use super::{CHANGE, REMOVED, Scene, UPSTREAM, blamed, is_mutual_by_intent, write};

/// Its dynamic configuration, with or without a client certificate.
fn dynamic(scene: &Scene, is_mutual: bool) -> String {
    let mut transport = json!({
        "serverName": format!("a.{}", pki::DOMAIN),
        "rootCAs": [utf8(&scene.pki.root).unwrap()],
        // A connection for every request.
        "maxIdleConnsPerHost": -1,
    });
    if is_mutual {
        transport["certificates"] = json!([{
            "certFile": utf8(&scene.pki.client.chain).unwrap(),
            "keyFile": utf8(&scene.pki.client.key).unwrap(),
        }]);
    }
    let balancer = json!({
        "serversTransport": "strict",
        "servers": [{ "url": format!("https://{}", scene.upstream) }],
    });
    json!({ "http": {
        "routers": { "all": { "entryPoints": ["in"], "rule": "PathPrefix(`/`)", "service": UPSTREAM } },
        "services": { UPSTREAM: { "loadBalancer": balancer } },
        "serversTransports": { "strict": transport },
    } })
    .to_string()
}

fn started(scene: &Scene, api: SocketAddr, file: &str) -> String {
    json!({
        "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
        "api": { "insecure": true },
        "entryPoints": {
            "in": { "address": scene.front.to_string() },
            "traefik": { "address": api.to_string() },
        },
        "providers": { "file": { "filename": file } },
    })
    .to_string()
}

#[test]
fn traefik_is_read_and_a_push_is_drift() {
    let name = "traefik_is_read_and_a_push_is_drift";
    let Some(binary) = Program::Named(TRAEFIK).find() else {
        hopsight_test_support::not_run(name, "Traefik is not installed (HOPSIGHT_TRAEFIK)");
        return;
    };
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let scene = Scene::start();
    let path = scene.dir.path().join("dynamic.yaml");
    write(&path, &dynamic(&scene, true));
    let main = scene.dir.path().join("traefik.yaml");
    let api = loopback::free_socket().unwrap();
    write(&main, &started(&scene, api, utf8(&path).unwrap()));
    let argument = format!("--configfile={}", main.display());
    let log = scene.dir.path().join("traefik.log");
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), &binary, [&argument], &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let agent = scene.agent();
    let hop = scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    assert_eq!(hop.context.name.as_deref(), Some(UPSTREAM));
    let at = format!("{}: http.services.{UPSTREAM}", path.display());
    assert_eq!(hop.context.intent.unwrap().place.unwrap().to_string(), at);
    let finding = hop.context.configured_certificate.unwrap();
    assert!(finding.problems.is_empty() && finding.certificate.is_some(), "{finding:?}");

    write(&path, &dynamic(&scene, false));
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    let transport = format!("{}: http.serversTransports.strict", path.display());
    assert!([Some(at), Some(transport)].contains(&blamed(&hop, REMOVED)), "{hop:?}");
    write(&path, &dynamic(&scene, true));
    scene.wait(&agent, "the drift to close", |hop| {
        blamed(hop, REMOVED).is_none() && is_mutual_by_intent(hop)
    });

    write(&path, "http:\n  services: [\n");
    wait_until("the broken file to be told", CHANGE, || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 200, "{}", ready.body);
        let json: serde_json::Value = serde_json::from_str(&ready.body)?;
        let component = &json["components"]["traefik_configuration"];
        let detail = component["detail"].as_str().unwrap_or_default();
        Ok((component["state"] == "degraded" && detail.contains("dynamic.yaml:")).then_some(()))
    })
    .unwrap();
    scene.wait(&agent, "the last good configuration to count", is_mutual_by_intent);
}

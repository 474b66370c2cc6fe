//! What Caddy runs is asked of it.

use std::net::SocketAddr;

use hopsight_tests::{
    loopback,
    nginx::utf8,
    pki,
    process::{self, Daemon},
    requirement,
};
use serde_json::json;

use super::{REMOVED, Scene, blamed, is_mutual_by_intent, write};

/// Caddy's configuration, with or without a client certificate.
pub(super) fn caddy(scene: &Scene, admin: SocketAddr, is_mutual: bool) -> String {
    let mut tls = json!({
        "server_name": format!("a.{}", pki::DOMAIN),
        "root_ca_pem_files": [utf8(&scene.pki.root).unwrap()],
    });
    if is_mutual {
        tls["client_certificate_file"] = utf8(&scene.pki.client.chain).unwrap().into();
        tls["client_certificate_key_file"] = utf8(&scene.pki.client.key).unwrap().into();
    }
    let handler = json!({
        "handler": "reverse_proxy",
        "transport": {
            "protocol": "http",
            "versions": ["1.1"],
            "keep_alive": { "enabled": false },
            "tls": tls,
        },
        "upstreams": [{ "dial": scene.upstream.to_string() }],
    });
    let server = json!({
        "listen": [scene.front.to_string()],
        "automatic_https": { "disable": true },
        "routes": [{ "handle": [handler] }],
    });
    json!({
        "admin": { "listen": admin.to_string() },
        "apps": { "http": { "servers": { "in": server } } },
    })
    .to_string()
}

#[test]
fn what_caddy_runs_is_asked_and_a_push_is_drift() {
    if !requirement::met("what_caddy_runs_is_asked_and_a_push_is_drift", &["nginx", "caddy"]) {
        return;
    }
    let scene = Scene::start();
    let admin = loopback::free_socket().unwrap();
    let path = scene.dir.path().join("caddy.json");
    write(&path, &caddy(&scene, admin, true));
    let home = format!("HOME={}", scene.dir.path().display());
    let arguments = [&home, "caddy", "run", "--config", utf8(&path).unwrap()];
    let log = scene.dir.path().join("caddy.log");
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), "env", arguments, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let agent = scene.agent();
    let hop = scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    let place = "apps/http/servers/in/routes/0/handle/0";
    assert_eq!(hop.context.intent.unwrap().place.unwrap().to_string(), place);
    let save = |is_mutual| write(&path, &caddy(&scene, admin, is_mutual));
    let push = |is_mutual| {
        save(is_mutual);
        let address = admin.to_string();
        let words = ["reload", "--config", utf8(&path).unwrap(), "--address", &address];
        process::run("caddy", words).unwrap();
    };
    push(false);
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    assert_eq!(blamed(&hop, REMOVED).as_deref(), Some(place));
    push(true);
    scene.wait(&agent, "the drift to close", |hop| {
        blamed(hop, REMOVED).is_none() && is_mutual_by_intent(hop)
    });
    agent.wait_pending("caddy", false).unwrap();
    save(false);
    agent.wait_pending("caddy", true).unwrap();
    let hop = scene.wait(&agent, "the hop to be mutual", is_mutual_by_intent);
    assert_eq!(blamed(&hop, REMOVED), None, "what is not loaded is no drift");
    push(false);
    agent.wait_pending("caddy", false).unwrap();
}

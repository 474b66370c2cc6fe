//! What Envoy runs is asked of it.

use std::{fs, net::SocketAddr, path::Path};

use hopsight_tests::{
    envoy, loopback, nginx::utf8, pki, process::Daemon, requirement, wait::wait_until,
};
use serde_json::json;

use super::{CHANGE, REMOVED, Scene, UPSTREAM, blamed, is_mutual_by_intent, write};

/// Envoy's cluster in a file that it watches, with or without a client certificate.
pub(super) fn cluster(scene: &Scene, is_mutual: bool) -> String {
    let file = |path: &Path| json!({ "filename": utf8(path).unwrap() });
    let mut common = json!({
        "validation_context": {
            "trusted_ca": file(&scene.pki.root),
            "match_typed_subject_alt_names": [
                { "san_type": "DNS", "matcher": { "exact": format!("a.{}", pki::DOMAIN) } },
            ],
        },
    });
    if is_mutual {
        common["tls_certificates"] = json!([{
            "certificate_chain": file(&scene.pki.client.chain),
            "private_key": file(&scene.pki.client.key),
        }]);
    }
    let (host, port) = (scene.upstream.ip().to_string(), scene.upstream.port());
    let address = json!({ "socket_address": { "address": host, "port_value": port } });
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": UPSTREAM,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": UPSTREAM,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": { "max_requests_per_connection": 1 },
                "explicit_http_config": { "http_protocol_options": {} },
            },
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": format!("a.{}", pki::DOMAIN),
                "max_session_keys": 0,
                "common_tls_context": common,
            },
        },
    });
    json!({ "resources": [cluster] }).to_string()
}

/// Envoy's bootstrap: clusters come from the file at `clusters`.
pub(super) fn bootstrap(scene: &Scene, admin: SocketAddr, clusters: &Path) -> String {
    let socket = |address: SocketAddr| {
        let (host, port) = (address.ip().to_string(), address.port());
        json!({ "socket_address": { "address": host, "port_value": port } })
    };
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [router],
        "route_config": { "validate_clusters": false, "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": UPSTREAM } }],
        }] },
    });
    json!({
        "admin": { "address": socket(admin) },
        "node": { "id": "a", "cluster": "b" },
        "dynamic_resources": {
            "cds_config": { "path_config_source": { "path": utf8(clusters).unwrap() } },
        },
        "static_resources": { "listeners": [{
            "name": "in",
            "address": socket(scene.front),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        }] },
    })
    .to_string()
}

#[test]
fn what_envoy_runs_is_asked_and_a_push_is_drift() {
    let name = "what_envoy_runs_is_asked_and_a_push_is_drift";
    let Some(binary) = envoy::binary() else {
        hopsight_test_support::not_run(name, "Envoy is not installed");
        return;
    };
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let scene = Scene::start();
    let admin = loopback::free_socket().unwrap();
    let clusters = scene.dir.path().join("clusters.json");
    // Envoy looks when another file is moved there.
    let push = |is_mutual| {
        let next = scene.dir.path().join("next.json");
        write(&next, &cluster(&scene, is_mutual));
        fs::rename(&next, &clusters).unwrap();
    };
    push(true);
    let path = scene.dir.path().join("envoy.json");
    write(&path, &bootstrap(&scene, admin, &clusters));
    let arguments = [
        "-l",
        "warning",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-c",
        utf8(&path).unwrap(),
    ];
    let log = scene.dir.path().join("envoy.log");
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), &binary, arguments, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let agent = scene.agent();
    let hop = scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    assert_eq!(hop.context.name.as_deref(), Some(UPSTREAM));
    let place = format!("cluster {UPSTREAM}");
    assert_eq!(hop.context.intent.unwrap().place.unwrap().to_string(), place);
    let finding = hop.context.configured_certificate.unwrap();
    assert!(finding.problems.is_empty() && finding.certificate.is_some(), "{finding:?}");

    push(false);
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    assert_eq!(blamed(&hop, REMOVED), Some(place));
    push(true);
    scene.wait(&agent, "the drift to close", |hop| {
        blamed(hop, REMOVED).is_none() && is_mutual_by_intent(hop)
    });
    agent.wait_pending("envoy", false).unwrap();
    // It is read when Envoy starts.
    write(&path, &bootstrap(&scene, admin, &clusters));
    agent.wait_pending("envoy", true).unwrap();
    wait_until("its configuration to be ready", CHANGE, || {
        let ready: serde_json::Value = serde_json::from_str(&agent.get("/readyz")?.body)?;
        Ok((ready["components"]["envoy_configuration"]["state"] == "ready").then_some(()))
    })
    .unwrap();
}

//! What the controller makes of the objects, well or badly, and the backends.

use std::{net::SocketAddr, path::Path};

use hopsight_tests::{
    nginx::{self, utf8},
    pki::{self, Pki},
};
use serde_json::{Value, json};

use super::{Backend, RouteKind, Speaks};

/// The data plane: one listener for HTTP, and one for each byte stream.
pub(super) fn bootstrap(backends: &[Backend], pki: &Pki) -> Value {
    let address = |of: SocketAddr| json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } });
    let listener = |name: &str, at: SocketAddr, filter: Value| json!({ "name": name, "address": address(at), "filter_chains": [{ "filters": [filter] }] });
    let typed = |name: &str, message: &str, mut config: Value| {
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{message}"));
        json!({ "name": name, "typed_config": config })
    };
    let is_stream = |one: &&Backend| one.route == RouteKind::Tcp;
    let streams = backends.iter().filter(is_stream).map(|one| {
        let config = json!({ "stat_prefix": one.name, "cluster": one.cluster });
        listener(
            &one.name,
            one.front,
            typed("tcp", "filters.network.tcp_proxy.v3.TcpProxy", config),
        )
    });
    let routes: Vec<_> = backends
        .iter()
        .filter(|one| !is_stream(one))
        .map(|one| {
            let prefix = format!("/{}/", one.name);
            json!({ "match": { "prefix": prefix }, "route": { "cluster": one.cluster } })
        })
        .collect();
    let manager = json!({
        "stat_prefix": "in",
        "http_filters": [typed("router", "filters.http.router.v3.Router", json!({}))],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
    });
    let kind = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let front = backends.iter().find(|one| !is_stream(one)).unwrap().front;
    let http = listener("in", front, typed("http", kind, manager));
    let file = |path: &Path| json!({ "filename": utf8(path).unwrap() });
    let clusters = backends.iter().map(|one| {
        let version = match one.route {
            RouteKind::Grpc => "http2_protocol_options",
            RouteKind::Http | RouteKind::Tcp => "http_protocol_options",
        };
        let options = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": { "max_requests_per_connection": 1 },
            "explicit_http_config": { version: {} },
        });
        let mut cluster = json!({
            "name": one.cluster, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": { "cluster_name": one.cluster, "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": address(one.address) } },
            ] }] },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
            },
        });
        if one.speaks != Speaks::Plaintext {
            let name =
                json!({ "san_type": "DNS", "matcher": { "exact": format!("a.{}", pki::DOMAIN) } });
            let mut common = json!({ "validation_context": {
                "trusted_ca": file(&pki.root), "match_typed_subject_alt_names": [name],
            } });
            if one.speaks == Speaks::Mutual {
                common["tls_certificates"] = json!([{
                    "certificate_chain": file(&pki.client.chain),
                    "private_key": file(&pki.client.key),
                }]);
            }
            if one.route == RouteKind::Grpc {
                common["alpn_protocols"] = json!(["h2"]);
            }
            let context = json!({
                "sni": format!("a.{}", pki::DOMAIN), "max_session_keys": 0,
                "common_tls_context": common,
            });
            let message = "transport_sockets.tls.v3.UpstreamTlsContext";
            cluster["transport_socket"] = typed("envoy.transport_sockets.tls", message, context);
        }
        cluster
    });
    let listeners: Vec<_> = streams.chain([http]).collect();
    json!({ "static_resources": { "listeners": listeners, "clusters": clusters.collect::<Vec<_>>() } })
}

/// Every backend ends TLS and asks for a client certificate.
pub(super) fn servers(backends: &[Backend], pki: &Pki) -> String {
    let server = |one: &Backend| {
        let text = nginx::asking_server(one.address, &pki.server, pki).unwrap();
        let h2 = format!("listen {} ssl http2;", one.address);
        match one.route {
            RouteKind::Grpc => text.replace(&format!("listen {} ssl;", one.address), &h2),
            RouteKind::Http | RouteKind::Tcp => text,
        }
    };
    backends.iter().map(server).collect()
}

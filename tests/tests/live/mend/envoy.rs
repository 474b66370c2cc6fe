//! Envoy: fields go into the cluster, at the depth that they are printed with.

use std::{fs, net::SocketAddr, path::Path};

use hopsight_tests::{envoy, loopback, nginx::utf8, process, process::Daemon, requirement};
use serde_json::{Value, json};

use super::{Finding, Proxy, Says, Scene, Upstream, insert, server_name, snippets_mend};

const HTTP: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

struct Running {
    admin: SocketAddr,
    daemon: Option<Daemon>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/envoy";

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let clusters = scene.upstreams.iter().map(|one| cluster(scene, one, says(one)));
        json!({ "resources": clusters.collect::<Vec<_>>() }).to_string()
    }

    /// Clusters are in a file that Envoy watches, and looks at when another is moved there.
    fn load(&mut self, scene: &Scene, configuration: &str) {
        let (next, clusters) = (scene.path("next.json"), scene.path("clusters.json"));
        fs::write(&next, configuration).unwrap();
        fs::rename(&next, &clusters).unwrap();
        let Some(daemon) = &mut self.daemon else {
            self.daemon = Some(start(scene, self.admin, &clusters));
            return;
        };
        daemon.ensure_running().unwrap();
        // What it has taken up is what it shows.
        let wanted: Value = serde_json::from_str(configuration).unwrap();
        let count = wanted["resources"].as_array().unwrap().len();
        let text = daemon.log();
        assert!(!text.contains("rejected") && !text.contains("Rejected"), "{count}: {text}");
    }

    fn to_lint(&self, _: &Scene) -> String {
        format!("http://{}", self.admin)
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        let mut configuration: Value = serde_json::from_str(configuration).unwrap();
        assert_eq!(finding.at.file, format!("cluster {}", finding.upstream));
        let clusters = configuration["resources"].as_array_mut().unwrap();
        let mut clusters = clusters.iter_mut();
        let cluster = clusters.find(|one| one["name"] == *finding.upstream).unwrap();
        let (without, fields) = insert::parts(snippet);
        for name in without.iter().flat_map(|said| said.split(", ")) {
            insert::remove(cluster, name);
        }
        if !fields.is_empty() {
            insert::merge(cluster, serde_saphyr::from_str(&fields).unwrap());
        }
        configuration.to_string()
    }
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}

fn cluster(scene: &Scene, upstream: &Upstream, says: Says) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(upstream.address) } });
    let mut cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": upstream.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": upstream.name,
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": HTTP,
            "common_http_protocol_options": { "max_requests_per_connection": 1 },
            "explicit_http_config": { "http_protocol_options": {} },
        } },
    });
    if says.tls {
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TLS, "sni": server_name(), "max_session_keys": 0,
                "common_tls_context": common(scene, says),
            },
        });
    }
    cluster
}

fn common(scene: &Scene, says: Says) -> Value {
    let file = |path: &Path| json!({ "filename": utf8(path).unwrap() });
    let mut common = json!({});
    if says.verify {
        let name = json!({ "san_type": "DNS", "matcher": { "exact": server_name() } });
        common["validation_context"] = json!({
            "trusted_ca": file(&scene.pki.root),
            "match_typed_subject_alt_names": [name],
        });
    }
    if says.certificate {
        let client = &scene.pki.client;
        common["tls_certificates"] = json!([{
            "certificate_chain": file(&client.chain), "private_key": file(&client.key),
        }]);
    }
    if says.old {
        common["tls_params"] = json!({ "tls_maximum_protocol_version": "TLSv1_2" });
    }
    common
}

fn start(scene: &Scene, admin: SocketAddr, clusters: &Path) -> Daemon {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    });
    let paths = scene.upstreams.iter().map(|one| {
        let prefix = format!("/{}", one.name);
        json!({ "match": { "prefix": prefix }, "route": { "cluster": one.name } })
    });
    let paths: Vec<_> = paths.collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [router],
        "route_config": { "validate_clusters": false, "virtual_hosts": [
            { "name": "all", "domains": ["*"], "routes": paths },
        ] },
    });
    let filter = json!({
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
    });
    let bootstrap = json!({
        "admin": { "address": address(admin) },
        "node": { "id": "a", "cluster": "b" },
        "dynamic_resources": {
            "cds_config": { "path_config_source": { "path": utf8(clusters).unwrap() } },
        },
        "static_resources": { "listeners": [{
            "name": "in", "address": address(scene.front), "filter_chains": [{ "filters": [filter] }],
        }] },
    });
    let path = scene.path("envoy.json");
    fs::write(&path, bootstrap.to_string()).unwrap();
    let path = utf8(&path).unwrap();
    let binary = envoy::binary().unwrap();
    process::run(utf8(&binary).unwrap(), ["--mode", "validate", "-l", "error", "-c", path])
        .unwrap();
    let words = ["-l", "warning", "--concurrency", "1", "--disable-hot-restart", "-c", path];
    let log = scene.path("envoy.log");
    let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), &binary, words, &log).unwrap();
    daemon.wait_listening(scene.front).unwrap();
    daemon
}

#[test]
fn snippets_mend_envoy() {
    let name = "snippets_mend_envoy";
    if envoy::binary().is_none() {
        hopsight_test_support::not_run(name, "Envoy is not installed");
        return;
    }
    if requirement::met(name, &["nginx"]) {
        let start = |_: &Scene| Running { admin: loopback::free_socket().unwrap(), daemon: None };
        snippets_mend(start, &[]);
    }
}

//! Configurations that are not nginx's: hops carry the configured names, and what a reload changes is
//! drift until it is mended.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hopsight_core::{
    hops::hop::Hop,
    model::Security,
    policy::intent::{Scheme, Stated},
};
use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    envoy, http,
    loopback::{self, Loopback},
    nginx::{self, Nginx, utf8},
    pki::{self, Pki},
    place::Place,
    process::{self, Daemon},
    requirement,
    wait::wait_until,
};
use rustix::process::Signal;
use serde_json::json;

/// How long a change may take to be seen, reload included.
const CHANGE: Duration = Duration::from_secs(20);
/// The upstream's name in the configurations.
const UPSTREAM: &str = "intent-payments";
/// What is violated without a client certificate, where only the configuration asks for one.
const REMOVED: &str = "client_certificate_removed";

/// An upstream that asks for certificates and accepts connections without, and where its proxy is.
struct Scene {
    front: SocketAddr,
    upstream: SocketAddr,
    http: SocketAddr,
    cgroup: Cgroup,
    pki: Pki,
    _upstream: Nginx,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let upstream = block.socket(10, 8443);
        let server = nginx::asking_server(upstream, &pki.server, &pki).unwrap();
        let config = nginx::Config { http: server, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream);
        Self {
            front: block.socket(1, 7000),
            upstream,
            http: block.socket(2, 9464),
            cgroup: Cgroup::create().unwrap(),
            pki,
            _upstream: other.unwrap(),
            dir,
        }
    }

    fn agent(&self) -> Agent {
        let options = self.cgroup.options().unwrap();
        Agent::start(&self.dir.path().join("agent"), self.http, &options).unwrap()
    }

    /// Waits for the hop to be like this, with requests.
    fn wait(&self, agent: &Agent, what: &str, is_so: impl Fn(&Hop) -> bool) -> Hop {
        wait_until(what, CHANGE, || {
            http::get(self.front, "/")?;
            let hops = agent.hops()?.hops;
            let mut ours = hops.iter().filter(|hop| hop.is_to(self.upstream));
            Ok(ours.find(|hop| is_so(hop)).map(|hop| Hop::clone(hop)))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()))
    }
}

fn is_mutual_by_intent(hop: &Hop) -> bool {
    hop.state.security == Security::Mtls
        && hop.context.intent.as_ref().is_some_and(|intent| {
            (intent.scheme, intent.client_certificate, intent.verify)
                == (Scheme::Tls, Stated::Yes, Stated::Yes)
        })
}

/// The line that a drift of this rule blames, while one is open.
fn blamed(hop: &Hop, rule: &str) -> Option<String> {
    let violations = &hop.context.compliance.as_ref()?.violations;
    let open = violations.iter().find(|violation| violation.rule.as_str() == rule)?;
    open.place.as_ref().map(ToString::to_string)
}

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

/// Envoy's cluster in a file that it watches, with or without a client certificate.
fn cluster(scene: &Scene, is_mutual: bool) -> String {
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
fn bootstrap(scene: &Scene, admin: SocketAddr, clusters: &Path) -> String {
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

/// Caddy's configuration, with or without a client certificate.
fn caddy(scene: &Scene, admin: SocketAddr, is_mutual: bool) -> String {
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

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// The number of the line that begins with `keyword`.
fn line_of(path: &PathBuf, keyword: &str) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().position(|line| line.starts_with(keyword)).unwrap() + 1
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
    let ready: serde_json::Value =
        serde_json::from_str(&agent.get("/readyz").unwrap().body).unwrap();
    assert_eq!(ready["components"]["envoy_configuration"]["state"], "ready", "{ready}");
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
    let push = |is_mutual| {
        write(&path, &caddy(&scene, admin, is_mutual));
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
    let pending = || agent.metric("hopsight_proxy_config_pending_reload{", &["haproxy"]);
    wait_until("the change to be pending", CHANGE, || Ok(pending()?.filter(|&is| is > 0.5)))
        .unwrap();
    let hop = scene.wait(&agent, "the hop to be as before", is_mutual_by_intent);
    assert_eq!(blamed(&hop, REMOVED), None);

    proxy.signal(Signal::USR2).unwrap();
    let hop = scene.wait(&agent, "the drift to open", |hop| blamed(hop, REMOVED).is_some());
    let expected = format!("{}:{}", path.display(), line_of(&path, "server a"));
    assert_eq!(blamed(&hop, REMOVED), Some(expected));
    wait_until("nothing to be pending", CHANGE, || Ok(pending()?.filter(|&is| is == 0.0))).unwrap();

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

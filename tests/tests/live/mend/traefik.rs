//! Traefik: settings go into the transport of the service.

use std::{fs, net::SocketAddr, path::PathBuf};

use hopsight_tests::{
    loopback,
    nginx::utf8,
    ordinary::launch::{Program, TRAEFIK},
    process::Daemon,
    requirement,
};
use serde_json::{Value, json};

use super::{Finding, Proxy, Says, Scene, Upstream, insert, server_name, snippets_mend};

struct Running {
    binary: PathBuf,
    api: SocketAddr,
    daemon: Option<Daemon>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/traefik";
    const FOR: &'static str = "traefik";

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let (mut routers, mut services, mut transports) = (json!({}), json!({}), json!({}));
        for upstream in &scene.upstreams {
            let name = &upstream.name;
            let says = says(upstream);
            let scheme = if says.tls { "https" } else { "http" };
            let rule = format!("PathPrefix(`/{name}`)");
            routers[name] = json!({ "entryPoints": ["in"], "rule": rule, "service": name });
            services[name] = json!({ "loadBalancer": {
                "serversTransport": name,
                "servers": [{ "url": format!("{scheme}://{}", upstream.address) }],
            } });
            transports[name] = transport(scene, says);
        }
        json!({ "http": {
            "routers": routers, "services": services, "serversTransports": transports,
        } })
        .to_string()
    }

    /// It loads what is written at once.
    fn load(&mut self, scene: &Scene, configuration: &str) {
        let path = scene.path("dynamic.yaml");
        fs::write(&path, configuration).unwrap();
        if let Some(daemon) = &mut self.daemon {
            daemon.ensure_running().unwrap();
            return;
        }
        let main = json!({
            "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
            "api": { "insecure": true },
            "entryPoints": {
                "in": { "address": scene.front.to_string() },
                "traefik": { "address": self.api.to_string() },
            },
            "providers": { "file": { "filename": utf8(&path).unwrap() } },
        });
        let file = scene.path("traefik.yaml");
        fs::write(&file, main.to_string()).unwrap();
        let argument = format!("--configfile={}", file.display());
        let log = scene.path("traefik.log");
        let place = scene.cgroup.place();
        let mut daemon = Daemon::spawn_at(&place, &self.binary, [&argument], &log).unwrap();
        daemon.wait_listening(scene.front).unwrap();
        self.daemon = Some(daemon);
    }

    fn to_lint(&self, scene: &Scene) -> String {
        utf8(&scene.path("dynamic.yaml")).unwrap().to_owned()
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        let mut configuration: Value = serde_json::from_str(configuration).unwrap();
        let http = &mut configuration["http"];
        let balancer = &mut http["services"][&finding.upstream]["loadBalancer"];
        if snippet.lines().any(|line| line == "# and in the url: https://") {
            let url = balancer["servers"][0]["url"].as_str().unwrap();
            balancer["servers"][0]["url"] = url.replace("http://", "https://").into();
        }
        let transport = balancer["serversTransport"].as_str().unwrap().to_owned();
        let (_, written) = insert::parts(snippet);
        let mut written: Value = serde_saphyr::from_str(&written).unwrap();
        let settings = written["http"]["serversTransports"]["TRANSPORT"].take();
        insert::merge(&mut http["serversTransports"][&transport], settings);
        configuration.to_string()
    }
}

fn transport(scene: &Scene, says: Says) -> Value {
    // A connection for every request.
    let mut transport = json!({ "maxIdleConnsPerHost": -1 });
    if !says.tls {
        return transport;
    }
    transport["serverName"] = server_name().into();
    if says.verify {
        transport["rootCAs"] = json!([utf8(&scene.pki.root).unwrap()]);
    } else {
        transport["insecureSkipVerify"] = true.into();
    }
    if says.certificate {
        let client = &scene.pki.client;
        transport["certificates"] = json!([{
            "certFile": utf8(&client.chain).unwrap(), "keyFile": utf8(&client.key).unwrap(),
        }]);
    }
    if says.old {
        transport["minVersion"] = "VersionTLS12".into();
        transport["maxVersion"] = "VersionTLS12".into();
    }
    transport
}

#[test]
fn snippets_mend_traefik() {
    let name = "snippets_mend_traefik";
    let Some(binary) = Program::Named(TRAEFIK).find() else {
        hopsight_test_support::not_run(name, "Traefik is not installed (HOPSIGHT_TRAEFIK)");
        return;
    };
    if requirement::met(name, &["nginx"]) {
        let api = loopback::free_socket().unwrap();
        snippets_mend(|_| Running { binary, api, daemon: None }, &[]);
    }
}

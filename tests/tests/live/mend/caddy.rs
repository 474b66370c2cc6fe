//! Caddy: members go into the handler that is blamed.

use std::{fs, net::SocketAddr};

use hopsight_posture::policy::drift::Rule;
use hopsight_tests::{loopback, nginx::utf8, process, process::Daemon, requirement};
use serde_json::{Value, json};

use super::{Finding, Proxy, Says, Scene, Upstream, insert, server_name, snippets_mend};

struct Running {
    admin: SocketAddr,
    daemon: Option<Daemon>,
}

impl Proxy for Running {
    const EXAMPLES: &'static str = "/etc/caddy";
    const IS_NAMELESS: bool = true;

    fn configuration(&self, scene: &Scene, says: &dyn Fn(&Upstream) -> Says) -> String {
        let routes = scene.upstreams.iter().map(|one| {
            let paths = [format!("/{}", one.name)];
            json!({ "match": [{ "path": paths }], "handle": [handler(scene, one, says(one))] })
        });
        let server = json!({
            "listen": [scene.front.to_string()],
            "automatic_https": { "disable": true },
            "routes": routes.collect::<Vec<_>>(),
        });
        json!({
            "admin": { "listen": self.admin.to_string() },
            "apps": { "http": { "servers": { "in": server } } },
        })
        .to_string()
    }

    fn load(&mut self, scene: &Scene, configuration: &str) {
        let path = scene.path("caddy.json");
        fs::write(&path, configuration).unwrap();
        let path = utf8(&path).unwrap();
        if self.daemon.is_some() {
            let address = self.admin.to_string();
            let words = ["reload", "--config", path, "--address", &address];
            process::run("caddy", words).unwrap();
            return;
        }
        let home = format!("HOME={}", scene.dir.path().display());
        let words = [&home, "caddy", "run", "--config", path];
        let log = scene.path("caddy.log");
        let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), "env", words, &log).unwrap();
        daemon.wait_listening(scene.front).unwrap();
        self.daemon = Some(daemon);
    }

    fn to_lint(&self, scene: &Scene) -> String {
        utf8(&scene.path("caddy.json")).unwrap().to_owned()
    }

    fn insert(&self, configuration: &str, finding: &Finding, snippet: &str) -> String {
        let mut configuration: Value = serde_json::from_str(configuration).unwrap();
        let pointer = format!("/{}", finding.at.file);
        let handler = configuration.pointer_mut(&pointer).unwrap();
        let (without, members) = insert::parts(snippet);
        for said in without {
            let name = said.split('"').nth(1).unwrap();
            insert::remove(handler, name);
        }
        if !members.is_empty() {
            insert::merge(handler, serde_json::from_str(&format!("{{{members}}}")).unwrap());
        }
        configuration.to_string()
    }
}

fn handler(scene: &Scene, upstream: &Upstream, says: Says) -> Value {
    let mut transport = json!({
        "protocol": "http", "versions": ["1.1"], "keep_alive": { "enabled": false },
    });
    if says.tls {
        let mut tls = json!({ "server_name": server_name() });
        if says.verify {
            tls["root_ca_pem_files"] = json!([utf8(&scene.pki.root).unwrap()]);
        } else {
            tls["insecure_skip_verify"] = true.into();
        }
        if says.certificate {
            let client = &scene.pki.client;
            tls["client_certificate_file"] = utf8(&client.chain).unwrap().into();
            tls["client_certificate_key_file"] = utf8(&client.key).unwrap().into();
        }
        transport["tls"] = tls;
    }
    let upstreams = [json!({ "dial": upstream.address.to_string() })];
    json!({ "handler": "reverse_proxy", "transport": transport, "upstreams": upstreams })
}

#[test]
fn snippets_mend_caddy() {
    if requirement::met("snippets_mend_caddy", &["nginx", "caddy"]) {
        let start = |_: &Scene| Running { admin: loopback::free_socket().unwrap(), daemon: None };
        // No setting of its transport says the lowest version.
        snippets_mend(start, &[Rule::VersionBelowMinimum]);
    }
}

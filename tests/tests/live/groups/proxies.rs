//! Proxies as clients: one of each, with a hop for every connection.

use std::fmt::Write as _;

use hopsight_tests::{
    case::Version,
    envoy,
    haproxy::Haproxy,
    nginx::{self, Nginx},
    process::Daemon,
};
use serde_json::json;

use super::{Scene, clients::Cell, text};

/// Starts those that cells are of.
pub fn start(scene: &Scene, cells: &[Cell<'_>]) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for (name, start) in [
        ("nginx", nginx as fn(&Scene, &[&Cell<'_>]) -> Daemon),
        ("haproxy", haproxy),
        ("Caddy", caddy),
        ("Envoy", envoy),
    ] {
        let own: Vec<_> = cells.iter().filter(|cell| cell.client.name == name).collect();
        if !own.is_empty() {
            daemons.push(start(scene, &own));
        }
    }
    daemons
}

fn own(scene: &Scene, cell: &Cell<'_>) -> [String; 3] {
    let pair = cell.pair(&scene.keys);
    [&pair.certificate, &pair.key, &pair.bundle].map(|path| text(path))
}

fn nginx(scene: &Scene, cells: &[&Cell<'_>]) -> Daemon {
    let mut http = String::new();
    for cell in cells {
        let [certificate, key, _] = own(scene, cell);
        writeln!(
            http,
            "server {{ listen {}; location / {{ proxy_pass https://{}; \
             proxy_ssl_protocols TLSv{}; proxy_ssl_conf_command Groups {}; \
             proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key}; \
             proxy_ssl_session_reuse off; }} }}",
            cell.front.unwrap(),
            cell.address,
            cell.version_name(),
            cell.offered.join(":"),
        )
        .unwrap();
    }
    let config = nginx::Config { http, ..nginx::Config::default() };
    let dir = scene.dir.path().join("nginx");
    Nginx::start(&dir, &config, &scene.cgroup.place(), cells[0].front.unwrap()).unwrap().daemon
}

fn haproxy(scene: &Scene, cells: &[&Cell<'_>]) -> Daemon {
    let mut sections = String::new();
    for cell in cells {
        let ([.., bundle], version) = (own(scene, cell), cell.version_name());
        writeln!(
            sections,
            "listen c{}\nbind {}\nserver upstream {} ssl verify none crt {bundle} \
             no-ssl-reuse ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}",
            cell.number,
            cell.front.unwrap(),
            cell.address,
        )
        .unwrap();
    }
    let dir = scene.dir.path().join("haproxy");
    let (place, front) = (scene.cgroup.place(), cells[0].front.unwrap());
    Haproxy::start(&dir, &sections, &place, front).unwrap().daemon
}

fn caddy(scene: &Scene, cells: &[&Cell<'_>]) -> Daemon {
    let mut servers = serde_json::Map::new();
    for cell in cells {
        let [certificate, key, _] = own(scene, cell);
        let tls = json!({
            "insecure_skip_verify": true,
            "client_certificate_file": certificate,
            "client_certificate_key_file": key,
        });
        let handler = json!({
            "handler": "reverse_proxy",
            "transport": { "protocol": "http", "tls": tls, "versions": ["1.1"] },
            "upstreams": [{ "dial": cell.address.to_string() }],
        });
        let server = json!({
            "listen": [cell.front.unwrap().to_string()],
            "automatic_https": { "disable": true },
            "routes": [{ "handle": [handler] }],
        });
        servers.insert(format!("c{}", cell.number), server);
    }
    let config = json!({
        "admin": { "disabled": true, "config": { "persist": false } },
        "apps": { "http": { "servers": servers } },
    });
    let path = scene.dir.path().join("caddy.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let program = std::env::var(hopsight_tests::caddy::VARIABLE);
    let program = program.unwrap_or_else(|_| "caddy".to_owned());
    // It wants to keep files of its own in the user's home.
    let home = format!("HOME={}", text(scene.dir.path()));
    let args = [home.as_str(), &program, "run", "--config", &text(&path)];
    let log = scene.dir.path().join("caddy.log");
    let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), "env", args, &log).unwrap();
    daemon.wait_listening(cells[0].front.unwrap()).unwrap();
    daemon
}

fn envoy(scene: &Scene, cells: &[&Cell<'_>]) -> Daemon {
    let mut config = envoy::Pools::default();
    for cell in cells {
        let [certificate, key, _] = own(scene, cell);
        let version = match cell.version {
            Version::V12 => "TLSv1_2",
            Version::V13 => "TLSv1_3",
        };
        let common = json!({
            "tls_params": {
                "tls_minimum_protocol_version": version,
                "tls_maximum_protocol_version": version,
                "ecdh_curves": cell.offered,
            },
            "tls_certificates": [{
                "certificate_chain": { "filename": certificate },
                "private_key": { "filename": key },
            }],
        });
        config.add_with(&format!("c{}", cell.number), (cell.front.unwrap(), cell.address), &common);
    }
    let path = scene.dir.path().join("envoy.json");
    std::fs::write(&path, config.bootstrap().to_string()).unwrap();
    let args = ["-c", &text(&path), "--disable-hot-restart", "--concurrency", "1"];
    let args = args.into_iter().chain(["--log-level", "warning"]);
    let log = scene.dir.path().join("envoy.log");
    let binary = envoy::binary().unwrap();
    let mut daemon = Daemon::spawn_at(&scene.cgroup.place(), binary, args, &log).unwrap();
    daemon.wait_listening(cells[0].front.unwrap()).unwrap();
    daemon
}

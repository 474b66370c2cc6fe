//! Caddy as proxy: another TLS library, Go's `crypto/tls`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    case::{Case, Holds, Verify},
    nginx::utf8,
    pki::Pki,
    place::Place,
    process::Daemon,
};

/// The program; another one may be named by this variable, as long as it is called `caddy`.
pub const VARIABLE: &str = "HOPSIGHT_CADDY";

/// A running Caddy.
#[derive(Debug)]
pub struct Caddy {
    /// The process.
    pub daemon: Daemon,
}

/// Servers of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    servers: serde_json::Map<String, Value>,
}

impl Config {
    /// Adds a hop: a server in the clear on `front` that connects to `dial`.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn add(
        &mut self,
        case: &Case,
        front: SocketAddr,
        dial: SocketAddr,
        pki: &Pki,
    ) -> anyhow::Result<()> {
        let mut transport = json!({
            "protocol": "http",
            "versions": ["1.1"],
            // A connection for every request, as the other proxies are set.
            "keep_alive": { "enabled": false },
        });
        if case.version().is_some() {
            transport["tls"] = client_tls(case, pki)?;
        }
        let handler = json!({
            "handler": "reverse_proxy",
            "transport": transport,
            "upstreams": [{ "dial": dial.to_string() }],
        });
        let server = json!({
            "listen": [front.to_string()],
            "automatic_https": { "disable": true },
            "routes": [{ "handle": [handler] }],
        });
        self.servers.insert(case.name.to_owned(), server);
        Ok(())
    }

    /// Writes it in `dir`, which is made if need be; with an admin interface where there is an
    /// address for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path, admin: Option<SocketAddr>) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = dir.join("caddy.json");
        let admin = match admin {
            Some(address) => json!({ "listen": address.to_string() }),
            None => json!({ "disabled": true, "config": { "persist": false } }),
        };
        let text = json!({ "admin": admin, "apps": { "http": { "servers": self.servers } } });
        fs::write(&path, text.to_string()).context("write caddy.json")?;
        Ok(path)
    }
}

impl Caddy {
    /// Starts Caddy at `place` and waits until it listens on `address`.
    ///
    /// # Errors
    /// When it is missing or does not start; the message carries its output.
    pub fn start(
        dir: &Path,
        config: &Config,
        place: &Place,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let path = config.write(dir, None)?;
        let program = std::env::var_os(VARIABLE).unwrap_or_else(|| "caddy".into());
        // It wants to keep files of its own in the user's home.
        let home = format!("HOME={}", utf8(dir)?);
        let words = [home.as_str(), utf8(Path::new(&program))?, "run", "--config", utf8(&path)?];
        let mut daemon = Daemon::spawn_at(place, "env", words, &dir.join("caddy.log"))?;
        daemon.wait_listening(address)?;
        Ok(Self { daemon })
    }
}

fn client_tls(case: &Case, pki: &Pki) -> anyhow::Result<Value> {
    let mut tls = json!({ "server_name": case.server_name() });
    let identity = match case.holds {
        Holds::Nothing => None,
        Holds::Trusted => Some(&pki.client),
        Holds::Foreign => Some(&pki.foreign_client),
    };
    if let Some(identity) = identity {
        tls["client_certificate_file"] = utf8(&identity.chain)?.into();
        tls["client_certificate_key_file"] = utf8(&identity.key)?.into();
    }
    match case.verify {
        Verify::Off => tls["insecure_skip_verify"] = true.into(),
        Verify::On | Verify::OtherName => tls["root_ca_pem_files"] = json!([utf8(&pki.root)?]),
        Verify::ForeignRoot => tls["root_ca_pem_files"] = json!([utf8(&pki.foreign_root)?]),
    }
    Ok(tls)
}

//! Envoy as proxy: another TLS library (BoringSSL, linked statically), with counters of its own.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    case::{Case, Holds, Verify},
    http,
    nginx::utf8,
    pki::{Identity, Pki},
    place::Place,
    process::{self, Daemon},
};

/// Names the Envoy binary; `cargo xtask` sets it to the one it installed.
pub const VARIABLE: &str = "HOPSIGHT_ENVOY";

/// How a cluster speaks HTTP.
const HTTP_OPTIONS: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// How it speaks TLS.
const TLS_CONTEXT: &str = "transport_sockets.tls.v3.UpstreamTlsContext";

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// The process.
    pub daemon: Daemon,
    admin: SocketAddr,
}

/// The binary, if there is one.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from).or_else(|| process::find("envoy"))
}

/// Listeners and clusters of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    /// Whether clusters stand in a file of their own, which Envoy takes up anew whenever
    /// [`Config::write`] puts another in its place.
    pub is_watched: bool,
}

impl Config {
    /// Adds a hop: a listener in the clear on `front`, a cluster that connects to `dial`.
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
        self.listeners.push(listener(case.name, front));
        self.clusters.push(cluster(case, dial, pki)?);
        Ok(())
    }

    /// Has every cluster hold what its upstream presents against a revocation list and the authority
    /// `root`, and accept it all the same: BoringSSL wants a list of each authority of a chain, and
    /// these upstreams' have none.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn revoke(&mut self, list: &Path, root: &Path) -> anyhow::Result<()> {
        let validation = json!({
            "trusted_ca": { "filename": utf8(root)? },
            "crl": { "filename": utf8(list)? },
            "trust_chain_verification": "ACCEPT_UNTRUSTED",
        });
        for cluster in &mut self.clusters {
            let socket = &mut cluster["transport_socket"]["typed_config"];
            socket["common_tls_context"]["validation_context"] = validation.clone();
        }
        Ok(())
    }

    /// Writes it in `dir`, which is made if need be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path, admin: SocketAddr) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = dir.join("envoy.json");
        let mut bootstrap = json!({
            "admin": { "address": socket(admin) },
            "static_resources": { "listeners": self.listeners },
        });
        if self.is_watched {
            let clusters = self.push(dir)?;
            bootstrap["node"] = json!({ "id": "a", "cluster": "b" });
            let source = json!({ "path_config_source": { "path": utf8(&clusters)? } });
            bootstrap["dynamic_resources"] = json!({ "cds_config": source });
        } else {
            bootstrap["static_resources"]["clusters"] = json!(self.clusters);
        }
        fs::write(&path, bootstrap.to_string()).context("write envoy.json")?;
        Ok(path)
    }

    /// Writes the clusters and moves them to where Envoy watches, for it looks at nothing else.
    fn push(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let (next, path) = (dir.join("clusters.next"), dir.join("clusters.json"));
        let clusters = self.clusters.iter().map(|cluster| {
            let mut cluster = cluster.clone();
            cluster["@type"] = json!("type.googleapis.com/envoy.config.cluster.v3.Cluster");
            cluster
        });
        let resources = json!({ "resources": clusters.collect::<Vec<_>>() });
        fs::write(&next, resources.to_string()).context("write clusters")?;
        fs::rename(&next, &path).context("move clusters")?;
        Ok(path)
    }
}

/// Listeners and clusters whose connections carry as many requests as they like.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    config: Config,
}

impl Pools {
    /// Adds a hop: a listener in the clear on `front`, a cluster that connects to `dial`, under TLS
    /// if it has a server name; `http` says which HTTP it speaks.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn add(
        &mut self,
        name: &str,
        (front, dial): (SocketAddr, SocketAddr),
        server_name: Option<&str>,
        identity: Option<&Identity>,
        http: &Value,
    ) -> anyhow::Result<()> {
        self.config.listeners.push(listener(name, front));
        let options = json!({
            "@type": HTTP_OPTIONS,
            "explicit_http_config": http,
        });
        let mut cluster = static_cluster(name, dial, &options);
        if let Some(server_name) = server_name {
            let mut common = json!({ "tls_params": { "tls_maximum_protocol_version": "TLSv1_3" } });
            if let Some(identity) = identity {
                common["tls_certificates"] = certificates(identity)?;
            }
            if http.get("http2_protocol_options").is_some() {
                common["alpn_protocols"] = json!(["h2"]);
            }
            let context = json!({ "sni": server_name, "common_tls_context": common });
            cluster["transport_socket"] = typed("tls", TLS_CONTEXT, context);
        }
        self.config.clusters.push(cluster);
        Ok(())
    }

    /// Adds a hop that speaks HTTP/1.1 under TLS, as this `CommonTlsContext` says.
    pub fn add_with(
        &mut self,
        name: &str,
        (front, dial): (SocketAddr, SocketAddr),
        common: &Value,
    ) {
        self.config.listeners.push(listener(name, front));
        let http = json!({ "http_protocol_options": {} });
        let options = json!({ "@type": HTTP_OPTIONS, "explicit_http_config": http });
        let mut cluster = static_cluster(name, dial, &options);
        let context = json!({ "common_tls_context": common });
        cluster["transport_socket"] = typed("tls", TLS_CONTEXT, context);
        self.config.clusters.push(cluster);
    }

    /// The file that Envoy starts with.
    #[must_use]
    pub fn bootstrap(&self) -> Value {
        let Config { listeners, clusters, .. } = &self.config;
        json!({ "static_resources": { "listeners": listeners, "clusters": clusters } })
    }
}

impl Envoy {
    /// Starts Envoy at `place` and waits until it listens on `address`.
    ///
    /// # Errors
    /// When it is missing or does not start; the message carries its output.
    pub fn start(
        dir: &Path,
        config: &Config,
        place: &Place,
        admin: SocketAddr,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let path = config.write(dir, admin)?;
        let binary = binary().context("find Envoy (`cargo xtask setup` installs it)")?;
        // Hot restart shares memory between Envoys of the same number; we want to be alone.
        let args = ["-c", utf8(&path)?, "--disable-hot-restart", "--concurrency", "1"];
        let args = args.into_iter().chain(["--log-level", "warning"]);
        let mut daemon = Daemon::spawn_at(place, binary, args, &dir.join("envoy.log"))?;
        daemon.wait_listening(address)?;
        Ok(Self { daemon, admin })
    }

    /// Envoy's own TLS counters of a cluster, such as `handshake`, `versions.TLSv1.3`,
    /// `no_certificate`; the names are those after `cluster.NAME.ssl.`.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub fn tls_counters(&self, cluster: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let response = http::get(self.admin, "/stats")?;
        let prefix = format!("cluster.{cluster}.ssl.");
        let lines = response.body.lines().filter_map(|line| line.trim().strip_prefix(&prefix));
        let counters = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(counters.collect())
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// `Any` of a message type.
fn typed(name: &str, message: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{message}"));
    json!({ "name": name, "typed_config": config })
}

fn listener(name: &str, front: SocketAddr) -> Value {
    let router = typed("router", "filters.http.router.v3.Router", json!({}));
    let rules = json!([{ "match": { "prefix": "/" }, "route": { "cluster": name } }]);
    let manager = json!({
        "stat_prefix": name,
        "http_filters": [router],
        "route_config": {
            // Clusters that Envoy watches come after the routes.
            "validate_clusters": false,
            "virtual_hosts": [{ "name": name, "domains": ["*"], "routes": rules }],
        },
    });
    let kind = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filters = json!([typed("http", kind, manager)]);
    json!({ "name": name, "address": socket(front), "filter_chains": [{ "filters": filters }] })
}

fn cluster(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Value> {
    let options = json!({
        "@type": HTTP_OPTIONS,
        // A connection for every request, as the other proxies are set.
        "common_http_protocol_options": { "max_requests_per_connection": 1 },
        "explicit_http_config": { "http_protocol_options": {} },
    });
    let mut cluster = static_cluster(case.name, dial, &options);
    if case.version().is_some() {
        cluster["transport_socket"] = typed("tls", TLS_CONTEXT, client_tls(case, pki)?);
    }
    Ok(cluster)
}

fn static_cluster(name: &str, dial: SocketAddr, options: &Value) -> Value {
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": socket(dial) } }] }]);
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": endpoints },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
    })
}

fn certificates(identity: &Identity) -> anyhow::Result<Value> {
    Ok(json!([{
        "certificate_chain": { "filename": utf8(&identity.chain)? },
        "private_key": { "filename": utf8(&identity.key)? },
    }]))
}

fn client_tls(case: &Case, pki: &Pki) -> anyhow::Result<Value> {
    let trust = |root: &Path| -> anyhow::Result<Value> {
        Ok(json!({ "trusted_ca": { "filename": utf8(root)? } }))
    };
    let mut common = json!({ "tls_params": { "tls_maximum_protocol_version": "TLSv1_3" } });
    if case.retry {
        // Not among its own, and without a key share.
        common["tls_params"]["ecdh_curves"] = json!(["X25519", "P-256", "P-384"]);
    }
    match case.holds {
        Holds::Nothing => {}
        Holds::Trusted => common["tls_certificates"] = certificates(&pki.client)?,
        Holds::Foreign => common["tls_certificates"] = certificates(&pki.foreign_client)?,
    }
    match case.verify {
        Verify::Off => {}
        Verify::OtherName => anyhow::bail!("{}: Envoy is not told a name to check", case.name),
        Verify::On => common["validation_context"] = trust(&pki.root)?,
        Verify::ForeignRoot => common["validation_context"] = trust(&pki.foreign_root)?,
    }
    Ok(json!({
        "sni": case.server_name(),
        "max_session_keys": u32::from(case.reuse),
        "common_tls_context": common,
    }))
}

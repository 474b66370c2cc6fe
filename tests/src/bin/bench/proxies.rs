//! One nginx as proxy, and another as its upstream, under another name: only the proxy's
//! connections are watched, as where the upstream is on another machine.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Context as _;
use hopsight_tests::{
    loopback::Loopback,
    nginx::{Config, Nginx, utf8},
    pki::{Identity, Pki},
    place::Place,
    process::Daemon,
    process::find,
};

use crate::processor::family;

/// Process name of the upstream.
const UPSTREAM: &str = "hs-upstream";
/// Name the upstream's certificate is for.
const SERVER_NAME: &str = "bench.upstream.test";

/// How the proxy uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// They are kept.
    Kept,
    /// Each request has one of its own, with a full handshake.
    OnePerRequest,
}

/// Both, running.
#[derive(Debug)]
pub struct Proxies {
    proxy: Nginx,
    upstream: Daemon,
    /// Where the proxy listens, in the clear.
    pub front: SocketAddr,
    /// Where the upstream listens.
    pub back: SocketAddr,
}

impl Proxies {
    /// Starts both with one worker each. They speak mutual TLS 1.3 with P-256 certificates; the
    /// proxy verifies.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(dir: &Path, connections: Connections) -> anyhow::Result<Self> {
        let block = Loopback::reserve()?;
        let (front, back) = (block.socket(1, 8080), block.socket(2, 8443));
        let pki = Pki::create(&dir.join("pki"))?;
        let [upstream_dir, proxy_dir] = ["upstream", "proxy"].map(|name| dir.join(name));
        fs::create_dir_all(upstream_dir.join("files")).context("create the upstream's folder")?;
        fs::write(upstream_dir.join("files/large"), vec![b'x'; 1 << 20]).context("write a file")?;
        let program = dir.join(UPSTREAM);
        fs::copy(find("nginx").context("find nginx")?, &program).context("copy nginx")?;
        let http = upstream(back, &pki, &upstream_dir)?;
        let config = Config { http, connections: 4096, ..Config::default() };
        let path = Nginx::write(&upstream_dir, &config)?;
        let args = ["-p", utf8(&upstream_dir)?, "-e", "stderr", "-c", utf8(&path)?];
        let mut upstream = Daemon::spawn(&program, args, &upstream_dir.join("nginx.log"))?;
        upstream.wait_listening(back)?;
        let http = proxy(front, back, connections, &pki)?;
        let config = Config { http, connections: 4096, ..Config::default() };
        let proxy = Nginx::start(&proxy_dir, &config, &Place::here(), front)?;
        Ok(Self { proxy, upstream, front, back })
    }

    /// Processes of the proxy.
    pub fn proxy_pids(&self) -> Vec<u32> {
        family(self.proxy.daemon.pid())
    }

    /// Processes of the upstream.
    pub fn upstream_pids(&self) -> Vec<u32> {
        family(self.upstream.pid())
    }
}

fn upstream(listen: SocketAddr, pki: &Pki, dir: &Path) -> anyhow::Result<String> {
    let Identity { chain, key, .. } = &pki.server;
    Ok(format!(
        "server {{\nlisten {listen} ssl backlog=4096;\nssl_protocols TLSv1.3;\n\
         ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\n\
         ssl_verify_client on;\nssl_verify_depth 3;\nkeepalive_requests 1000000000;\n\
         keepalive_timeout 600s;\nroot {}/files;\nlocation = /small {{ return 200 ok; }}\n}}\n",
        utf8(chain)?,
        utf8(key)?,
        utf8(&pki.root)?,
        utf8(dir)?
    ))
}

fn proxy(
    listen: SocketAddr,
    back: SocketAddr,
    connections: Connections,
    pki: &Pki,
) -> anyhow::Result<String> {
    let (keepalive, header) = match connections {
        Connections::Kept => (
            "keepalive 2048;\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n",
            "proxy_set_header Connection \"\";\n",
        ),
        Connections::OnePerRequest => ("", ""),
    };
    let Identity { chain, key, .. } = &pki.client;
    Ok(format!(
        "upstream backend {{\nserver {back};\n{keepalive}}}\n\
         server {{\nlisten {listen} backlog=4096;\nkeepalive_requests 1000000000;\n\
         proxy_http_version 1.1;\n{header}proxy_ssl_protocols TLSv1.3;\n\
         proxy_ssl_session_reuse off;\nproxy_ssl_server_name on;\nproxy_ssl_name {SERVER_NAME};\n\
         proxy_ssl_verify on;\nproxy_ssl_verify_depth 3;\nproxy_ssl_trusted_certificate {};\n\
         proxy_ssl_certificate {};\nproxy_ssl_certificate_key {};\nproxy_max_temp_file_size 0;\n\
         location / {{ proxy_pass https://backend; }}\n}}\n",
        utf8(&pki.root)?,
        utf8(chain)?,
        utf8(key)?
    ))
}

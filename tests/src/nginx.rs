//! nginx, as proxy and as upstream.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    case::{Asks, Case, Holds, Proxy, Upstream, Verify, Version},
    pki::{Identity, Pki},
    place::Place,
    process::Daemon,
};

/// A running nginx master and its workers.
#[derive(Debug)]
pub struct Nginx {
    /// The master.
    pub daemon: Daemon,
}

/// The parts of a configuration that differ.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `server` and `upstream` blocks of the `http` context.
    pub http: String,
    /// The same of the `stream` context.
    pub stream: String,
    /// `worker_processes`; 0 means 1.
    pub workers: usize,
    /// `worker_connections`; 0 means 1024.
    pub connections: usize,
}

/// A `server` block of an upstream that asks for a client certificate under TLS 1.2, and accepts
/// connections without one.
///
/// # Errors
/// When a path is not UTF-8.
pub fn asking_server(listen: SocketAddr, own: &Identity, pki: &Pki) -> anyhow::Result<String> {
    Ok(format!(
        "server {{ listen {listen} ssl; ssl_protocols TLSv1.2; ssl_certificate {}; \
         ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client optional; \
         ssl_verify_depth 3; location / {{ return 200 \"x\"; }} }}\n",
        utf8(&own.chain)?,
        utf8(&own.key)?,
        utf8(&pki.root)?,
    ))
}

/// One JSON object per request, as [`crate::truth`] reads them.
const LOG_FORMAT: &str = r#"escape=json '{"remote":"$remote_addr","port":"$remote_port","protocol":"$ssl_protocol","cipher":"$ssl_cipher","group":"$ssl_curve","verify":"$ssl_client_verify","subject":"$ssl_client_s_dn","serial":"$ssl_client_serial","reused":"$ssl_session_reused","status":"$status"}'"#;

impl Nginx {
    /// Starts nginx at `place` with everything it writes below `dir`, and waits until it listens on
    /// `address`.
    ///
    /// # Errors
    /// When it does not start; the message carries its error log.
    pub fn start(
        dir: &Path,
        config: &Config,
        place: &Place,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = Self::write(dir, config)?;
        let args: [&str; 6] = ["-p", utf8(dir)?, "-e", "stderr", "-c", utf8(&path)?];
        let log = dir.join("nginx.log");
        let mut daemon = Daemon::spawn_at(place, "nginx", args, &log)?;
        if place.is_reachable {
            daemon.wait_listening(address)?;
        } else {
            // Its addresses are not ours to connect to; the pid file appears after `bind`.
            let within = std::time::Duration::from_mins(1);
            crate::wait::wait_until("nginx to write its pid file", within, || {
                daemon.ensure_running()?;
                Ok(dir.join("nginx.pid").exists().then_some(()))
            })?;
        }
        Ok(Self { daemon })
    }

    /// Writes the configuration of an instance in `dir`, which loads it at the next
    /// [`Nginx::reload`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(dir: &Path, config: &Config) -> anyhow::Result<PathBuf> {
        let path = dir.join("nginx.conf");
        fs::write(&path, render(dir, config)?).context("write nginx.conf")?;
        Ok(path)
    }

    /// Tells the master to load its configuration.
    ///
    /// # Errors
    /// When it is gone.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.daemon.signal(rustix::process::Signal::HUP)
    }
}

fn render(dir: &Path, config: &Config) -> anyhow::Result<String> {
    let mut text = String::new();
    if !config.stream.is_empty() {
        text += &load_stream_module()?;
    }
    let dir = utf8(dir)?;
    writeln!(
        text,
        "daemon off;\nuser root;\nworker_processes {};\npid {dir}/nginx.pid;\nerror_log stderr info;\n\
         events {{ worker_connections {}; }}",
        config.workers.max(1),
        if config.connections == 0 { 1024 } else { config.connections }
    )?;
    if !config.http.is_empty() {
        writeln!(
            text,
            "http {{\nlog_format truth {LOG_FORMAT};\naccess_log off;\n\
             client_body_temp_path {dir}/body;\nproxy_temp_path {dir}/proxy;\n\
             fastcgi_temp_path {dir}/fastcgi;\nuwsgi_temp_path {dir}/uwsgi;\n\
             scgi_temp_path {dir}/scgi;\n{}}}",
            config.http
        )?;
    }
    if !config.stream.is_empty() {
        writeln!(text, "stream {{\n{}}}", config.stream)?;
    }
    Ok(text)
}

/// `load_module` for the stream module where it is a shared object, nothing where it is built in.
fn load_stream_module() -> anyhow::Result<String> {
    let output = std::process::Command::new("nginx").arg("-V").output().context("run nginx -V")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !text.contains("--with-stream=dynamic") {
        return Ok(String::new());
    }
    let dir = text
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("--modules-path="))
        .unwrap_or("/usr/lib/nginx/modules");
    let module = PathBuf::from(dir).join("ngx_stream_module.so");
    anyhow::ensure!(
        module.exists(),
        "{} is missing: install the package libnginx-mod-stream (`cargo xtask setup` does)",
        module.display()
    );
    Ok(format!("load_module {};\n", module.display()))
}

/// The `server` block of a case's upstream. Requests are logged to `log`.
///
/// # Errors
/// When a path is not UTF-8.
pub fn upstream_server(
    case: &Case,
    listen: SocketAddr,
    pki: &Pki,
    log: &Path,
) -> anyhow::Result<String> {
    let mut text = String::from("server {\n");
    match case.upstream {
        Upstream::Http2 => writeln!(text, "listen {listen} http2;")?,
        Upstream::Http1 => writeln!(text, "listen {listen};")?,
        Upstream::Nginx(version, asks) => {
            // gRPC speaks nothing else.
            let http2 = if case.proxy == Proxy::Grpc { " http2" } else { "" };
            writeln!(text, "listen {listen} ssl{http2};")?;
            text += &server_tls(version, asks, &pki.server, pki)?;
        }
        Upstream::Expired(version) => {
            writeln!(text, "listen {listen} ssl;")?;
            text += &server_tls(version, Asks::Nothing, &pki.expired_server, pki)?;
        }
        Upstream::Haproxy(_) => anyhow::bail!("{} has a haproxy upstream", case.name),
    }
    if case.retry {
        // Clients send a key share of X25519 or P-256.
        text += "ssl_ecdh_curve secp384r1;\n";
    }
    writeln!(
        text,
        "access_log {} truth;\nlocation / {{ default_type text/plain; return 200 \"{}$http_x_echo\\n\"; }}\n}}",
        utf8(log)?,
        case.name
    )?;
    Ok(text)
}

/// The session cache is for curl, which refuses tickets up to TLS 1.2.
fn server_tls(
    version: Version,
    asks: Asks,
    identity: &Identity,
    pki: &Pki,
) -> anyhow::Result<String> {
    let protocol = protocol(version);
    let verify = match asks {
        Asks::Nothing => "off",
        Asks::Optional => "optional",
        Asks::Required => "on",
    };
    Ok(format!(
        "ssl_protocols {protocol};\nssl_certificate {};\nssl_certificate_key {};\n\
         ssl_client_certificate {};\nssl_verify_client {verify};\nssl_verify_depth 3;\n\
         ssl_session_cache builtin;\n",
        utf8(&identity.chain)?,
        utf8(&identity.key)?,
        utf8(&pki.root)?,
    ))
}

/// The `server` block of the proxy for a case: listens on `front` in the clear, connects to `dial`.
///
/// # Errors
/// When a path is not UTF-8.
pub fn proxy_server(
    case: &Case,
    front: SocketAddr,
    dial: SocketAddr,
    pki: &Pki,
) -> anyhow::Result<String> {
    let tls = case.version().is_some();
    let directives = match (tls, case.upstream) {
        (true, _) => client_tls(case, pki)?,
        (false, _) => String::new(),
    };
    Ok(match (case.proxy, case.upstream) {
        (Proxy::NginxStream, _) => {
            let on = if tls { "proxy_ssl on;\n" } else { "" };
            format!("server {{\nlisten {front};\nproxy_pass {dial};\n{on}{directives}}}\n")
        }
        (_, Upstream::Http2) => {
            format!("server {{\nlisten {front};\nlocation / {{ grpc_pass grpc://{dial}; }}\n}}\n")
        }
        _ => {
            let scheme = if tls { "https" } else { "http" };
            let name = case.name;
            let (block, target, persist) = if case.keepalive {
                (
                    format!("upstream {name} {{\nserver {dial};\nkeepalive 4;\n}}\n"),
                    name.to_owned(),
                    "proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n",
                )
            } else {
                (String::new(), dial.to_string(), "")
            };
            format!(
                "{block}server {{\nlisten {front};\n{directives}{persist}\
                 location / {{ proxy_pass {scheme}://{target}; }}\n}}\n"
            )
        }
    })
}

fn client_tls(case: &Case, pki: &Pki) -> anyhow::Result<String> {
    let mut text = format!(
        "proxy_ssl_protocols TLSv1.2 TLSv1.3;\nproxy_ssl_server_name on;\nproxy_ssl_name {};\n",
        case.server_name()
    );
    let identity = match case.holds {
        Holds::Nothing => None,
        Holds::Trusted => Some(&pki.client),
        Holds::Foreign => Some(&pki.foreign_client),
    };
    if let Some(identity) = identity {
        writeln!(
            text,
            "proxy_ssl_certificate {};\nproxy_ssl_certificate_key {};",
            utf8(&identity.chain)?,
            utf8(&identity.key)?
        )?;
    }
    let root = match case.verify {
        Verify::Off => None,
        Verify::On | Verify::OtherName => Some(&pki.root),
        Verify::ForeignRoot => Some(&pki.foreign_root),
    };
    if let Some(root) = root {
        writeln!(
            text,
            "proxy_ssl_verify on;\nproxy_ssl_verify_depth 3;\nproxy_ssl_trusted_certificate {};",
            utf8(root)?
        )?;
    }
    if !case.reuse {
        text += "proxy_ssl_session_reuse off;\n";
    }
    Ok(text)
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::V12 => "TLSv1.2",
        Version::V13 => "TLSv1.3",
    }
}

/// The path as configuration files need it.
///
/// # Errors
/// When it is not UTF-8.
pub fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

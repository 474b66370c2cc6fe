//! haproxy, as proxy and as an upstream that refuses clients in the handshake.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    case::{Case, Holds, Proxy, Upstream, Verify, Version},
    nginx::utf8,
    pki::Pki,
    place::Place,
    process::Daemon,
};

/// A running haproxy.
#[derive(Debug)]
pub struct Haproxy {
    /// The process; haproxy runs in the foreground without workers.
    pub daemon: Daemon,
}

/// Log line of an upstream's request, as [`crate::truth`] reads it.
const LOG_FORMAT: &str = r#"'{"case":"%f","remote":"%ci","port":"%cp","protocol":"%sslv","cipher":"%sslc","verify":"%[ssl_c_verify]","subject":"%[ssl_c_s_dn]","serial":"%[ssl_c_serial,hex]","reused":"%[ssl_fc_is_resumed]","status":"%ST"}'"#;
/// Log line of a connection that ended before a request, such as in its handshake.
const ERROR_FORMAT: &str =
    r#"'{"case":"%f","remote":"%ci","port":"%cp","error":"%[ssl_fc_err_str]"}'"#;

/// One thread, because each keeps the sessions it resumes to itself.
const DEFAULTS: &str = "global\nlog stdout format raw daemon\nnbthread 1\n\
    defaults\nmode http\nlog global\ntimeout connect 5s\ntimeout client 10s\ntimeout server 10s\nretries 0\n";

impl Haproxy {
    /// Starts haproxy at `place` with these sections and waits until it listens on `address`.
    ///
    /// # Errors
    /// When it does not start; the message carries its output.
    pub fn start(
        dir: &Path,
        sections: &str,
        place: &Place,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let path = write(dir, sections)?;
        let args = ["-db", "-f", utf8(&path)?];
        let mut daemon = Daemon::spawn_at(place, "haproxy", args, &dir.join("haproxy.log"))?;
        daemon.wait_listening(address)?;
        Ok(Self { daemon })
    }
}

/// Writes a configuration with these sections in `dir`, which is made if need be.
///
/// # Errors
/// When it cannot be written.
pub fn write(dir: &Path, sections: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join("haproxy.cfg");
    fs::write(&path, format!("{DEFAULTS}{sections}")).context("write haproxy.cfg")?;
    Ok(path)
}

/// The `frontend` of a case's upstream.
///
/// # Errors
/// When a path is not UTF-8.
pub fn upstream_frontend(case: &Case, listen: SocketAddr, pki: &Pki) -> anyhow::Result<String> {
    let Upstream::Haproxy(version) = case.upstream else {
        anyhow::bail!("{} has no haproxy upstream", case.name)
    };
    let version = match version {
        Version::V12 => "TLSv1.2",
        Version::V13 => "TLSv1.3",
    };
    let alpn = if case.proxy == Proxy::Grpc { "alpn h2" } else { "" };
    Ok(format!(
        "frontend {}\nbind {listen} ssl crt {} ca-file {} verify required \
         ssl-min-ver {version} ssl-max-ver {version} {alpn}\n\
         log-format {LOG_FORMAT}\nerror-log-format {ERROR_FORMAT}\n\
         http-request return status 200 content-type text/plain string {}\n",
        case.name,
        utf8(&pki.server.bundle)?,
        utf8(&pki.root)?,
        case.name,
    ))
}

/// The `listen` section of the proxy for a case: clear on `front`, connects to `dial`.
///
/// # Errors
/// When a path is not UTF-8.
pub fn proxy_listen(
    case: &Case,
    front: SocketAddr,
    dial: SocketAddr,
    pki: &Pki,
) -> anyhow::Result<String> {
    let mut text =
        format!("listen {}\nbind {front}\nhttp-reuse never\nserver upstream {dial}", case.name);
    if case.version().is_some() {
        write!(text, " ssl sni str({})", case.server_name())?;
        match case.holds {
            Holds::Nothing => {}
            Holds::Trusted => write!(text, " crt {}", utf8(&pki.client.bundle)?)?,
            Holds::Foreign => write!(text, " crt {}", utf8(&pki.foreign_client.bundle)?)?,
        }
        match case.verify {
            Verify::Off => text += " verify none",
            // Where no other name is given, the certificate must have that of the SNI.
            Verify::On | Verify::OtherName => {
                write!(text, " verify required ca-file {}", utf8(&pki.root)?)?;
            }
            Verify::ForeignRoot => {
                write!(text, " verify required ca-file {}", utf8(&pki.foreign_root)?)?;
            }
        }
        if !case.reuse {
            text += " no-ssl-reuse";
        }
    }
    text += "\n";
    Ok(text)
}

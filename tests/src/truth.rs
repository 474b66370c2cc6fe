//! What the upstreams saw of the connections, by their own logs: the truth for the verdicts.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::Context as _;
use serde::Deserialize;

/// One request, or for haproxy one refused connection, as its upstream logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The proxy's end of the connection.
    pub remote: SocketAddr,
    /// Negotiated version: `1.2`, `1.3`; `None` in the clear.
    pub tls_version: Option<String>,
    /// Subject of the certificate that the client presented.
    pub client_subject: Option<String>,
    /// Serial number of that certificate, lower-case hexadecimal.
    pub client_serial: Option<String>,
    /// Group of the key exchange, as the IANA registry calls it.
    pub group: Option<String>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Why the connection ended in its handshake.
    pub error: Option<String>,
}

/// A log line; [`crate::nginx`] and [`crate::haproxy`] write these keys.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Line {
    case: String,
    remote: IpAddr,
    port: String,
    protocol: String,
    subject: String,
    serial: String,
    reused: String,
    group: String,
    error: Option<String>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            case: String::new(),
            remote: IpAddr::from([0, 0, 0, 0]),
            port: String::new(),
            protocol: String::new(),
            subject: String::new(),
            serial: String::new(),
            reused: String::new(),
            group: String::new(),
            error: None,
        }
    }
}

/// Reads an nginx access log; one that does not exist yet is empty.
///
/// # Errors
/// When a line is not what our log format writes.
pub fn nginx(path: &Path) -> anyhow::Result<Vec<Seen>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| parse(line)?.seen()).collect()
}

/// Reads the lines of one frontend in haproxy's output.
///
/// # Errors
/// When a line is not what our log format writes.
pub fn haproxy(text: &str, case: &str) -> anyhow::Result<Vec<Seen>> {
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(parse)
        // An error of "-" is a connection that was closed unused: the wait for the port.
        .filter(|line| {
            line.as_ref()
                .map_or(true, |line| line.case == case && line.error.as_deref() != Some("-"))
        })
        .map(|line| line?.seen())
        .collect()
}

fn parse(line: &str) -> anyhow::Result<Line> {
    serde_json::from_str(line).with_context(|| format!("read log line {line}"))
}

impl Line {
    fn seen(self) -> anyhow::Result<Seen> {
        let port = self.port.parse().with_context(|| format!("read port {:?}", self.port))?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty() && text != "-");
        Ok(Seen {
            remote: SocketAddr::new(self.remote, port),
            tls_version: given(self.protocol).map(|name| name.replace("TLSv", "")),
            client_subject: given(self.subject),
            client_serial: given(self.serial).map(|serial| serial.to_ascii_lowercase()),
            group: given(self.group).map(registered),
            resumed: matches!(self.reused.as_str(), "r" | "1"),
            error: self.error,
        })
    }
}

/// The registry's name of a group that OpenSSL calls by its object identifier's.
fn registered(openssl: String) -> String {
    match openssl.as_str() {
        "prime256v1" => "secp256r1".to_owned(),
        "X25519" | "X448" => openssl.to_ascii_lowercase(),
        _ => openssl,
    }
}

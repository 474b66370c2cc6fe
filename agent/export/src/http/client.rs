//! One HTTP request over a connection of its own.
//!
//! HTTP/1.0 needs a few lines over `TcpStream`; a client crate would bring more code than its
//! two users need: the command line asks an agent, the OTLP exporter tells a collector.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::pem;

/// Largest answer that is read.
const MAX_ANSWER: u64 = 256 << 20;

/// What TLS has to prove.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust, and what to present.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    pub server_name: ServerName<'static>,
}

impl Tls {
    /// Trusts these authorities, for a server of this name, and presents a certificate where there
    /// is one: the files of certificate and key.
    ///
    /// # Errors
    /// A file cannot be used, or the name is none.
    pub fn new(
        authorities: &Path,
        presented: Option<(&Path, &Path)>,
        server_name: &str,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("use TLS 1.2 and 1.3")?
            .with_root_certificates(pem::authorities(authorities)?);
        let config = match presented {
            Some((cert, key)) => builder
                .with_client_auth_cert(pem::certificates(cert)?, pem::private_key(key)?)
                .with_context(|| {
                    format!("use {} with the key {}", cert.display(), key.display())
                })?,
            None => builder.with_no_client_auth(),
        };
        let server_name =
            ServerName::try_from(server_name.to_owned()).context("use the server's name")?;
        Ok(Self { config: Arc::new(config), server_name })
    }
}

/// The host of `HOST:PORT`, an IPv6 address without its brackets.
#[must_use]
pub fn without_port(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// A server that speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// `HOST:PORT`.
    pub host: &'a str,
    /// If absent, HTTP in the clear.
    pub tls: Option<&'a Tls>,
    /// Time to connect, and time without an answer or more of it.
    pub timeout: Duration,
}

impl Server<'_> {
    /// Gets `path`: status and body.
    ///
    /// # Errors
    /// Nobody listens there, or what listens does not speak HTTP.
    pub fn get(self, path: &str) -> anyhow::Result<(u16, String)> {
        self.exchange(&format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.host), &[])
    }

    /// Posts `body` to `path`, with these header fields: status and body of the answer.
    ///
    /// # Errors
    /// As [`Server::get`].
    #[cfg(feature = "otlp")]
    pub fn post(self, path: &str, fields: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\n{fields}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.exchange(&head, body)
    }

    fn exchange(self, head: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
        let mut last_error = None;
        for address in self.host.to_socket_addrs().context("resolve the address")? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => return self.exchange_over(stream, head, body),
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) => Err(error).context("connect"),
            None => bail!("the name has no address"),
        }
    }

    fn exchange_over(
        self,
        stream: TcpStream,
        head: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, String)> {
        stream.set_read_timeout(Some(self.timeout)).context("set the timeout")?;
        stream.set_write_timeout(Some(self.timeout)).context("set the timeout")?;
        let Some(Tls { config, server_name }) = self.tls else {
            return request(stream, head, body);
        };
        let session =
            ClientConnection::new(config.clone(), server_name.clone()).context("start TLS")?;
        request(StreamOwned::new(session, stream), head, body)
    }
}

fn request(
    mut stream: impl Read + Write,
    head: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.flush())
        .context("send the request")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).context("read the answer")?;
    parse_answer(&answer).context("read the answer: it is not that of an HTTP server")
}

/// Status and body of an HTTP/1.0 answer.
fn parse_answer(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (name, answer, want) in [
            ("ok", "HTTP/1.0 200 OK\r\na: b\r\n\r\n{}", Some((200, "{}".to_owned()))),
            ("error", "HTTP/1.1 503 Busy\r\n\r\n", Some((503, String::new()))),
            ("not http", "SSH-2.0-OpenSSH\r\n", None),
            ("cut", "HTTP/1.0 200 OK\r\na: b\r\n", None),
        ] {
            assert_eq!(parse_answer(answer.as_bytes()), want, "{name}");
        }
    }
}

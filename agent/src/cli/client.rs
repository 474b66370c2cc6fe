//! Asks a running agent over HTTP.
//!
//! HTTP/1.0 with one request per connection needs a few lines over `TcpStream`; a client crate
//! would bring more code than the rest of the command line.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// Time to connect, and time without an answer or more of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const MAX_ANSWER: u64 = 256 << 20;

/// The host and port in `HOST:PORT`, `http://HOST:PORT` or `http://HOST:PORT/`.
///
/// # Errors
/// The address has another scheme, a path, or no port.
pub fn parse_address(address: &str) -> anyhow::Result<&str> {
    let host = match address.split_once("://") {
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some((scheme, _)) => bail!("{scheme}:// is not supported; use http://HOST:PORT"),
        None => address,
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if host.contains('/') || !has_port {
        bail!("{address} is not an address; use HOST:PORT or http://HOST:PORT");
    }
    Ok(host)
}

/// Gets `path` from the agent at `address`.
///
/// # Errors
/// Nobody listens there, or what listens does not answer with status 200.
pub fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let host = parse_address(address)?;
    let (status, body) = exchange(host, path).with_context(|| {
        format!("ask the agent at http://{host} (is `hopsight run` running there? see --address)")
    })?;
    if status != 200 {
        bail!("http://{host}{path} answered {status}: {}", body.trim());
    }
    Ok(body)
}

fn exchange(host: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut last_error = None;
    for address in host.to_socket_addrs().context("resolve the address")? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return exchange_over(stream, host, path),
            Err(error) => last_error = Some(error),
        }
    }
    match last_error {
        Some(error) => Err(error).context("connect"),
        None => bail!("the name has no address"),
    }
}

fn exchange_over(mut stream: TcpStream, host: &str, path: &str) -> anyhow::Result<(u16, String)> {
    stream.set_read_timeout(Some(TIMEOUT)).context("set the timeout")?;
    stream.set_write_timeout(Some(TIMEOUT)).context("set the timeout")?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
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
    fn addresses() {
        for (input, want) in [
            ("127.0.0.1:9464", Some("127.0.0.1:9464")),
            ("http://[::1]:9464/", Some("[::1]:9464")),
            ("http://node-1:80", Some("node-1:80")),
            ("https://node-1:443", None),
            ("node-1", None),
            ("http://node-1:80/hops", None),
            ("node-1:99999", None),
        ] {
            assert_eq!(parse_address(input).ok(), want, "{input}");
        }
    }

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

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = format!("{:#}", get(&address, "/hops").expect_err("nobody"));
        assert!(error.contains("hopsight run") && error.contains("refused"), "{error}");
    }
}

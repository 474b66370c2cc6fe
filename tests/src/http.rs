//! The smallest HTTP/1.1 client that the tests need: no TLS, no proxy variables, one request.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context as _;

use crate::schema::Document;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// Sends one GET request and reads until the server closes.
///
/// # Errors
/// When there is no connection, or no HTTP response on it.
///
/// # Panics
/// When an agent answers otherwise than its schema says.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .context("send request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("read response of {address}"))?;
    let response = parse(&bytes).with_context(|| format!("{address} answered no HTTP response"))?;
    validate(path, &response);
    Ok(response)
}

/// Holds what an agent answers against its schema. Errors are text, and an agent that is killed leaves
/// half an answer.
fn validate(path: &str, response: &Response) {
    let Some(document) = Document::of_path(path) else { return };
    if let Ok(answer) = serde_json::from_str(&response.body) {
        let problems = document.problems(&answer);
        assert!(problems.is_empty(), "{path}: {problems:#?}");
    }
}

/// Sends one POST request that carries `canary` in its path, its headers and its body, and asks an
/// upstream of [`crate::nginx`] to answer with it.
///
/// # Errors
/// When there is no connection, or no HTTP response on it.
pub fn post_canary(address: SocketAddr, canary: &str) -> anyhow::Result<Response> {
    let mut stream = connect(address)?;
    write!(
        stream,
        "POST /{canary}?token={canary} HTTP/1.1\r\nHost: {address}\r\nX-Echo: {canary}\r\n\
         Authorization: Bearer {canary}\r\nCookie: session={canary}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{canary}",
        canary.len()
    )
    .context("send request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("read response of {address}"))?;
    parse(&bytes).with_context(|| format!("{address} answered no HTTP response"))
}

/// Connects with timeouts on everything that follows.
///
/// # Errors
/// When there is no connection.
pub fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT)).context("set read timeout")?;
    stream.set_write_timeout(Some(TIMEOUT)).context("set write timeout")?;
    Ok(stream)
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = &bytes[end + 4..];
    let body = if is_chunked { &dechunk(body)? } else { body };
    Some(Response { status, body: String::from_utf8_lossy(body).into_owned() })
}

/// Decodes the chunked transfer coding (RFC 9112 section 7.1), without trailers.
fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = end + 2..end + 2 + size;
        body.extend_from_slice(rest.get(chunk.clone())?);
        rest = rest.get(chunk.end + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        for (name, answer, want) in [
            ("to the end", "HTTP/1.1 200 OK\r\n\r\nabc", Some("abc")),
            (
                "chunked",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n",
                Some("abc"),
            ),
            (
                "cut within a chunk",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
                None,
            ),
            ("no HTTP", "SSH-2.0\r\n\r\n", None),
        ] {
            let body = parse(answer.as_bytes()).map(|response| response.body);
            assert_eq!(body.as_deref(), want, "{name}");
        }
    }
}

//! The smallest HTTP/1.1 client that the tests need: no TLS, no proxy variables, one request.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context as _;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body as sent (a chunked one is not decoded).
    pub body: String,
}

/// Sends one GET request and reads until the server closes.
///
/// # Errors
/// When there is no connection, or no HTTP response on it.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .context("send request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("read response of {address}"))?;
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("{address} answered no HTTP response"))
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
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("{address} answered no HTTP response"))
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

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

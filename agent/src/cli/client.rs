//! Asks a running agent over HTTP.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::http_client::Server;

/// Time to connect, and time without an answer or more of it.
const TIMEOUT: Duration = Duration::from_secs(10);

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
    let server = Server { host, timeout: TIMEOUT };
    let (status, body) = server.get(path).with_context(|| {
        format!("ask the agent at http://{host} (is `hopsight run` running there? see --address)")
    })?;
    if status != 200 {
        bail!("http://{host}{path} answered {status}: {}", body.trim());
    }
    Ok(body)
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
    fn nobody_there_is_said_with_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = format!("{:#}", get(&address, "/hops").expect_err("nobody"));
        assert!(error.contains("hopsight run") && error.contains("refused"), "{error}");
    }
}

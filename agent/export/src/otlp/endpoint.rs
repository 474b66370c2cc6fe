//! Where the collector is, and one request to it.

use std::time::Duration;

use anyhow::bail;
use prost::Message;

use crate::http::client::Server;

/// Time to connect, and time without an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The base URL of a collector's OTLP/HTTP receiver, such as `http://127.0.0.1:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    prefix: String,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not `http://HOST:PORT`, with or without a path. A collector elsewhere is reached
    /// through one on the node, which is where TLS and credentials belong.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url} is not http://HOST:PORT; for TLS send to a collector on this node");
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            bail!("{url} has no port; OTLP over HTTP is usually at 4318");
        }
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), prefix })
    }

    /// Sends one request of a signal, `logs` or `metrics`.
    pub(super) fn send(&self, signal: &str, request: &impl Message) -> Result<(), Unsent> {
        let server = Server { host: &self.host, tls: None, timeout: TIMEOUT };
        let path = format!("{}/v1/{signal}", self.prefix);
        match server.post(&path, "application/x-protobuf", &request.encode_to_vec()) {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, _)) => Err(Unsent {
                // OTLP 1.x, "Retryable response codes".
                is_worth_retrying: matches!(status, 429 | 502..=504),
                why: anyhow::anyhow!("http://{}{path} answered {status}", self.host),
            }),
            Err(why) => Err(Unsent { is_worth_retrying: true, why }),
        }
    }
}

/// A request that did not arrive.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Whether the same request may arrive later.
    pub is_worth_retrying: bool,
    /// What happened.
    pub why: anyhow::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, want) in [
            ("http://127.0.0.1:4318", Some(("127.0.0.1:4318", ""))),
            ("http://[::1]:4318/", Some(("[::1]:4318", ""))),
            ("http://collector:80/otlp/", Some(("collector:80", "/otlp"))),
            ("https://collector:4318", None),
            ("collector:4318", None),
            ("http://collector", None),
        ] {
            let got = Endpoint::parse(url).ok();
            let got = got.as_ref().map(|endpoint| (&*endpoint.host, &*endpoint.prefix));
            assert_eq!(got, want, "{url}");
        }
    }
}

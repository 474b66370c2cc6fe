//! Asks a running agent over HTTP or HTTPS.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};

use hopsight_export::http::client::{Server, Tls, without_port};

/// Time to connect, and time without an answer or more of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the agent is, and whom to trust there; options are named as curl's are.
#[derive(Clone, Debug, clap::Args)]
pub struct Agent {
    /// The agent to ask: HOST:PORT, http://HOST:PORT or https://HOST:PORT.
    /// Or a fleet.
    #[arg(
        long,
        visible_alias = "fleet",
        value_name = "URL",
        env = "HOPSIGHT_ADDRESS",
        default_value = "127.0.0.1:9464"
    )]
    pub address: String,

    #[command(flatten)]
    pub trust: Trust,
}

/// Whom to trust where an agent is asked over HTTPS, and what to present.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Trust {
    /// Authorities of the agent's certificate (PEM), for https.
    #[arg(long, value_name = "FILE", env = "HOPSIGHT_CACERT")]
    cacert: Option<PathBuf>,

    /// Name in the agent's certificate, if it is not the address's host.
    #[arg(long, value_name = "NAME", env = "HOPSIGHT_SERVER_NAME")]
    server_name: Option<String>,

    /// Certificate to present to the agent, followed by its intermediates (PEM), for https.
    #[arg(long, value_name = "FILE", env = "HOPSIGHT_CERT", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", env = "HOPSIGHT_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

/// How to reach an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Scheme, and host with port, in `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT/`.
///
/// # Errors
/// The address has another scheme, a path, or no port.
fn parse_address(address: &str) -> anyhow::Result<(Scheme, &str)> {
    let (scheme, rest) = match address.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some((scheme, _)) => bail!("{scheme}:// is not supported; use http or https"),
        None => (Scheme::Http, address),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if host.contains('/') || !has_port {
        bail!("{address} is not an address; use HOST:PORT, http://HOST:PORT or https://HOST:PORT");
    }
    Ok((scheme, host))
}

impl Agent {
    /// Gets `path`.
    ///
    /// # Errors
    /// Nobody listens there, or what listens does not answer with status 200, or is not who the
    /// authorities vouch for.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let (scheme, host) = parse_address(&self.address)?;
        let tls = match scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.trust.tls(host)?),
        };
        let server = Server { host, tls: tls.as_ref(), timeout: TIMEOUT };
        let (status, body) = server.get(path).with_context(|| {
            format!("ask the agent at {host} (is `hopsight run` running there? see --address)")
        })?;
        if status != 200 {
            bail!("{host}{path} answered {status}: {}", body.trim());
        }
        Ok(body)
    }
}

impl Trust {
    /// What TLS has to prove of an agent at `host`, `HOST:PORT`.
    ///
    /// # Errors
    /// No authorities are named, or a file cannot be used.
    pub fn tls(&self, host: &str) -> anyhow::Result<Tls> {
        let Some(cacert) = &self.cacert else {
            bail!("https needs the authorities of the agent's certificate: --cacert FILE");
        };
        let presented = self.cert.as_deref().zip(self.key.as_deref());
        let name = self.server_name.as_deref().unwrap_or_else(|| without_port(host));
        Tls::new(cacert, presented, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (input, want) in [
            ("127.0.0.1:9464", Some((Scheme::Http, "127.0.0.1:9464"))),
            ("http://[::1]:9464/", Some((Scheme::Http, "[::1]:9464"))),
            ("http://node-1:80", Some((Scheme::Http, "node-1:80"))),
            ("https://node-1:443", Some((Scheme::Https, "node-1:443"))),
            ("ftp://node-1:21", None),
            ("node-1", None),
            ("http://node-1:80/hops", None),
            ("node-1:99999", None),
        ] {
            assert_eq!(parse_address(input).ok(), want, "{input}");
        }
    }

    fn agent(address: &str) -> Agent {
        Agent { address: address.to_owned(), trust: Trust::default() }
    }

    #[test]
    fn https_without_authorities_says_what_is_missing() {
        let error = agent("https://node-1:9464").get("/hops").expect_err("no authorities");
        assert!(error.to_string().contains("--cacert"), "{error}");
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = format!("{:#}", agent(&address).get("/hops").expect_err("nobody"));
        assert!(error.contains("hopsight run") && error.contains("refused"), "{error}");
    }
}

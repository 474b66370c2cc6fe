//! Where the collector is, and one request to it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use hopsight_core::vocabulary;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

use super::{
    request::{Export, Unsent},
    resource::pairs,
};
use crate::http::client::{Server, Tls, without_port};

/// Time to connect, and time without an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

vocabulary! {
    /// What carries OTLP, in the words of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    Protocol {
        /// A POST for each request, usually at port 4318.
        HttpProtobuf => "http/protobuf",
        /// gRPC, usually at port 4317.
        Grpc => "grpc",
    }
}

/// Where an OTLP receiver is, such as `http://127.0.0.1:4318`, and how to be let in.
#[derive(Clone)]
pub struct Endpoint {
    protocol: Protocol,
    scheme: &'static str,
    host: String,
    prefix: String,
    tls: Option<Tls>,
    /// Header fields of every request: they may be secrets.
    headers: Vec<(String, String)>,
    timeout: Duration,
}

/// Files for `https`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointFiles {
    /// The authorities that vouch for the collector.
    pub authorities: Option<PathBuf>,
    /// What is presented to it: certificate and key.
    pub presented: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.scheme, self.host, self.prefix)
    }
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not `http://HOST:PORT` or `https://HOST:PORT`, with or without a path, or a file for
    /// `https` cannot be used.
    pub fn parse(url: &str, files: &EndpointFiles) -> anyhow::Result<Self> {
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("http://") {
            ("http://", rest)
        } else if let Some(rest) = url.strip_prefix("https://") {
            ("https://", rest)
        } else {
            bail!("{url} is neither http://HOST:PORT nor https://HOST:PORT");
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            bail!("{url} has no port; OTLP is usually at 4318 over HTTP, at 4317 over gRPC");
        }
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        let tls = (scheme == "https://").then(|| {
            let authorities = files.authorities.as_deref();
            let authorities = authorities.context("https needs the collector's authorities: ca")?;
            let presented = files.presented.as_ref();
            let presented = presented.map(|(cert, key)| (Path::new(cert), Path::new(key)));
            Tls::new(authorities, presented, without_port(host))
        });
        let (host, tls) = (host.to_owned(), tls.transpose()?);
        let protocol = Protocol::HttpProtobuf;
        Ok(Self { protocol, scheme, host, prefix, tls, headers: Vec::new(), timeout: TIMEOUT })
    }

    /// With another protocol than HTTP.
    ///
    /// # Errors
    /// What was given so far has no place in it.
    pub fn with_protocol(mut self, protocol: Protocol) -> anyhow::Result<Self> {
        if protocol == Protocol::Grpc {
            anyhow::ensure!(self.prefix.is_empty(), "gRPC has no path: leave {} out", self.prefix);
            metadata(&self.headers)?;
        }
        self.protocol = protocol;
        Ok(self)
    }

    /// With header fields of every request, as `OTEL_EXPORTER_OTLP_HEADERS` has them.
    ///
    /// # Errors
    /// It is no list of `name=value`, or one is no header field. The message does not show values.
    pub fn with_headers(mut self, list: &str) -> anyhow::Result<Self> {
        let Ok(pairs) = pairs(list) else {
            bail!("is not a list of name=value with commas between, percent-encoded");
        };
        for (name, value) in pairs {
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            if !is_name || !value.chars().all(|c| c == '\t' || !c.is_control()) {
                bail!("has a name or a value that no header field can have");
            }
            self.headers.push((name, value));
        }
        let protocol = self.protocol;
        self.with_protocol(protocol)
    }

    /// With another time to connect, and without an answer.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) const fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends one request over HTTP.
    pub(super) fn post<Q: Export>(&self, request: &Q) -> Result<(), Unsent> {
        let server = Server { host: &self.host, tls: self.tls.as_ref(), timeout: self.timeout };
        let path = format!("{}{}", self.prefix, Q::PATH);
        let mut fields = "Content-Type: application/x-protobuf\r\n".to_owned();
        for (name, value) in &self.headers {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        match server.post(&path, &fields, &request.encode_to_vec()) {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, _)) => Err(Unsent {
                // OTLP 1.x, "Retryable response codes".
                is_worth_retrying: matches!(status, 429 | 502..=504),
                why: anyhow::anyhow!("{}{}{path} answered {status}", self.scheme, self.host),
            }),
            Err(why) => Err(Unsent { is_worth_retrying: true, why }),
        }
    }
}

/// Header fields as gRPC has them.
pub(super) type Metadata = Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>;

/// Header fields as metadata. The error does not show values.
pub(super) fn metadata(headers: &[(String, String)]) -> anyhow::Result<Metadata> {
    let read = |(name, value): &(String, String)| {
        let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
        let key = key.with_context(|| format!("{name} cannot be a name in gRPC"))?;
        let value = value.is_ascii().then(|| MetadataValue::try_from(value.as_str()).ok());
        let value = value.flatten().with_context(|| format!("the value of {name} is not ASCII"))?;
        Ok((key, value))
    };
    headers.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, want) in [
            ("http://127.0.0.1:4318", Ok(("127.0.0.1:4318", ""))),
            ("http://[::1]:4318/", Ok(("[::1]:4318", ""))),
            ("http://collector:80/otlp/", Ok(("collector:80", "/otlp"))),
            ("https://collector:4318", Err("authorities")),
            ("collector:4318", Err("neither http://")),
            ("http://collector", Err("has no port")),
        ] {
            let got = Endpoint::parse(url, &EndpointFiles::default());
            match (&got, want) {
                (Ok(got), Ok(want)) => assert_eq!((&*got.host, &*got.prefix), want, "{url}"),
                (Err(error), Err(words)) => {
                    assert!(format!("{error:#}").contains(words), "{url}: {error:#}");
                }
                _ => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn header_fields_are_metadata() {
        for (name, value, words) in [
            ("Authorization", "Bearer t", None),
            ("x-bin", "a", Some("cannot be a name")),
            ("x", "ä", Some("not ASCII")),
        ] {
            let read = metadata(&[(name.to_owned(), value.to_owned())]);
            match (read, words) {
                (Ok(read), None) => assert_eq!(read[0].0, name.to_ascii_lowercase().as_str()),
                (Err(error), Some(words)) => {
                    assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
                }
                (read, _) => panic!("{name}: {read:?}"),
            }
        }
    }

    #[test]
    fn grpc_has_no_path_and_other_headers() {
        let grpc = |url: &str, headers: &str| {
            let endpoint =
                Endpoint::parse(url, &EndpointFiles::default())?.with_headers(headers)?;
            endpoint.with_protocol(Protocol::Grpc)
        };
        for (url, headers, words) in [
            ("http://a:4317", "", None),
            ("http://a:4317/", "x=1", None),
            ("http://a:4317/otlp", "", Some("leave /otlp out")),
            ("http://a:4317", "x-bin=1", Some("x-bin cannot be a name")),
        ] {
            let problem = grpc(url, headers).err().map(|error| format!("{error:#}"));
            let is_wanted = |problem: &String| words.is_some_and(|words| problem.contains(words));
            assert_eq!(problem.is_some(), words.is_some(), "{url}: {problem:?}");
            assert!(problem.iter().all(is_wanted), "{url}: {problem:?}");
        }
        let headers_later = Endpoint::parse("http://a:1", &EndpointFiles::default()).unwrap();
        let headers_later = headers_later.with_protocol(Protocol::Grpc).unwrap();
        assert!(headers_later.with_headers("x-bin=1").is_err());
    }

    #[test]
    fn header_fields() {
        let endpoint = || Endpoint::parse("http://a:1", &EndpointFiles::default()).unwrap();
        for (list, want) in [
            ("", Ok(vec![])),
            (
                "authorization=Bearer%20t, x-tenant=a",
                Ok(vec![("authorization", "Bearer t"), ("x-tenant", "a")]),
            ),
            ("secret", Err("list of name=value")),
            ("a=b%0d%0ac: d", Err("no header field")),
            ("a b=c", Err("no header field")),
        ] {
            match (endpoint().with_headers(list), want) {
                (Ok(got), Ok(want)) => {
                    let read = got.headers.iter().map(|(name, value)| (&**name, &**value));
                    assert_eq!(read.collect::<Vec<_>>(), want, "{list}");
                    assert_eq!(format!("{got:?}"), "http://a:1", "no secret is shown");
                }
                (Err(error), Err(words)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(words) && !error.contains("secret"), "{list}: {error}");
                }
                (got, _) => panic!("{list}: {got:?}"),
            }
        }
    }
}

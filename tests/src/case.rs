//! The hops, as one table: what is configured on both sides, and what must be observed.

mod table;

use std::{collections::BTreeSet, fmt};

use hopsight_core::model::{ClientAuth, Outcome, Security, ServerVerified};

pub use self::table::{ALL, KEEPALIVE};

/// The program that opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx `http`.
    Nginx,
    /// nginx `stream`.
    NginxStream,
    /// haproxy.
    Haproxy,
    /// Envoy, whose BoringSSL is linked statically.
    Envoy,
    /// Caddy, a Go program.
    Caddy,
    /// curl, once per request.
    Curl,
    /// A client with rustls linked in, once per request.
    Rustls,
    /// Python's `ssl` module, once per request.
    Python,
    /// Node, whose OpenSSL is linked into the program, once per request.
    Node,
    /// gRPC for Python, which brings BoringSSL in a module of its own, once per request.
    Grpc,
    /// pyOpenSSL, whose OpenSSL is inside the module of `cryptography`, once per request.
    PyOpenSsl,
}

impl Proxy {
    /// Name of the process that connects.
    #[must_use]
    pub const fn process_name(self) -> &'static str {
        match self {
            Self::Nginx | Self::NginxStream => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
            Self::Curl => "curl",
            Self::Rustls => crate::client::RUSTLS,
            Self::Python | Self::Grpc | Self::PyOpenSsl => "python3",
            Self::Node => "node",
        }
    }
}

/// The upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// nginx, HTTP/1.1 in the clear.
    Http1,
    /// nginx, HTTP/2 with prior knowledge in the clear, as gRPC uses it.
    Http2,
    /// nginx, TLS.
    Nginx(Version, Asks),
    /// nginx, TLS with an expired certificate.
    Expired(Version),
    /// haproxy `verify required`: refuses in the handshake what nginx would answer with HTTP 400.
    Haproxy(Version),
}

/// The only TLS version that an upstream accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// nginx `ssl_verify_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `off`: no CertificateRequest.
    Nothing,
    /// `optional`.
    Optional,
    /// `on`; a client without a valid certificate gets HTTP 400 inside the session.
    Required,
}

/// The certificate the proxy has for this hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// None.
    Nothing,
    /// One that the upstream trusts.
    Trusted,
    /// One of a foreign authority.
    Foreign,
}

/// What the proxy does with the upstream's certificate (`proxy_ssl_verify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Not checked; nginx's default.
    Off,
    /// Verified against the root that signed it.
    On,
    /// Verified against another root.
    ForeignRoot,
    /// Verified against the root that signed it, and a name that it does not have.
    OtherName,
}

/// What must be observed of every connection of the hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `security`.
    pub security: Security,
    /// `client_auth`.
    pub client_auth: ClientAuth,
    /// `outcome`.
    pub outcome: Outcome,
}

/// One hop.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Name, also the first label of its server name.
    pub name: &'static str,
    /// Who connects.
    pub proxy: Proxy,
    /// To whom.
    pub upstream: Upstream,
    /// The proxy's certificate.
    pub holds: Holds,
    /// The proxy's check.
    pub verify: Verify,
    /// Whether sessions are resumed (`proxy_ssl_session_reuse`; nginx's default is on).
    pub reuse: bool,
    /// Whether one upstream connection carries many requests (nginx `keepalive`).
    pub keepalive: bool,
    /// Whether the upstream lacks the group of the client's key share, and so answers its
    /// ClientHello with a HelloRetryRequest.
    pub retry: bool,
    /// Requests sent through it, each on an upstream connection of its own unless `keepalive`.
    pub requests: usize,
    /// HTTP status that the proxy's client gets; 0 for none at all.
    pub status: u16,
    /// The truth.
    pub expected: Expected,
}

impl Case {
    /// A hop in the clear without verification, on which one request succeeds.
    #[must_use]
    pub const fn new(name: &'static str, proxy: Proxy, upstream: Upstream, holds: Holds) -> Self {
        let expected = Expected {
            security: Security::Plaintext,
            client_auth: ClientAuth::NotRequested,
            outcome: Outcome::Established,
        };
        Self {
            name,
            proxy,
            upstream,
            holds,
            verify: Verify::Off,
            reuse: false,
            keepalive: false,
            retry: false,
            requests: 1,
            status: 200,
            expected,
        }
    }

    const fn is(mut self, security: Security, client_auth: ClientAuth, outcome: Outcome) -> Self {
        self.expected = Expected { security, client_auth, outcome };
        self
    }

    const fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    const fn reuse(mut self, requests: usize) -> Self {
        self.reuse = true;
        self.requests = requests;
        self
    }

    const fn keepalive(mut self) -> Self {
        self.keepalive = true;
        self
    }

    const fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Whether nothing but record lengths can tell. Then `unknown{ambiguous}` is a right answer,
    /// too: one mutual flight in some dozens is by chance as long as a padded one.
    #[must_use]
    pub fn is_inferred(&self) -> bool {
        self.proxy == Proxy::Rustls && self.version() == Some(Version::V13)
    }

    /// Server name that the proxy asks for.
    #[must_use]
    pub fn server_name(&self) -> String {
        let domain = match self.verify {
            Verify::OtherName => "elsewhere.test",
            _ => crate::pki::DOMAIN,
        };
        format!("{}.{domain}", self.name)
    }

    /// Requests that reach the upstream, or for a refusing haproxy the refusals that it logs: all,
    /// unless the proxy leaves because of the upstream's certificate.
    #[must_use]
    pub const fn logged(&self) -> usize {
        match self.verify {
            Verify::Off | Verify::On => self.requests,
            Verify::ForeignRoot | Verify::OtherName => 0,
        }
    }

    /// Requests that one process makes where it ends after them. Sessions are kept in it.
    #[must_use]
    pub const fn requests_per_process(&self) -> usize {
        if self.reuse { self.requests } else { 1 }
    }

    /// Whether this answer to "did the proxy check the upstream's certificate" is wrong; `unknown`
    /// never is.
    #[must_use]
    pub const fn contradicts(&self, verified: ServerVerified) -> bool {
        match verified {
            // Some compare the name themselves, when the chain has been verified.
            ServerVerified::Yes => {
                !matches!(self.verify, Verify::On | Verify::OtherName) || self.version().is_none()
            }
            ServerVerified::No => matches!(self.verify, Verify::On),
            ServerVerified::Unknown => false,
        }
    }

    /// The only TLS version the upstream speaks; `None` in the clear.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        match self.upstream {
            Upstream::Http1 | Upstream::Http2 => None,
            Upstream::Nginx(version, _)
            | Upstream::Expired(version)
            | Upstream::Haproxy(version) => Some(version),
        }
    }
}

/// Names of the processes that connect in these cases, for `--proxy`.
#[must_use]
pub fn process_names(cases: &[Case]) -> BTreeSet<&'static str> {
    cases.iter().map(|case| case.proxy.process_name()).collect()
}

/// The cases of [`ALL`] with these names.
///
/// # Panics
/// When there is none of a name.
#[must_use]
pub fn named(names: &[&str]) -> Vec<Case> {
    let find = |name: &&str| ALL.iter().find(|case| case.name == *name).copied();
    names
        .iter()
        .map(|name| find(name).unwrap_or_else(|| panic!("there is no case {name}")))
        .collect()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V12 => "TLS 1.2",
            Self::V13 => "TLS 1.3",
        })
    }
}

/// What is configured, in a few words: version, what the upstream asks for, what the proxy has.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asks = match self.upstream {
            Upstream::Http1 => return f.pad("HTTP/1.1 in the clear"),
            Upstream::Http2 => return f.pad("HTTP/2 in the clear"),
            Upstream::Nginx(_, Asks::Nothing) | Upstream::Expired(_) => "not asked",
            Upstream::Nginx(_, Asks::Optional) => "asked",
            Upstream::Nginx(_, Asks::Required) | Upstream::Haproxy(_) => "required",
        };
        let holds = match self.holds {
            Holds::Nothing => "no cert",
            Holds::Trusted => "cert",
            Holds::Foreign => "foreign cert",
        };
        let version = self.version().map_or(String::new(), |version| version.to_string());
        f.pad(&format!("{version}, {asks}, {holds}"))
    }
}

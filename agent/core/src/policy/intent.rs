//! What a configuration says about the hops of a proxy, whatever kind of configuration it is.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::vocabulary;

vocabulary! {
    /// How a proxy is configured to speak to an upstream.
    Scheme {
        /// In the clear (`http://`, `grpc://`, FastCGI, ...).
        Plaintext => "plaintext",
        /// Over TLS that the proxy begins (`https://`, `grpcs://`, `suwsgi://`, stream `proxy_ssl on`).
        Tls => "tls",
        /// A byte stream is passed on untouched: TLS, if any, is between the client and the upstream.
        Passthrough => "passthrough",
        /// The configuration decides at run time (a variable), or says several things.
        Unknown => "unknown",
    }
}

vocabulary! {
    /// The answer of all routes to one upstream to a yes-or-no question.
    Stated {
        /// Every route says yes.
        Yes => "yes",
        /// Every route says no.
        No => "no",
        /// Some routes say yes, some say no.
        Mixed => "mixed",
        /// It depends on a variable, or nothing is said.
        Unknown => "unknown",
    }
}

/// Where something is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file as the proxy names it.
    pub file: Arc<str>,
    /// Line, from 1; 0 stands for the whole of it (an object of an API has no lines).
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A value and where it is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it is said.
    pub at: Place,
}

/// A string that may depend on the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// Known from the configuration.
    Literal(String),
    /// Has variables; the raw expression.
    Variable(String),
}

impl From<&str> for Text {
    /// A `$` makes it an expression, as in nginx.
    fn from(value: &str) -> Self {
        if value.contains('$') {
            Self::Variable(value.to_owned())
        } else {
            Self::Literal(value.to_owned())
        }
    }
}

impl Text {
    fn len(&self) -> usize {
        match self {
            Self::Literal(text) | Self::Variable(text) => text.len(),
        }
    }

    /// The value if it is known from the configuration.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Variable(_) => None,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) | Self::Variable(value) => f.write_str(value),
        }
    }
}

/// TLS settings in force on one route to an upstream. `None` is "not said": the default of the
/// proxy applies, which the methods know where it does not depend on its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsIntent {
    /// Client certificate file, or `data:` and the certificate itself. An empty one is switched off.
    pub certificate: Option<Setting<Text>>,
    /// Its private key file, or `engine:`/`data:`.
    pub certificate_key: Option<Setting<Text>>,
    /// Whether the upstream's certificate is checked.
    pub verify: Option<Setting<bool>>,
    /// How long a chain may be.
    pub verify_depth: Option<Setting<u32>>,
    /// CA file the upstream is checked against.
    pub trusted_certificate: Option<Setting<String>>,
    /// Revocation list file.
    pub crl: Option<Setting<String>>,
    /// Name the certificate is checked for, and sent as SNI.
    pub name: Option<Setting<Text>>,
    /// Whether SNI is sent.
    pub server_name: Option<Setting<bool>>,
    /// Protocol versions as the proxy spells them.
    pub protocols: Option<Setting<Vec<String>>>,
    /// Cipher list as OpenSSL spells it.
    pub ciphers: Option<Setting<String>>,
    /// Whether sessions are resumed.
    pub session_reuse: Option<Setting<bool>>,
    /// OpenSSL configuration commands (name, value), which may change all of the above.
    pub conf_commands: Vec<Setting<(String, String)>>,
}

impl TlsIntent {
    /// Whether a client certificate would be presented if the upstream asks.
    #[must_use]
    pub fn has_client_certificate(&self) -> Stated {
        match &self.certificate {
            None => Stated::No,
            Some(Setting { value: Text::Variable(_), .. }) => Stated::Unknown,
            Some(Setting { value: Text::Literal(path), .. }) => yes_no(!path.is_empty()),
        }
    }

    /// Whether the upstream's certificate is checked; off unless said.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.verify.as_ref().is_some_and(|setting| setting.value)
    }

    /// Whether SNI is sent; off unless said.
    #[must_use]
    pub fn sends_server_name(&self) -> bool {
        self.server_name.as_ref().is_some_and(|setting| setting.value)
    }

    /// Whether sessions are resumed; on unless said.
    #[must_use]
    pub fn reuses_sessions(&self) -> bool {
        self.session_reuse.as_ref().is_none_or(|setting| setting.value)
    }
}

/// One way of the configuration to an upstream: nginx's `proxy_pass` and its kin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The directive (`proxy_pass`, `grpc_pass`, ...).
    pub directive: String,
    /// Where it stands.
    pub at: Place,
    /// How it speaks.
    pub scheme: Scheme,
    /// TLS settings in force there; meaningful unless the scheme is plaintext or passthrough.
    pub tls: TlsIntent,
    /// Name the upstream's certificate is checked for if `tls.name` says none.
    pub default_name: Text,
}

impl Route {
    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let TlsIntent { certificate, certificate_key, trusted_certificate, crl, name, .. } =
            &self.tls;
        let texts = [certificate, certificate_key, name].into_iter().flatten();
        let files = [trusted_certificate, crl, &self.tls.ciphers].into_iter().flatten();
        let commands = &self.tls.conf_commands;
        size_of::<Self>()
            + self.directive.len()
            + self.default_name.len()
            + texts.map(|setting| setting.value.len()).sum::<usize>()
            + files.map(|setting| setting.value.len()).sum::<usize>()
            + commands.iter().map(|one| size_of_val(one) + one.value.1.len()).sum::<usize>()
    }

    /// The name the upstream's certificate is checked for (and SNI, if sent).
    #[must_use]
    pub fn expected_name(&self) -> &Text {
        self.tls.name.as_ref().map_or(&self.default_name, |setting| &setting.value)
    }
}

/// Address of one server of an upstream, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerAddress {
    /// IP address and port.
    Ip(SocketAddr),
    /// Host name, which the proxy resolves, and port.
    Host(String, u16),
    /// Unix domain socket: never leaves the machine, not observed by hopsight.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it is.
    pub address: ServerAddress,
    /// Share of the traffic; 1 unless said.
    pub weight: u32,
    /// Used only while the others are unavailable.
    pub backup: bool,
    /// Marked as permanently unavailable.
    pub down: bool,
    /// Its name is resolved again while the proxy runs.
    pub resolve: bool,
    /// Where it is said.
    pub at: Place,
}

impl Server {
    /// A server about which only its address is said.
    #[must_use]
    pub const fn new(address: ServerAddress, at: Place) -> Self {
        Self { address, weight: 1, backup: false, down: false, resolve: false, at }
    }
}

/// How an upstream is named by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A named group of servers (nginx `upstream` block).
    Group(String),
    /// One address written where it is used.
    Address(ServerAddress),
    /// An expression with variables; servers are not known from the configuration.
    Variable(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) | Self::Variable(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Whether the servers of an upstream are all known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Servers {
    /// The list is complete.
    Listed,
    /// A variable or a program (Lua balancer, API) chooses at run time.
    Dynamic,
}

/// Everything the configuration says about one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamIntent {
    /// Its name in the configuration.
    pub target: Target,
    /// Its servers.
    pub servers: Vec<Server>,
    /// Whether these are all.
    pub listing: Servers,
    /// All routes that lead there, in the order of the configuration; at least one.
    pub routes: Vec<Route>,
    /// Routes that a variable decides and that may lead there: where they say something else than the
    /// others, nothing is known for sure.
    #[serde(default)]
    pub by_variable: Arc<[Route]>,
}

impl UpstreamIntent {
    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(self.servers.as_slice())
            + self.routes.iter().map(Route::size).sum::<usize>()
    }

    /// What names the upstream for good: a group, or a host whose addresses may change. `None`
    /// where it is one address, or the request decides.
    #[must_use]
    pub fn stable_name(&self) -> Option<String> {
        match &self.target {
            Target::Group(_) | Target::Address(ServerAddress::Host(..)) => {
                Some(self.target.to_string())
            }
            Target::Address(ServerAddress::Ip(_) | ServerAddress::Unix(_))
            | Target::Variable(_) => None,
        }
    }

    /// How all routes speak; `Unknown` if they differ.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        let mut schemes = self.routes.iter().chain(&*self.by_variable).map(|route| route.scheme);
        let first = schemes.next().unwrap_or(Scheme::Unknown);
        if schemes.all(|scheme| scheme == first) { first } else { Scheme::Unknown }
    }

    /// Whether a client certificate is configured.
    #[must_use]
    pub fn client_certificate(&self) -> Stated {
        self.agreed(|route| match route.scheme {
            Scheme::Plaintext => Stated::No,
            Scheme::Passthrough => Stated::Unknown,
            Scheme::Tls => route.tls.has_client_certificate(),
            Scheme::Unknown => match route.tls.has_client_certificate() {
                Stated::No => Stated::No,
                _ => Stated::Unknown,
            },
        })
    }

    /// Whether the proxy checks the upstream's certificate.
    #[must_use]
    pub fn verify(&self) -> Stated {
        self.agreed(|route| match (route.scheme, route.tls.verifies()) {
            (Scheme::Passthrough, _) | (Scheme::Unknown, true) => Stated::Unknown,
            (Scheme::Tls, true) => Stated::Yes,
            (Scheme::Plaintext, _) | (Scheme::Tls | Scheme::Unknown, false) => Stated::No,
        })
    }

    fn agreed(&self, of: impl Fn(&Route) -> Stated) -> Stated {
        let mut answers = self.routes.iter().map(&of);
        let first = answers.next().unwrap_or(Stated::Unknown);
        let all = answers.fold(first, |sum, answer| match (sum, answer) {
            _ if sum == answer => sum,
            (Stated::Yes | Stated::Mixed, Stated::No)
            | (Stated::No | Stated::Mixed, Stated::Yes) => Stated::Mixed,
            _ => Stated::Unknown,
        });
        // Of a mixture another route makes nothing else.
        let agrees = |route: &Route| of(route) == all || all == Stated::Mixed;
        if self.by_variable.iter().all(agrees) { all } else { Stated::Unknown }
    }
}

/// What one proxy's configuration intends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Per upstream that some route leads to, in the order of first use.
    pub upstreams: Vec<UpstreamIntent>,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
}

impl Intent {
    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.upstreams.iter().map(UpstreamIntent::size).sum()
    }
}

const fn yes_no(yes: bool) -> Stated {
    if yes { Stated::Yes } else { Stated::No }
}

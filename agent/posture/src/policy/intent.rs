//! What a configuration says about the hops of a proxy, whatever kind of configuration it is.

mod remark;
mod route;
mod tls;

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

pub(super) use remark::remark;
pub use remark::{ConfigError, Fault, Remark};
pub use route::{Route, RouteKind};
pub use tls::TlsIntent;

use hopsight_core::vocabulary;

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
    /// The file as the proxy names it, or an object of an API.
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

impl ServerAddress {
    /// The same host at another port; a socket in the file system has none.
    pub(super) fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip(), port)),
            Self::Host(host, _) => Self::Host(host.clone(), port),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }
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
    /// What it says of the server at this address: the routes that are for others are left out,
    /// unless all are.
    #[must_use]
    pub fn toward(&self, address: SocketAddr) -> Cow<'_, Self> {
        let leads = |route: &&Route| route.may_lead_to(address);
        let routes = self.routes.iter().filter(leads).count();
        if routes == 0 || routes == self.routes.len() {
            return Cow::Borrowed(self);
        }
        let routes = self.routes.iter().filter(leads).cloned().collect();
        Cow::Owned(Self { routes, ..self.clone() })
    }

    /// Its servers, if there is no way to others: not where something chooses them at run time, nor
    /// where a route by a variable may still lead to one that was taken off the list.
    #[must_use]
    pub fn only_servers(&self) -> Option<&[Server]> {
        let are_all = self.listing == Servers::Listed && self.by_variable.is_empty();
        are_all.then_some(&*self.servers)
    }

    /// What its first route by TLS says: the one whose files are looked at.
    #[must_use]
    pub fn first_tls(&self) -> Option<&TlsIntent> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.scheme == Scheme::Tls).map(|route| &route.tls)
    }

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
            (Scheme::Plaintext, _) | (Scheme::Unknown, Stated::No) => Stated::No,
            (Scheme::Tls, verifies) => verifies,
            (Scheme::Passthrough | Scheme::Unknown, _) => Stated::Unknown,
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
    /// What people should know of it.
    #[serde(default)]
    pub remarks: Vec<Remark>,
}

impl Intent {
    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let remarks = self.remarks.iter().map(|one| size_of_val(one) + one.text.len());
        self.upstreams.iter().map(UpstreamIntent::size).sum::<usize>() + remarks.sum::<usize>()
    }
}

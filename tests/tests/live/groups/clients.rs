//! TLS stacks as clients, and which connections each of them makes.

use std::{env, fmt, net::SocketAddr, path::Path};

use hopsight_test_support::not_run;
use hopsight_tests::{caddy, case::Version, client, envoy, loopback::Loopback, process::find};

use super::{
    keys::{Keys, Pair},
    programs::{self, Idle, Program},
    trace,
};

/// A group, by IANA's name and the client's, which is empty where it cannot be told to offer it alone.
pub type Group = (&'static str, &'static str);

/// A client.
#[derive(Debug)]
pub struct Client {
    pub name: &'static str,
    /// What its processes are called.
    pub process: &'static str,
    /// Whether its TLS library is read, which shows signatures of TLS 1.3.
    pub shows: bool,
    /// The groups that it has.
    pub groups: &'static [Group],
    /// How it is told which groups to offer.
    pub offers: Offers,
    /// Its command line; a proxy has none, and connects when it is asked to.
    pub program: Option<Program>,
    /// Runs as long as its standard input is open, for a program that is big to look into.
    pub idle: Option<Idle>,
}

/// How a client is told which groups to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// Any of them, in any order.
    Any,
    /// One, or those that it offers by itself.
    OneOrOwn,
    /// Those that it offers by itself.
    Own,
}

/// A connection to make.
pub struct Cell<'c> {
    pub client: &'c Client,
    pub number: usize,
    pub version: Version,
    /// The group that the server insists on.
    pub group: &'static str,
    /// What the client is to offer, by its own names; nothing where it decides.
    pub offered: Vec<&'static str>,
    pub address: SocketAddr,
    /// Where a proxy takes a request for it.
    pub front: Option<SocketAddr>,
}

impl<'c> Cell<'c> {
    pub fn new(
        client: &'c Client,
        block: Loopback,
        number: usize,
        version: Version,
        (group, _): Group,
        offered: &[Group],
    ) -> Self {
        let port = u16::try_from(number).unwrap();
        Self {
            client,
            number,
            version,
            group,
            offered: offered.iter().map(|(_, own)| *own).collect(),
            address: block.socket(2, 10_000 + port),
            front: client.is_proxy().then(|| block.socket(3, 20_000 + port)),
        }
    }

    /// The version's number.
    pub const fn version_name(&self) -> &'static str {
        match self.version {
            Version::V12 => "1.2",
            Version::V13 => "1.3",
        }
    }

    /// The certificate of either side. Up to TLS 1.2 a curve that is not offered rules out a
    /// certificate with a key on it (RFC 8422 section 5.1).
    pub fn pair<'k>(&self, keys: &'k Keys) -> &'k Pair {
        let is_rsa = self.version == Version::V12 || self.number.is_multiple_of(2);
        if is_rsa { &keys.rsa } else { &keys.ecdsa }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, group, offered, .. } = self;
        write!(to, "{}, {}, {group} of {offered:?}", client.name, self.version_name())
    }
}

impl Client {
    /// Whether it makes connections in answer to requests.
    pub const fn is_proxy(&self) -> bool {
        self.program.is_none()
    }

    /// Every connection that it makes: under TLS 1.3 with the server's group alone, and with another
    /// one before it, to which the server says that it wants the next.
    pub fn cells(&self, block: Loopback, number: &mut usize) -> Vec<Cell<'_>> {
        let mut cells = Vec::new();
        let mut add = |version, group, offered: &[Group]| {
            cells.push(Cell::new(self, block, *number, version, group, offered));
            *number += 1;
        };
        for group in self.groups.iter().copied() {
            // Some send a share of each kind, and are asked for another one only of the same kind.
            let kind = |(name, _): &Group| name.chars().next();
            let is_other = |other: &Group| *other != group;
            let is_alike = |other: &Group| is_other(other) && kind(other) == kind(&group);
            let mut others = self.groups.iter().copied();
            let alike = others.clone().find(is_alike);
            let first = alike.or_else(|| others.find(is_other));
            match self.offers {
                Offers::Any => {
                    add(Version::V13, group, &[group]);
                    if let Some(first) = first {
                        add(Version::V13, group, &[first, group]);
                    }
                }
                Offers::OneOrOwn => {
                    add(Version::V13, group, &[]);
                    if !group.1.is_empty() {
                        add(Version::V13, group, &[group]);
                    }
                }
                Offers::Own => add(Version::V13, group, &[]),
            }
            let is_curve = !group.0.starts_with("ff") && !group.0.contains("MLKEM");
            if is_curve {
                let decides = self.offers == Offers::Own || group.1.is_empty();
                let offered = if decides { &[][..] } else { &[group] };
                add(Version::V12, group, offered);
            }
        }
        cells
    }

    /// Why it cannot run here, if it cannot.
    fn missing(&self) -> Option<String> {
        let is_there = match self.name {
            "Envoy" => envoy::binary().is_some(),
            "Caddy" => env::var_os(caddy::VARIABLE).is_some() || find("caddy").is_some(),
            "Node, newer" => env::var_os(trace::NEWER_NODE).is_some(),
            "Python" => Path::new(client::PYTHON).exists(),
            "rustls" => true,
            "Java" => find("javac").is_some() && find("java").is_some(),
            "Wget" => programs::wget_is_gnutls(),
            _ => find(self.process).is_some(),
        };
        (!is_there).then(|| format!("{} is not there: cargo xtask groups", self.name))
    }
}

/// Every client that is here; says which are not.
pub fn there() -> Vec<Client> {
    let is_there = |client: &Client| {
        let missing = client.missing();
        if let Some(missing) = &missing {
            let is_other = matches!(client.name, "Java" | "Node" | "Node, newer" | "Wget");
            not_run(if is_other { "other client stacks" } else { client.name }, missing);
        }
        missing.is_none()
    };
    programs::all().into_iter().filter(is_there).collect()
}

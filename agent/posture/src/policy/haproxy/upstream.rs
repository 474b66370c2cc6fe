//! From proxies to upstreams: one for each `backend` and `listen` with servers, and one for each
//! address that no client's requests go to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    address::{self, Address},
    checks::Connection,
    error::{ConfigError, Problem},
    sections::Line,
    walk::{Proxy, Walk, Written},
};
use crate::policy::intent::{
    Route, Scheme, Server, ServerAddress, Servers, Setting, Target, TlsIntent, UpstreamIntent,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;

/// All upstreams, in the order of the sections; behind them the addresses that haproxy has something of
/// its own to tell.
pub(super) fn upstreams(walk: &Walk<'_>) -> Result<Vec<UpstreamIntent>, ConfigError> {
    let mut out = Upstreams::default();
    for proxy in &walk.proxies {
        if !proxy.servers.is_empty() {
            out.proxy(walk, proxy)?;
        }
    }
    for written in &walk.own {
        out.own(walk, written)?;
    }
    Ok(out.found)
}

#[derive(Default)]
struct Upstreams {
    found: Vec<UpstreamIntent>,
    /// Positions of those that no client's requests go to, by their address.
    alone: HashMap<Target, usize>,
    /// Bytes that the routes take.
    size: usize,
}

impl Upstreams {
    fn proxy(&mut self, walk: &Walk<'_>, proxy: &Proxy) -> Result<(), ConfigError> {
        let in_the_clear = walk.in_the_clear(proxy);
        let mut upstream = UpstreamIntent {
            target: Target::Group(proxy.name.clone()),
            servers: Vec::new(),
            listing: Servers::Listed,
            routes: Vec::new(),
            by_variable: Arc::default(),
        };
        let (mut checks, connections) = (Vec::new(), proxy.checks.connections());
        for written in &proxy.servers {
            let Written { line, settings, address } = written;
            if address.is_none() || settings.by_socks {
                upstream.listing = Servers::Dynamic;
            }
            upstream.servers.extend(address.iter().map(|address| Server {
                weight: settings.weight.unwrap_or(1),
                backup: settings.backup,
                down: settings.disabled,
                resolve: settings.resolve,
                ..Server::new(address.clone(), line.at.clone())
            }));
            let route = traffic(walk, written, in_the_clear)?;
            self.take_size(&route)?;
            for one in &connections {
                let Some((to, check)) = health_check(walk, written, route.scheme, one) else {
                    continue;
                };
                self.take_size(&check)?;
                checks.push((to, check));
            }
            upstream.routes.push(route);
        }
        let own: HashSet<_> =
            upstream.servers.iter().map(|server| server.address.clone()).collect();
        self.found.push(upstream);
        let at = self.found.len() - 1;
        for (to, route) in checks {
            let is_own = matches!(&to, Target::Address(address) if own.contains(address));
            let position = if is_own { at } else { self.position(to, &route) };
            self.found[position].routes.push(route);
        }
        Ok(())
    }

    /// A server that haproxy has something of its own to tell: of another haproxy's table nothing else
    /// knows, so that its address is what it is called.
    fn own(&mut self, walk: &Walk<'_>, written: &Written) -> Result<(), ConfigError> {
        let Some(to) = &written.address else { return Ok(()) };
        let route = traffic(walk, written, Scheme::Plaintext)?;
        self.take_size(&route)?;
        let position = self.position(Target::Address(to.clone()), &route);
        self.found[position].routes.push(route);
        Ok(())
    }

    /// The upstream for an address that no client's requests go to.
    fn position(&mut self, to: Target, route: &Route) -> usize {
        let Self { alone, found, .. } = self;
        *alone.entry(to.clone()).or_insert_with(|| {
            let (servers, listing) = match &to {
                Target::Address(to) => {
                    (vec![Server::new(to.clone(), route.at.clone())], Servers::Listed)
                }
                Target::Group(_) | Target::Variable(_) => (Vec::new(), Servers::Dynamic),
            };
            let (routes, by_variable) = (Vec::new(), Arc::default());
            found.push(UpstreamIntent { target: to, servers, listing, routes, by_variable });
            found.len() - 1
        })
    }

    fn take_size(&mut self, route: &Route) -> Result<(), ConfigError> {
        self.size += route.size();
        if self.size <= MAX_SIZE {
            return Ok(());
        }
        let what = "bytes of servers and their settings";
        let problem = Problem::TooMuch { what, limit: MAX_SIZE };
        Err(ConfigError { place: route.at.clone(), problem })
    }
}

/// How a server is spoken to.
fn traffic(
    walk: &Walk<'_>,
    Written { line, settings, address }: &Written,
    in_the_clear: Scheme,
) -> Result<Route, ConfigError> {
    let scheme = match (&settings.open, settings.ssl) {
        (Some(_), _) => Scheme::Unknown,
        (None, true) => Scheme::Tls,
        (None, false) => in_the_clear,
    };
    let tls = settings.traffic(line, walk.verifies);
    if scheme == Scheme::Tls {
        check(&tls, line)?;
    }
    let directive = match line.keyword() {
        "peer" => "peer",
        "dispatch" => "dispatch",
        "option" | "no" => "option transparent",
        _ => "server",
    };
    Ok(route(directive, line, address.clone(), scheme, tls))
}

/// How one connection of a health check speaks to a server, and to which address, where they differ from
/// traffic.
fn health_check(
    walk: &Walk<'_>,
    written: &Written,
    traffic: Scheme,
    one: &Connection,
) -> Option<(Target, Route)> {
    let Written { line, settings, address } = written;
    let scheme = one.scheme(settings).filter(|_| settings.check)?;
    let to = match checked(walk, written, one) {
        None if scheme == traffic => return None,
        None => match address {
            Some(address) => Target::Address(address.clone()),
            None => Target::Variable(host(written)),
        },
        Some(Target::Address(to)) if Some(&to) == address.as_ref() && scheme == traffic => {
            return None;
        }
        Some(to) => to,
    };
    let tls = settings.health_check(line, walk.verifies, one.server_name(settings));
    let directive =
        one.line.as_ref().map_or("check".to_owned(), |rule| format!("{} connect", rule.keyword()));
    let at = one.line.as_ref().unwrap_or(line);
    let only = match &to {
        Target::Address(to) => Some(to.clone()),
        Target::Group(_) | Target::Variable(_) => None,
    };
    Some((to, route(&directive, at, only, scheme, tls)))
}

/// Where a connection of a check goes, if something else is said than where the server is.
fn checked(walk: &Walk<'_>, written: &Written, one: &Connection) -> Option<Target> {
    // Each is the rule's, else the check's, else the server's; an address may have a port with it.
    let rule = one.address.as_deref().map(split);
    let check = written.settings.check_address.as_deref().map(split);
    let named = rule.or(check).map(|(host, _)| host).filter(|host| !address::is_any(host));
    let beside = |said: Option<(_, Option<_>)>| said.and_then(|(_, port)| port);
    let port = one.port.as_deref().or(beside(rule));
    let port = port.or(written.settings.check_port.as_deref()).or(beside(check));
    if named.is_none() && port.is_none() {
        return None;
    }
    let own_port = match &written.address {
        Some(ServerAddress::Ip(address)) => Some(address.port().to_string()),
        Some(ServerAddress::Host(_, port)) => Some(port.to_string()),
        Some(ServerAddress::Unix(_)) | None => None,
    };
    let host = named.map_or_else(|| host(written), str::to_owned);
    let is_known =
        |to: &Option<Address>| matches!(to, Some(Address::Known(ServerAddress::Unix(_))));
    let text = match port.map(str::to_owned).or(own_port) {
        // A socket has no port.
        _ if is_known(&address::parse(&host)) => host,
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    Some(match address::parse(&walk.environment.expand(&text)) {
        Some(Address::Known(to)) => Target::Address(to),
        Some(Address::Open) | None => Target::Variable(text),
    })
}

/// The host of a server, as far as it is known.
fn host(written: &Written) -> String {
    match &written.address {
        Some(ServerAddress::Ip(address)) => address.ip().to_string(),
        Some(ServerAddress::Host(host, _)) => host.clone(),
        Some(ServerAddress::Unix(path)) => format!("unix@{}", path.display()),
        None => {
            let words = &written.line.words;
            let at = if words[0] == "server-template" { 3 } else { 2 };
            words.get(at).map_or_else(String::new, |word| split(word).0.to_owned())
        }
    }
}

/// An address, and the port that stands with it.
fn split(address: &str) -> (&str, Option<&str>) {
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (address, None),
    }
}

fn route(
    directive: &str,
    line: &Line,
    only: Option<ServerAddress>,
    scheme: Scheme,
    tls: TlsIntent,
) -> Route {
    let only = only.into_iter().collect();
    Route { only, ..Route::new(directive, line.at.clone(), scheme, tls) }
}

/// What haproxy demands of a server's TLS settings before it starts.
fn check(tls: &TlsIntent, line: &Line) -> Result<(), ConfigError> {
    let is_verified = matches!(tls.verify, Some(Setting { value: true, .. }));
    let is_known = tls.verify_by.is_none();
    if is_verified && is_known && tls.trusted_certificate.is_none() {
        let server = line.words.get(1).cloned().unwrap_or_default();
        return Err(line.error(Problem::NoCaFile { server }));
    }
    Ok(())
}

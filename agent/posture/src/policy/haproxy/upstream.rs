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
    alone: HashMap<ServerAddress, usize>,
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
            let position = if own.contains(&to) { at } else { self.position(&to, &route) };
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
        let position = self.position(to, &route);
        self.found[position].routes.push(route);
        Ok(())
    }

    /// The upstream for an address that no client's requests go to.
    fn position(&mut self, to: &ServerAddress, route: &Route) -> usize {
        if let Some(&known) = self.alone.get(to) {
            return known;
        }
        self.found.push(UpstreamIntent {
            target: Target::Address(to.clone()),
            servers: vec![Server::new(to.clone(), route.at.clone())],
            listing: Servers::Listed,
            routes: Vec::new(),
            by_variable: Arc::default(),
        });
        self.alone.insert(to.clone(), self.found.len() - 1);
        self.found.len() - 1
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
    let directive = if line.keyword() == "peer" { "peer" } else { "server" };
    Ok(route(directive, line, address.clone(), scheme, tls))
}

/// How one connection of a health check speaks to a server, and to which address, where they differ from
/// traffic.
fn health_check(
    walk: &Walk<'_>,
    Written { line, settings, address }: &Written,
    traffic: Scheme,
    one: &Connection,
) -> Option<(ServerAddress, Route)> {
    let server = address.as_ref().filter(|_| settings.check)?;
    let (host, own_port) = match server {
        ServerAddress::Ip(address) => (address.ip().to_string(), address.port()),
        ServerAddress::Host(host, port) => (host.clone(), *port),
        ServerAddress::Unix(_) => return None,
    };
    // Each is the rule's, else the check's, else the server's; an address may have a port with it.
    let rule = one.address.as_deref().map(split);
    let check = settings.check_address.as_deref().map(split);
    let host = rule.or(check).map_or(&*host, |(host, _)| host);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let beside_rule = rule.and_then(|(_, port)| port);
    let beside_check = check.and_then(|(_, port)| port);
    let port = one.port.as_deref().or(beside_rule).or(settings.check_port.as_deref());
    let port = port.or(beside_check).map_or_else(|| own_port.to_string(), str::to_owned);
    let to = match address::parse(&walk.environment.expand(&format!("{host}:{port}"))) {
        Some(Address::Known(to)) => to,
        Some(Address::Open) | None => return None,
    };
    let scheme = one.scheme(settings)?;
    if to == *server && scheme == traffic {
        return None;
    }
    let tls = settings.health_check(line, walk.verifies, one.server_name(settings));
    let directive =
        one.line.as_ref().map_or("check".to_owned(), |rule| format!("{} connect", rule.keyword()));
    let at = one.line.as_ref().unwrap_or(line);
    Some((to.clone(), route(&directive, at, Some(to), scheme, tls)))
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
    Route {
        directive: directive.to_owned(),
        at: line.at.clone(),
        only: only.into_iter().collect(),
        scheme,
        tls,
        default_name: None,
    }
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

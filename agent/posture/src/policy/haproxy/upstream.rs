//! From proxies to upstreams: one for each `backend` and `listen` with servers, and one for each
//! address that only health checks speak to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    address::{self, Address},
    error::{ConfigError, Problem},
    sections::Line,
    walk::{Proxy, Walk, Written},
};
use crate::policy::intent::{
    Route, Scheme, Server, ServerAddress, Servers, Setting, Target, TlsIntent, UpstreamIntent,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;

/// All upstreams, in the order of the sections.
pub(super) fn upstreams(walk: &Walk<'_>) -> Result<Vec<UpstreamIntent>, ConfigError> {
    let mut out = Upstreams::default();
    for proxy in &walk.proxies {
        if !proxy.servers.is_empty() {
            out.proxy(walk, proxy)?;
        }
    }
    Ok(out.found)
}

#[derive(Default)]
struct Upstreams {
    found: Vec<UpstreamIntent>,
    /// Positions of those that only health checks speak to.
    checked: HashMap<ServerAddress, usize>,
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
        let mut checks = Vec::new();
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
            let scheme = match (&settings.open, settings.ssl) {
                (Some(_), _) => Scheme::Unknown,
                (None, true) => Scheme::Tls,
                (None, false) => in_the_clear,
            };
            let tls = settings.traffic(line, walk.verifies);
            if scheme == Scheme::Tls {
                check(&tls, line)?;
            }
            let route = route("server", line, address.clone(), scheme, tls);
            self.take_size(&route)?;
            upstream.routes.push(route);
            checks.extend(health_check(walk, written, scheme, proxy.checks_speak));
        }
        let own: HashSet<_> =
            upstream.servers.iter().map(|server| server.address.clone()).collect();
        self.found.push(upstream);
        let at = self.found.len() - 1;
        for (to, route) in checks {
            self.take_size(&route)?;
            let position = if own.contains(&to) { at } else { self.position(&to, &route) };
            self.found[position].routes.push(route);
        }
        Ok(())
    }

    /// The upstream for an address that only health checks speak to.
    fn position(&mut self, to: &ServerAddress, route: &Route) -> usize {
        if let Some(&known) = self.checked.get(to) {
            return known;
        }
        self.found.push(UpstreamIntent {
            target: Target::Address(to.clone()),
            servers: vec![Server::new(to.clone(), route.at.clone())],
            listing: Servers::Listed,
            routes: Vec::new(),
            by_variable: Arc::default(),
        });
        self.checked.insert(to.clone(), self.found.len() - 1);
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

/// How health checks speak to a server, and to which address, where they differ from traffic: by
/// `port` or `addr` they are in the clear unless `check-ssl` says otherwise.
fn health_check(
    walk: &Walk<'_>,
    Written { line, settings, address }: &Written,
    traffic: Scheme,
    speak: bool,
) -> Option<(ServerAddress, Route)> {
    let server = address.as_ref().filter(|_| settings.check)?;
    let is_elsewhere = settings.check_port.is_some() || settings.check_address.is_some();
    let ssl = settings.check_ssl.unwrap_or(settings.ssl && !is_elsewhere);
    let (host, port) = match server {
        ServerAddress::Ip(address) => (address.ip().to_string(), address.port()),
        ServerAddress::Host(host, port) => (host.clone(), *port),
        ServerAddress::Unix(_) => return None,
    };
    let host = settings.check_address.clone().unwrap_or(host);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = settings.check_port.clone().unwrap_or_else(|| port.to_string());
    let to = match address::parse(&walk.environment.expand(&format!("{host}:{port}"))) {
        Some(Address::Known(to)) => to,
        Some(Address::Open) | None => return None,
    };
    let scheme = match (&settings.open, ssl) {
        (Some(_), _) => Scheme::Unknown,
        (None, true) => Scheme::Tls,
        (None, false) => Scheme::Plaintext,
    };
    // A check that only connects sends nothing that could be clear or not.
    let is_silent = scheme == Scheme::Plaintext && !speak;
    if is_silent || (to == *server && scheme == traffic) {
        return None;
    }
    let tls = settings.health_check(line, walk.verifies);
    let route = route("check", line, Some(to.clone()), scheme, tls);
    Some((to, route))
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

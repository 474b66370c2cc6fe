//! Traefik's configuration as its file provider reads it, for what it says about services.
//!
//! Covered: `http` and `tcp` services that balance load, transports with their defaults in the static
//! configuration, health checks that speak otherwise, and `forwardAuth`. Not evaluated: templates in
//! the files, SPIFFE, and what other providers (Kubernetes, Docker) bring. A service that leads to others
//! is not spoken to itself.

mod api;
mod start;
mod tls;
mod url;
mod written;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

pub use api::{Dynamic, FileProvider, Static};

use self::{
    api::{HttpServer, LoadBalancer, TcpRouter, TcpServer, TcpTransport, Transport},
    url::{Url, address, checked, checked_by_tcp, url},
    written::RouterTls,
};
use super::intent::{
    Fault, Intent, Place, Route, RouteKind, Scheme, Server, ServerAddress, Servers, Setting,
    Stated, Target, Text, TlsIntent, UpstreamIntent, remark,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;

/// What leads to servers, and of what kind its routes are.
type Led = (&'static str, RouteKind);

const HTTP: Led = ("loadBalancer", RouteKind::Plain);
const TCP: Led = ("loadBalancer", RouteKind::Stream);

/// What the parts of a dynamic configuration say, each with the name of its file.
///
/// # Errors
/// More servers than are taken.
pub fn read(started: &Static, parts: &[(Arc<str>, Dynamic)]) -> Result<Intent, Fault> {
    let mut out = Reader::new(started, parts);
    for (at, name, service) in counted(parts, "http.services", |part| &part.http.services) {
        if let Some(balancer) = &service.load_balancer {
            out.http(name, balancer, &at)?;
        }
    }
    for (at, name, service) in counted(parts, "tcp.services", |part| &part.tcp.services) {
        if let Some(balancer) = &service.load_balancer {
            out.tcp(name, balancer, &at)?;
        }
    }
    for (at, _, one) in counted(parts, "http.middlewares", |part| &part.http.middlewares) {
        if let Some(asked) = &one.forward_auth {
            let tls = |_: &Reader<'_>| tls::of_client(asked.tls.as_ref(), &at);
            out.alone("forwardAuth", &asked.address, &at, tls)?;
        }
    }
    for other in started.providers.others.keys() {
        let text = || format!("services of the provider {other} are not read");
        remark(&mut out.intent.remarks, &of_start(&format!("providers.{other}")), text);
    }
    Ok(out.intent)
}

/// The URLs of the servers of each HTTP service, as Traefik's API shows them: by the name of the service
/// with its provider.
#[must_use]
pub fn server_urls(parts: &[(Arc<str>, Dynamic)]) -> BTreeMap<String, Vec<String>> {
    let services = counted(parts, "http.services", |part| &part.http.services).into_iter();
    let balanced = services.filter_map(|(_, name, one)| Some((name, one.load_balancer.as_ref()?)));
    let urls =
        |one: &LoadBalancer<HttpServer>| one.servers.iter().map(|it| it.url.clone()).collect();
    balanced.map(|(name, balancer)| (format!("{name}@file"), urls(balancer))).collect()
}

/// Everything of one kind, each with its place and name: of those that several files name alike Traefik
/// takes the first.
fn counted<'a, T>(
    parts: &'a [(Arc<str>, Dynamic)],
    kind: &str,
    of: impl Fn(&'a Dynamic) -> &'a BTreeMap<String, T>,
) -> Vec<(Place, &'a str, &'a T)> {
    let mut seen = HashSet::new();
    let all = parts.iter().flat_map(|(file, part)| of(part).iter().map(move |one| (file, one)));
    all.filter(|(_, (name, _))| seen.insert(name.as_str()))
        .map(|(file, (name, one))| (place(file, &format!("{kind}.{name}")), name.as_str(), one))
        .collect()
}

fn place(file: &str, path: &str) -> Place {
    Place { file: format!("{file}: {path}").into(), line: 0 }
}

/// A member of the static configuration.
fn of_start(member: &str) -> Place {
    Place { file: member.into(), line: 0 }
}

fn said<T>(value: T, at: &Place) -> Setting<T> {
    Setting { value, at: at.clone() }
}

struct Reader<'a> {
    started: &'a Static,
    parts: &'a [(Arc<str>, Dynamic)],
    transports: HashMap<&'a str, (&'a Transport, Place)>,
    tcp_transports: HashMap<&'a str, (&'a TcpTransport, Place)>,
    intent: Intent,
    known: HashMap<Target, usize>,
    size: usize,
}

impl<'a> Reader<'a> {
    fn new(started: &'a Static, parts: &'a [(Arc<str>, Dynamic)]) -> Self {
        let of_http = |part: &'a Dynamic| &part.http.servers_transports;
        let transports = counted(parts, "http.serversTransports", of_http).into_iter();
        let transports = transports.map(|(at, name, one)| (name, (one, at))).collect();
        let of_tcp = |part: &'a Dynamic| &part.tcp.servers_transports;
        let tcp_transports = counted(parts, "tcp.serversTransports", of_tcp).into_iter();
        let tcp_transports = tcp_transports.map(|(at, name, one)| (name, (one, at))).collect();
        let (intent, known) = (Intent::default(), HashMap::new());
        Self { started, parts, transports, tcp_transports, intent, known, size: 0 }
    }

    fn http(
        &mut self,
        name: &str,
        balancer: &LoadBalancer<HttpServer>,
        at: &Place,
    ) -> Result<(), Fault> {
        let tls = self.http_tls(&balancer.servers_transport, at);
        self.declare(name);
        for server in &balancer.servers {
            let Some(url) = url(&server.url) else {
                self.unknown_server(HTTP, name, &server.url, at)?;
                continue;
            };
            let weight = server.weight.unwrap_or(1);
            self.server(name, HTTP, &url, weight, &tls, at)?;
            if let Some(check) = &balancer.health_check
                && let Some(checked) = checked(check, &url)
            {
                self.alone_at(("healthCheck", RouteKind::Plain), &checked, tls.clone(), at)?;
            }
        }
        self.end(HTTP, name, at)
    }

    fn tcp(
        &mut self,
        name: &str,
        balancer: &LoadBalancer<TcpServer>,
        at: &Place,
    ) -> Result<(), Fault> {
        let tls = self.tcp_tls(&balancer.servers_transport, at);
        let passed_on = self.passed_on(name);
        self.declare(name);
        let is_refused = tls.verifies() == Stated::Yes && tls.name.is_none();
        if is_refused && balancer.servers.iter().any(|server| server.tls) {
            let text = || {
                format!("service \"{name}\": by TLS Traefik connects to nobody without serverName")
            };
            remark(&mut self.intent.remarks, at, text);
        }
        for server in &balancer.servers {
            let scheme = if server.tls { Scheme::Tls } else { passed_on };
            match address(&server.address, None) {
                Some((host, address)) => {
                    let url = Url { scheme, host, address };
                    self.server(name, TCP, &url, 1, &tls, at)?;
                    if let Some(check) = &balancer.health_check
                        && let Some(checked) = checked_by_tcp(check, server.tls, &url)
                    {
                        let by = ("healthCheck", RouteKind::Stream);
                        self.alone_at(by, &checked, tls.clone(), at)?;
                    }
                }
                None => self.unknown_server(TCP, name, &server.address, at)?,
            }
        }
        self.end(TCP, name, at)
    }

    /// TLS by the transport of this name.
    fn http_tls(&self, name: &str, at: &Place) -> TlsIntent {
        let of_all = self.started.servers_transport.as_ref();
        let of_all = || tls::by(of_all, &of_start("serversTransport"));
        transport(&self.transports, name, at, of_all, |one, at| tls::by(Some(one), at))
    }

    fn tcp_tls(&self, name: &str, at: &Place) -> TlsIntent {
        let of_all = self.started.tcp_servers_transport.as_ref();
        let of_all = || tls::by_tcp(of_all, &of_start("tcpServersTransport"));
        transport(&self.tcp_transports, name, at, of_all, |one, at| tls::by_tcp(Some(one), at))
    }

    /// How a TCP server without TLS of its own is spoken to: in the clear where Traefik ended the TLS
    /// that came in, else as it came.
    fn passed_on(&self, service: &str) -> Scheme {
        let routers = counted(self.parts, "tcp.routers", |part| &part.tcp.routers);
        let routers = routers.into_iter().map(|(.., router)| router);
        let name = |router: &&TcpRouter| {
            router.service.strip_suffix("@file").unwrap_or(&router.service) == service
        };
        let schemes = routers.filter(name).map(|router| match &router.tls {
            Some(RouterTls { is_ended: true }) => Scheme::Plaintext,
            Some(RouterTls { is_ended: false }) | None => Scheme::Passthrough,
        });
        schemes
            .reduce(|one, other| if one == other { one } else { Scheme::Unknown })
            .unwrap_or(Scheme::Unknown)
    }

    fn position(&mut self, target: Target, listing: Servers) -> usize {
        let upstreams = &mut self.intent.upstreams;
        *self.known.entry(target.clone()).or_insert_with(|| {
            upstreams.push(UpstreamIntent {
                target,
                servers: Vec::new(),
                listing,
                routes: Vec::new(),
                by_variable: Arc::default(),
            });
            upstreams.len() - 1
        })
    }

    fn declare(&mut self, name: &str) -> usize {
        self.position(Target::Group(name.to_owned()), Servers::Listed)
    }

    fn server(
        &mut self,
        name: &str,
        by: Led,
        url: &Url,
        weight: u32,
        tls: &TlsIntent,
        at: &Place,
    ) -> Result<(), Fault> {
        let position = self.declare(name);
        let server = Server { weight, ..Server::new(url.address.clone(), at.clone()) };
        self.intent.upstreams[position].servers.push(server);
        let only = vec![url.address.clone()];
        self.add(position, route(by, at, only, url, tls.clone()))
    }

    /// A server whose address cannot be read.
    fn unknown_server(
        &mut self,
        (directive, kind): Led,
        name: &str,
        text: &str,
        at: &Place,
    ) -> Result<(), Fault> {
        let position = self.declare(name);
        self.intent.upstreams[position].listing = Servers::Dynamic;
        let mut tls = TlsIntent::default();
        tls.leave_open(&said(text.to_owned(), at));
        let route = Route::new(directive, at.clone(), Scheme::Unknown, tls);
        self.add(position, Route { kind, ..route })
    }

    /// A service without servers leads nowhere yet.
    fn end(&mut self, by: Led, name: &str, at: &Place) -> Result<(), Fault> {
        let position = self.declare(name);
        if self.intent.upstreams[position].routes.is_empty() {
            let text = || format!("service \"{name}\" has no server");
            remark(&mut self.intent.remarks, at, text);
            return self.unknown_server(by, name, "no server", at);
        }
        Ok(())
    }

    /// Somebody who is asked beside the services.
    fn alone(
        &mut self,
        directive: &'static str,
        text: &str,
        at: &Place,
        tls: impl Fn(&Self) -> TlsIntent,
    ) -> Result<(), Fault> {
        match url(text) {
            Some(url) => self.alone_at((directive, RouteKind::Plain), &url, tls(self), at),
            None => Ok(()),
        }
    }

    fn alone_at(&mut self, by: Led, url: &Url, tls: TlsIntent, at: &Place) -> Result<(), Fault> {
        let target = Target::Address(url.address.clone());
        let position = self.position(target, Servers::Listed);
        let upstream = &mut self.intent.upstreams[position];
        if upstream.servers.is_empty() {
            upstream.servers.push(Server::new(url.address.clone(), at.clone()));
        }
        self.add(position, route(by, at, Vec::new(), url, tls))
    }

    fn add(&mut self, position: usize, route: Route) -> Result<(), Fault> {
        self.size += route.size();
        if self.size > MAX_SIZE {
            let text = format!("there are more than {MAX_SIZE} bytes of servers");
            return Err(Fault { at: route.at, text });
        }
        let routes = &mut self.intent.upstreams[position].routes;
        // Servers of a service are alike again and again; of one address one is enough.
        if routes.last() != Some(&route) {
            routes.push(route);
        }
        Ok(())
    }
}

/// TLS by the transport of this name, or by the one of the static configuration.
fn transport<T>(
    known: &HashMap<&str, (&T, Place)>,
    name: &str,
    at: &Place,
    of_all: impl Fn() -> TlsIntent,
    by: impl Fn(&T, &Place) -> TlsIntent,
) -> TlsIntent {
    let name = name.strip_suffix("@file").unwrap_or(name);
    match known.get(name).filter(|_| !name.is_empty()) {
        // One that is called `default` takes the place of the one in the static configuration.
        Some((transport, at)) => by(transport, at),
        None if ["", "default", "default@internal"].contains(&name) => of_all(),
        None => {
            let mut tls = TlsIntent::default();
            tls.leave_open(&said(format!("serversTransport {name}"), at));
            tls
        }
    }
}

fn route(
    (directive, kind): Led,
    at: &Place,
    only: Vec<ServerAddress>,
    url: &Url,
    tls: TlsIntent,
) -> Route {
    // Over TCP the address is no name.
    let is_named = kind != RouteKind::Stream;
    let default_name = is_named.then(|| Text::Literal(url.host.clone()));
    Route { kind, only, default_name, ..Route::new(directive, at.clone(), url.scheme, tls) }
}

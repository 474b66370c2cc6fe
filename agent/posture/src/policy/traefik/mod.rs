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

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub use api::{Dynamic, FileProvider, Static};

use self::{
    api::{HttpServer, LoadBalancer, RouterTls, TcpRouter, TcpServer, TcpTransport, Transport},
    url::{Url, address, checked, url},
};
use super::intent::{
    Fault, Intent, Place, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, Text,
    TlsIntent, UpstreamIntent, remark,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;

/// What the parts of a dynamic configuration say, each with the name of its file.
///
/// # Errors
/// More servers than are taken.
pub fn read(started: &Static, parts: &[(Arc<str>, Dynamic)]) -> Result<Intent, Fault> {
    let mut out = Reader::new(started, parts);
    for (file, part) in parts {
        for (name, service) in &part.http.services {
            if let Some(balancer) = &service.load_balancer {
                let at = place(file, &format!("http.services.{name}"));
                out.http(name, balancer, &at)?;
            }
        }
        for (name, service) in &part.tcp.services {
            if let Some(balancer) = &service.load_balancer {
                let at = place(file, &format!("tcp.services.{name}"));
                out.tcp(name, balancer, &at)?;
            }
        }
        for (name, middleware) in &part.http.middlewares {
            if let Some(asked) = &middleware.forward_auth {
                let at = place(file, &format!("http.middlewares.{name}"));
                let tls = |_: &Reader<'_>| tls::of_client(asked.tls.as_ref(), &at);
                out.alone("forwardAuth", &asked.address, &at, tls)?;
            }
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
    let services = parts.iter().flat_map(|(_, part)| &part.http.services);
    let balanced = services.filter_map(|(name, one)| Some((name, one.load_balancer.as_ref()?)));
    let urls =
        |one: &LoadBalancer<HttpServer>| one.servers.iter().map(|it| it.url.clone()).collect();
    balanced.map(|(name, balancer)| (format!("{name}@file"), urls(balancer))).collect()
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
        let (mut transports, mut tcp_transports) = (HashMap::new(), HashMap::new());
        for (file, part) in parts {
            for (name, transport) in &part.http.servers_transports {
                let at = place(file, &format!("http.serversTransports.{name}"));
                transports.insert(name.as_str(), (transport, at));
            }
            for (name, transport) in &part.tcp.servers_transports {
                let at = place(file, &format!("tcp.serversTransports.{name}"));
                tcp_transports.insert(name.as_str(), (transport, at));
            }
        }
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
                self.unknown_server(name, &server.url, at)?;
                continue;
            };
            let weight = server.weight.unwrap_or(1);
            self.server(name, "loadBalancer", &url, weight, &tls, at)?;
            if let Some(check) = &balancer.health_check
                && let Some(checked) = checked(check, &url)
            {
                self.alone_at("healthCheck", &checked, tls.clone(), at)?;
            }
        }
        self.end(name, at)
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
        for server in &balancer.servers {
            let scheme = if server.tls { Scheme::Tls } else { passed_on };
            match address(&server.address, None) {
                Some((host, address)) => {
                    let url = Url { scheme, host, address };
                    self.server(name, "loadBalancer", &url, 1, &tls, at)?;
                }
                None => self.unknown_server(name, &server.address, at)?,
            }
        }
        self.end(name, at)
    }

    /// TLS by the transport of this name.
    fn http_tls(&self, name: &str, at: &Place) -> TlsIntent {
        let name = name.strip_suffix("@file").unwrap_or(name);
        if ["", "default", "default@internal"].contains(&name) {
            // One that is called so takes the place of the one in the static configuration.
            let own = self.transports.get("default").filter(|_| name == "default");
            return match (own, &self.started.servers_transport) {
                (Some((transport, at)), _) => tls::by(Some(transport), at),
                (None, of_all) => tls::by(of_all.as_ref(), &of_start("serversTransport")),
            };
        }
        match self.transports.get(name) {
            Some((transport, at)) => tls::by(Some(transport), at),
            None => unknown_transport(name, at),
        }
    }

    fn tcp_tls(&self, name: &str, at: &Place) -> TlsIntent {
        let name = name.strip_suffix("@file").unwrap_or(name);
        if ["", "default", "default@internal"].contains(&name) {
            let of_all = self.started.tcp_servers_transport.as_ref();
            let of_all = of_all.and_then(|transport| transport.tls.as_ref());
            return tls::by(of_all, &of_start("tcpServersTransport"));
        }
        match self.tcp_transports.get(name) {
            Some((transport, at)) => tls::by(transport.tls.as_ref(), at),
            None => unknown_transport(name, at),
        }
    }

    /// How a TCP server without TLS of its own is spoken to: in the clear where Traefik ended the TLS
    /// that came in, else as it came.
    fn passed_on(&self, service: &str) -> Scheme {
        let routers = self.parts.iter().flat_map(|(_, part)| part.tcp.routers.values());
        let name = |router: &&TcpRouter| {
            router.service.strip_suffix("@file").unwrap_or(&router.service) == service
        };
        let schemes = routers.filter(name).map(|router| match &router.tls {
            Some(RouterTls::Is(true) | RouterTls::Of { passthrough: false }) => Scheme::Plaintext,
            Some(RouterTls::Is(false) | RouterTls::Of { passthrough: true }) | None => {
                Scheme::Passthrough
            }
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
        directive: &str,
        url: &Url,
        weight: u32,
        tls: &TlsIntent,
        at: &Place,
    ) -> Result<(), Fault> {
        let position = self.declare(name);
        let server = Server { weight, ..Server::new(url.address.clone(), at.clone()) };
        self.intent.upstreams[position].servers.push(server);
        let only = vec![url.address.clone()];
        self.add(position, route(directive, at, only, url, tls.clone()))
    }

    /// A server whose address cannot be read.
    fn unknown_server(&mut self, name: &str, text: &str, at: &Place) -> Result<(), Fault> {
        let position = self.declare(name);
        self.intent.upstreams[position].listing = Servers::Dynamic;
        let mut tls = TlsIntent::default();
        tls.leave_open(&said(text.to_owned(), at));
        let (scheme, directive) = (Scheme::Unknown, "loadBalancer".to_owned());
        let (at, only) = (at.clone(), Vec::new());
        self.add(position, Route { directive, at, only, scheme, tls, default_name: None })
    }

    /// A service without servers leads nowhere yet.
    fn end(&mut self, name: &str, at: &Place) -> Result<(), Fault> {
        let position = self.declare(name);
        if self.intent.upstreams[position].routes.is_empty() {
            let text = || format!("service \"{name}\" has no server");
            remark(&mut self.intent.remarks, at, text);
            return self.unknown_server(name, "no server", at);
        }
        Ok(())
    }

    /// Somebody who is asked beside the services.
    fn alone(
        &mut self,
        directive: &str,
        text: &str,
        at: &Place,
        tls: impl Fn(&Self) -> TlsIntent,
    ) -> Result<(), Fault> {
        match url(text) {
            Some(url) => self.alone_at(directive, &url, tls(self), at),
            None => Ok(()),
        }
    }

    fn alone_at(
        &mut self,
        directive: &str,
        url: &Url,
        tls: TlsIntent,
        at: &Place,
    ) -> Result<(), Fault> {
        let target = Target::Address(url.address.clone());
        let position = self.position(target, Servers::Listed);
        let upstream = &mut self.intent.upstreams[position];
        if upstream.servers.is_empty() {
            upstream.servers.push(Server::new(url.address.clone(), at.clone()));
        }
        self.add(position, route(directive, at, Vec::new(), url, tls))
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

fn unknown_transport(name: &str, at: &Place) -> TlsIntent {
    let mut tls = TlsIntent::default();
    tls.leave_open(&said(format!("serversTransport {name}"), at));
    tls
}

fn route(
    directive: &str,
    at: &Place,
    only: Vec<ServerAddress>,
    url: &Url,
    tls: TlsIntent,
) -> Route {
    let default_name = Some(Text::Literal(url.host.clone()));
    let (directive, at, scheme) = (directive.to_owned(), at.clone(), url.scheme);
    Route { directive, at, only, scheme, tls, default_name }
}

//! Caddy's configuration, as its admin interface shows it (`/config/`) or as it lies in a JSON file, for
//! what it says about the upstreams of `reverse_proxy`.
//!
//! Covered: every server's routes, subroutes, named and error routes, responses that are handled;
//! the transports `http` and `fastcgi`. Not evaluated: placeholders, dynamic upstreams, and transports
//! of other modules, which are `unknown`. A Caddyfile is not read: Caddy itself makes JSON of it.

mod api;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

pub use api::{Admin, Config};

use self::api::{Handler, Route as HttpRoute, Tls};
use super::intent::{
    Fault, Intent, Place, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, Text,
    TlsIntent, UpstreamIntent, remark,
};

/// Bytes that the routes of a configuration may take in memory.
const MAX_SIZE: usize = 24 << 20;
/// Settings of TLS that say nothing about who is spoken to, and how.
const OTHERS: [&str; 3] = ["curves", "handshake_timeout", "renegotiation"];
/// Nesting of routes in handlers.
const MAX_DEPTH: usize = 48;

/// What a configuration says.
///
/// # Errors
/// More routes, or deeper ones, than are taken.
pub fn read(config: &Config) -> Result<Intent, Fault> {
    let mut walk = Walk::default();
    for (name, server) in &config.apps.http.servers {
        let path = format!("apps/http/servers/{name}");
        walk.routes(&server.routes, &format!("{path}/routes"), 0)?;
        for (named, route) in &server.named_routes {
            walk.route(route, &format!("{path}/named_routes/{named}"), 0)?;
        }
        if let Some(errors) = &server.errors {
            walk.routes(&errors.routes, &format!("{path}/errors/routes"), 0)?;
        }
    }
    let mut intent = walk.intent;
    if config.apps.layer4.is_some() {
        let text = || "connections of another module, which is not read".to_owned();
        remark(&mut intent.remarks, &place("apps/layer4"), text);
    }
    Ok(intent)
}

fn place(path: &str) -> Place {
    Place { file: path.into(), line: 0 }
}

#[derive(Default)]
struct Walk {
    intent: Intent,
    known: HashMap<Target, usize>,
    size: usize,
}

impl Walk {
    fn routes(&mut self, routes: &[HttpRoute], path: &str, depth: usize) -> Result<(), Fault> {
        for (position, route) in routes.iter().enumerate() {
            self.route(route, &format!("{path}/{position}"), depth)?;
        }
        Ok(())
    }

    fn route(&mut self, route: &HttpRoute, path: &str, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            let text = format!("routes are nested more than {MAX_DEPTH} deep");
            return Err(Fault { at: place(path), text });
        }
        for (position, handler) in route.handle.iter().enumerate() {
            let path = format!("{path}/handle/{position}");
            self.routes(&handler.routes, &format!("{path}/routes"), depth + 1)?;
            if let Some(errors) = &handler.errors {
                self.routes(&errors.routes, &format!("{path}/errors/routes"), depth + 1)?;
            }
            for (number, response) in handler.handle_response.iter().enumerate() {
                let path = format!("{path}/handle_response/{number}/routes");
                self.routes(&response.routes, &path, depth + 1)?;
            }
            if handler.name == "reverse_proxy" {
                self.proxy(handler, &path)?;
            }
        }
        Ok(())
    }

    fn proxy(&mut self, handler: &Handler, path: &str) -> Result<(), Fault> {
        let at = place(path);
        for upstream in &handler.upstreams {
            let target = target(&upstream.dial);
            let checked = checked(handler, &target).filter(|checked| *checked != target);
            self.add(&handler.name, target, handler, &at)?;
            if let Some(checked) = checked {
                self.add("health_checks", checked, handler, &at)?;
            }
        }
        if handler.dynamic_upstreams.is_some() {
            let target = Target::Variable(format!("dynamic_upstreams of {path}"));
            self.add(&handler.name, target, handler, &at)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        directive: &str,
        target: Target,
        handler: &Handler,
        at: &Place,
    ) -> Result<(), Fault> {
        let (scheme, tls) = spoken(handler, &target, at);
        let default_name = match &target {
            Target::Address(ServerAddress::Ip(address)) => {
                Some(Text::Literal(address.ip().to_string()))
            }
            Target::Address(ServerAddress::Host(host, _)) => Some(Text::Literal(host.clone())),
            Target::Variable(expression) => Some(Text::Variable(expression.clone())),
            Target::Group(_) | Target::Address(ServerAddress::Unix(_)) => None,
        };
        let route = Route { default_name, ..Route::new(directive, at.clone(), scheme, tls) };
        self.size += route.size();
        if self.size > MAX_SIZE {
            let text = format!("there are more than {MAX_SIZE} bytes of routes");
            return Err(Fault { at: at.clone(), text });
        }
        if let Some(&known) = self.known.get(&target) {
            self.intent.upstreams[known].routes.push(route);
            return Ok(());
        }
        self.known.insert(target.clone(), self.intent.upstreams.len());
        let (servers, listing) = match &target {
            Target::Address(address) => {
                (vec![Server::new(address.clone(), at.clone())], Servers::Listed)
            }
            Target::Group(_) | Target::Variable(_) => (Vec::new(), Servers::Dynamic),
        };
        self.intent.upstreams.push(UpstreamIntent {
            target,
            servers,
            listing,
            routes: vec![route],
            by_variable: Arc::default(),
        });
        Ok(())
    }
}

/// A network address (`caddy.ParseNetworkAddress`): `host:port`, with a network before a slash.
fn target(dial: &str) -> Target {
    let variable = || Target::Variable(dial.to_owned());
    if dial.contains('{') {
        return variable();
    }
    let (network, rest) = dial.split_once('/').unwrap_or(("", dial));
    match network {
        "unix" | "unix+h2c" => return Target::Address(ServerAddress::Unix(rest.into())),
        "" | "tcp" | "tcp4" | "tcp6" => {}
        _ => return variable(),
    }
    let Some((host, port)) = rest.rsplit_once(':') else { return variable() };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let Ok(port) = port.parse::<u16>() else { return variable() };
    // Without a host Go connects to this machine.
    let host = if host.is_empty() { "localhost" } else { host };
    Target::Address(match host.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => ServerAddress::Host(host.to_owned(), port),
    })
}

/// Where the health of an upstream is checked; `None` where it is not, or where it is.
fn checked(handler: &Handler, upstream: &Target) -> Option<Target> {
    let active = &handler.health_checks.active;
    let is_on = !(active.path.is_empty() && active.uri.is_empty() && active.port == 0);
    if is_on && !active.upstream.is_empty() {
        return Some(target(&active.upstream));
    }
    match upstream {
        Target::Address(address) if active.port != 0 => {
            Some(Target::Address(address.with_port(active.port)))
        }
        _ => None,
    }
}

fn port(target: &Target) -> Option<u16> {
    match target {
        Target::Address(ServerAddress::Ip(address)) => Some(address.port()),
        Target::Address(ServerAddress::Host(_, port)) => Some(*port),
        Target::Address(ServerAddress::Unix(_)) | Target::Group(_) | Target::Variable(_) => None,
    }
}

fn spoken(handler: &Handler, target: &Target, at: &Place) -> (Scheme, TlsIntent) {
    let Some(transport) = &handler.transport else {
        return (Scheme::Plaintext, TlsIntent::default());
    };
    match (transport.protocol.as_str(), &transport.tls) {
        ("http", None) | ("fastcgi", _) => (Scheme::Plaintext, TlsIntent::default()),
        ("http", Some(tls)) => {
            let port = port(target).as_ref().map(ToString::to_string);
            let is_excepted = port.is_some_and(|port| tls.except_ports.contains(&port));
            let scheme = match () {
                () if is_excepted => Scheme::Plaintext,
                () if port_is_open(target) && !tls.except_ports.is_empty() => Scheme::Unknown,
                () => Scheme::Tls,
            };
            (scheme, intent(tls, at))
        }
        (other, _) => {
            let mut tls = TlsIntent::default();
            tls.leave_open(&said(format!("transport {other}"), at));
            (Scheme::Unknown, tls)
        }
    }
}

const fn port_is_open(target: &Target) -> bool {
    matches!(target, Target::Variable(_))
}

fn said<T>(value: T, at: &Place) -> Setting<T> {
    Setting { value, at: at.clone() }
}

/// A text in which a `{placeholder}` is decided by the request.
fn text(value: &str) -> Text {
    if value.contains('{') {
        Text::Variable(value.to_owned())
    } else {
        Text::Literal(value.to_owned())
    }
}

fn intent(tls: &Tls, at: &Place) -> TlsIntent {
    let written = |value: &str| (!value.is_empty()).then(|| said(text(value), at));
    let automated = &tls.client_certificate_automate;
    let certificate = match automated.as_str() {
        "" => written(&tls.client_certificate_file),
        name => Some(said(Text::Literal(format!("automate:{name}")), at)),
    };
    let provider = tls.ca.as_ref();
    let files = provider.map_or(&[][..], |one| &one.pem_files).iter();
    let authority = TlsIntent::one_file(files.chain(&tls.root_ca_pem_files).cloned());
    let authority = authority
        .or_else(|| provider.map(|one| format!("store:{}", one.provider)))
        .or_else(|| (!tls.root_ca_pool.is_empty()).then(|| "data:".to_owned()));
    let mut intent = TlsIntent {
        certificate,
        certificate_key: written(&tls.client_certificate_key_file),
        // Go verifies chain and name unless it is told not to; by the machine's authorities where no
        // others are named.
        verify: Some(said(!tls.insecure_skip_verify, at)),
        trusted_certificate: authority.map(|authority| said(authority, at)),
        name: written(&tls.server_name),
        server_name: Some(said(true, at)),
        // Of `crypto/tls`: from 1.2 on, and without a cache of sessions.
        protocols: Some(said(vec!["TLSv1.2".to_owned(), "TLSv1.3".to_owned()], at)),
        session_reuse: Some(said(false, at)),
        ..TlsIntent::default()
    };
    if let Some(by) = tls.more.keys().find(|key| !OTHERS.contains(&key.to_lowercase().as_str())) {
        intent.leave_open(&said(by.clone(), at));
    }
    intent
}

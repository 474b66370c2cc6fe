//! The addresses of servers.

use std::net::{IpAddr, SocketAddr};

use super::api::HealthCheck;
use crate::policy::intent::{Scheme, ServerAddress};

/// Whom a URL leads to.
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) address: ServerAddress,
}

/// Reads the URL of a server; `None` for what is none.
pub(super) fn url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" | "h2c" | "ws" => (Scheme::Plaintext, 80),
        "https" | "wss" => (Scheme::Tls, 443),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, address) = address(authority, Some(port))?;
    Some(Url { scheme, host, address })
}

/// Host and port.
pub(super) fn address(text: &str, default_port: Option<u16>) -> Option<(String, ServerAddress)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default_port?,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return None;
    }
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => ServerAddress::Host(host.to_owned(), port),
    };
    Some((host.to_owned(), address))
}

/// Where health checks go, if they speak otherwise than traffic.
pub(super) fn checked(check: &HealthCheck, traffic: &Url) -> Option<Url> {
    let scheme = check.scheme.to_ascii_lowercase();
    let scheme = match (check.mode.as_str(), scheme.as_str()) {
        // Those of gRPC are in the clear, or fail before they connect.
        ("grpc", "" | "http" | "h2c") | (_, "http" | "h2c") => Scheme::Plaintext,
        ("grpc", _) => return None,
        (_, "https") => Scheme::Tls,
        _ => traffic.scheme,
    };
    other(scheme, check.port, traffic)
}

/// The same of a TCP server, which is spoken to as traffic is; what has no TLS may send nothing at all.
pub(super) fn checked_by_tcp(check: &HealthCheck, is_tls: bool, traffic: &Url) -> Option<Url> {
    match (is_tls, check.send.is_empty()) {
        (true, _) => other(Scheme::Tls, check.port, traffic),
        (false, true) => None,
        (false, false) => other(Scheme::Plaintext, check.port, traffic),
    }
}

fn other(scheme: Scheme, port: Option<u16>, traffic: &Url) -> Option<Url> {
    let address = match port {
        None | Some(0) => traffic.address.clone(),
        Some(port) => traffic.address.with_port(port),
    };
    let is_other = scheme != traffic.scheme || address != traffic.address;
    is_other.then(|| Url { scheme, host: traffic.host.clone(), address })
}

//! Which names a request may be for.
//!
//! A page on the Internet can have a browser on this machine ask for it at a name of the page's own
//! that leads here (DNS rebinding). Such a name has a dot in it and is nobody's here: it is refused.

use std::{net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// Domains that nobody on the Internet has (RFC 6761, RFC 6762, RFC 9476, and Kubernetes' own).
const PRIVATE: [&str; 5] = ["localhost", "local", "internal", "alt", "svc"];

/// The names beside those that lead to nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Arc<[String]>);

impl<N: Into<String>> FromIterator<N> for Hosts {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.into().to_ascii_lowercase()).collect())
    }
}

impl Hosts {
    /// Whether a request is for this machine, and comes from no page of another.
    pub(super) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let host = uri.authority().map(ToString::to_string);
        let host = host.or_else(|| headers.get(header::HOST).map(text));
        let origin = headers.get(header::ORIGIN).map(text);
        // A browser always says a host.
        let is_ours = host.as_deref().is_none_or(|host| self.includes(name_of(host)));
        is_ours
            && origin.is_none_or(|origin| {
                let rest = origin.split_once("://").map(|(_, rest)| rest.to_ascii_lowercase());
                rest == host.map(|host| host.to_ascii_lowercase())
            })
    }

    fn includes(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_address = || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_private = || match name.rsplit_once('.') {
            None => true,
            Some((_, last)) => PRIVATE.contains(&last) || name.ends_with(".svc.cluster.local"),
        };
        is_address() || is_private() || self.0.contains(&name)
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_lead_to_nobody_else() {
        let hosts = Hosts::from_iter(["Metrics.Example.com"]);
        for (host, origin, expected) in [
            (Some("localhost:9464"), None, true),
            (Some("127.0.0.1:9464"), None, true),
            (Some("[::1]:9464"), None, true),
            (Some("[2001:db8::1]"), None, true),
            (Some("node-1:9464"), None, true),
            (Some("hopsight.monitoring.svc:9464"), None, true),
            (Some("hopsight.monitoring.svc.cluster.local"), None, true),
            (Some("metrics.example.com:9464"), None, true),
            (Some("evil.example.net:9464"), None, false),
            (Some("localhost.evil.net"), None, false),
            (None, None, true),
            (Some("localhost:9464"), Some("http://localhost:9464"), true),
            (Some("localhost:9464"), Some("http://evil.example.net"), false),
            (Some("localhost:9464"), Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                let value = value.map(HeaderValue::from_static);
                headers.extend(value.map(|value| (name, value)));
            }
            let allowed = hosts.allow(&Uri::from_static("/hops"), &headers);
            assert_eq!(allowed, expected, "{host:?} {origin:?}");
        }
    }
}

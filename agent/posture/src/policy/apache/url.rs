//! The addresses that `ProxyPass`, `BalancerMember` and `RewriteRule` are given.

use std::net::{IpAddr, SocketAddr};

use crate::policy::intent::{Scheme, ServerAddress};

/// Whom a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// An address.
    Address(ServerAddress),
    /// A balancer, by its name.
    Balancer(String),
    /// The request decides.
    Open,
}

/// A URL as far as it says who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) to: To,
    pub(super) scheme: Scheme,
    /// The name that stands there: in the certificate, and sent.
    pub(super) host: Option<String>,
    /// All of it that is certain, which sections `<Proxy>` are compared with.
    pub(super) text: String,
}

/// Schemes (`mod_proxy`'s and its modules'), how they speak, and their ports.
const SCHEMES: [(&str, Scheme, u16); 11] = [
    ("http", Scheme::Plaintext, 80),
    ("ws", Scheme::Plaintext, 80),
    ("h2c", Scheme::Plaintext, 80),
    ("https", Scheme::Tls, 443),
    ("wss", Scheme::Tls, 443),
    ("h2", Scheme::Tls, 443),
    ("ajp", Scheme::Plaintext, 8009),
    ("fcgi", Scheme::Plaintext, 8000),
    ("scgi", Scheme::Plaintext, 4000),
    ("uwsgi", Scheme::Plaintext, 3031),
    ("ftp", Scheme::Plaintext, 21),
];

impl Url {
    /// Its scheme, if it speaks in the clear and is another than `http`.
    pub(super) fn other_scheme(&self) -> Option<&'static str> {
        let spoken = self.text.rsplit_once('|').map_or(&*self.text, |(_, spoken)| spoken);
        let (scheme, _) = spoken.split_once("://")?;
        let is_it = |(name, ..): &&(&str, Scheme, u16)| name.eq_ignore_ascii_case(scheme);
        let (name, spoken, _) = SCHEMES.iter().find(is_it)?;
        (*spoken == Scheme::Plaintext && *name != "http").then_some(*name)
    }
}

/// Reads a URL; a `$1` in it begins with a slash if the pattern that it is of does. `Err` for what
/// Apache does not accept.
pub(super) fn parse(text: &str, pattern: Option<&str>) -> Result<Url, ()> {
    let open = |scheme, certain: &str| {
        Ok(Url { to: To::Open, scheme, host: None, text: certain.to_owned() })
    };
    if let Some(rest) = text.strip_prefix("unix:") {
        let (path, spoken) = rest.split_once('|').ok_or(())?;
        let inner = parse(spoken, pattern)?;
        let to = To::Address(ServerAddress::Unix(path.into()));
        return Ok(Url { to, text: text.to_owned(), ..inner });
    }
    let begins_open = text.find(['$', '%']);
    let Some((scheme, rest)) = text.split_once("://") else {
        return if begins_open.is_some() { open(Scheme::Unknown, "") } else { Err(()) };
    };
    if scheme.contains(['$', '%']) {
        return open(Scheme::Unknown, "");
    }
    let known = SCHEMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
    let is_balancer = scheme.eq_ignore_ascii_case("balancer");
    let (spoken, port) =
        known.map_or((Scheme::Unknown, None), |(_, how, port)| (*how, Some(*port)));
    let begins_with_slash = |reference: &str| {
        reference.starts_with("%{REQUEST_URI}")
            || (reference.starts_with("$1") && pattern.is_some_and(begins_its_group_with_slash))
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let end = match rest[..end].find(['$', '%']) {
        Some(at) if begins_with_slash(&rest[at..]) => at,
        // What is certain ends there.
        Some(at) => {
            let certain = text.len() - rest.len() + at;
            return open(spoken, &text[..certain]);
        }
        None => end,
    };
    let authority = &rest[..end];
    let certain = begins_open.map_or(text, |at| &text[..at]).to_owned();
    if is_balancer {
        if authority.is_empty() {
            return Err(());
        }
        let to = To::Balancer(authority.to_ascii_lowercase());
        return Ok(Url { to, scheme: Scheme::Unknown, host: None, text: certain });
    }
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, said) = host_and_port(authority).ok_or(())?;
    let Some(port) = said.or(port) else { return open(spoken, &certain) };
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => ServerAddress::Host(host.to_owned(), port),
    };
    let host = Some(host.to_owned());
    Ok(Url { to: To::Address(address), scheme: spoken, host, text: certain })
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse::<u16>().ok()?),
    };
    (!host.is_empty()).then_some((host, port))
}

/// Whether the first group of a regular expression takes in a slash first.
fn begins_its_group_with_slash(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some(at) = rest.find(['(', '\\', '[']) {
        match &rest[at..] {
            group if group.starts_with('(') => {
                let inside = &group[1..];
                // `(/a|b)` may begin with `b`, `(/?…)` and `(/*…)` with something else.
                let end = inside.find(')').unwrap_or(inside.len());
                let repeats = inside.get(1..).is_some_and(|next| next.starts_with(['?', '*', '{']));
                return inside.starts_with('/') && !inside[..end].contains('|') && !repeats;
            }
            escaped if escaped.starts_with('\\') => {
                let skipped = escaped.chars().take(2).map(char::len_utf8).sum::<usize>();
                rest = &escaped[skipped..];
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, pattern, expected) in [
            ("http://10.0.0.1/", None, Ok("plaintext 10.0.0.1:80")),
            ("https://app.internal:8443/a", None, Ok("tls app.internal:8443")),
            ("HTTPS://app.internal", None, Ok("tls app.internal:443")),
            ("https://[2001:db8::1]:8443/", None, Ok("tls [2001:db8::1]:8443")),
            ("wss://10.0.0.1/ws", None, Ok("tls 10.0.0.1:443")),
            ("ajp://10.0.0.1/app", None, Ok("plaintext 10.0.0.1:8009")),
            ("h2://10.0.0.1", None, Ok("tls 10.0.0.1:443")),
            ("balancer://App/x", None, Ok("unknown balancer app")),
            ("unix:/run/app.sock|http://localhost/", None, Ok("plaintext unix:/run/app.sock")),
            ("gopher://10.0.0.1/", None, Ok("unknown open")),
            ("https://10.0.0.1:8443$1", Some("^(/.*)$"), Ok("tls 10.0.0.1:8443")),
            ("https://10.0.0.1:84$1", Some("^/(.*)$"), Ok("tls open")),
            ("https://10.0.0.1:84$1", Some("^(/a|b)$"), Ok("tls open")),
            ("https://10.0.0.1:84$1", Some("^(/?.*)$"), Ok("tls open")),
            ("https://10.0.0.1:84$1", Some(r"^\((/.*)$"), Ok("tls 10.0.0.1:84")),
            ("https://10.0.0.1:8443%{REQUEST_URI}", None, Ok("tls 10.0.0.1:8443")),
            ("https://10.0.0.1:8443/$1", Some("x"), Ok("tls 10.0.0.1:8443")),
            ("https://%{HTTP_HOST}/$1", None, Ok("tls open")),
            ("%{REQUEST_SCHEME}://10.0.0.1/", None, Ok("unknown open")),
            ("${map:$1}", None, Ok("unknown open")),
            ("/local", None, Err(())),
            ("http://10.0.0.1:http/", None, Err(())),
            ("http:///", None, Err(())),
            ("balancer:///", None, Err(())),
            ("unix:/run/app.sock", None, Err(())),
        ] {
            let found = parse(text, pattern).map(|url| match url.to {
                To::Address(address) => format!("{} {address}", url.scheme),
                To::Balancer(name) => format!("{} balancer {name}", url.scheme),
                To::Open => format!("{} open", url.scheme),
            });
            assert_eq!(found.as_deref(), expected.as_ref().copied().map_err(|()| &()), "{text}");
        }
    }

    #[test]
    fn what_is_certain_ends_where_the_request_decides() {
        for (text, expected) in [
            ("https://a.internal/b/$1", "https://a.internal/b/"),
            ("https://$1.internal/", "https://"),
            ("https://a.internal/", "https://a.internal/"),
        ] {
            assert_eq!(parse(text, None).map(|url| url.text), Ok(expected.to_owned()), "{text}");
        }
    }
}

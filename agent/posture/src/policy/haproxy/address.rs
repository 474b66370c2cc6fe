//! The address of a server (section 11 of haproxy's configuration manual, "Address formats").

use std::net::{IpAddr, SocketAddr};

use crate::policy::intent::ServerAddress;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// There.
    Known(ServerAddress),
    /// The connection decides: the client's own destination or port, a descriptor, a variable.
    Open,
}

/// Reads an address in which variables have been replaced; `None` for what is none.
pub(super) fn parse(text: &str) -> Option<Address> {
    if text.contains('$') {
        return Some(Address::Open);
    }
    let (family, rest) = text.split_once('@').unwrap_or(("", text));
    let unix = |path: &str| Some(Address::Known(ServerAddress::Unix(path.into())));
    match family {
        "unix" | "uxst" | "uxdg" if !rest.is_empty() => return unix(rest),
        "abns" | "abnsz" if !rest.is_empty() => return unix(&format!("@{rest}")),
        "" if rest.starts_with('/') => return unix(rest),
        // A descriptor, or a connection that the other side opened.
        "fd" | "sockpair" | "rhttp" => return Some(Address::Open),
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" | "stream" | "mptcp" | "mptcp4"
        | "mptcp6" | "stream+ipv4" | "stream+ipv6" => {}
        // QUIC and datagrams are not watched.
        _ if !family.is_empty() => return Some(Address::Open),
        _ => return None,
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':')?)),
            }
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    // Without a port, or with one that begins with a sign, it follows the client's.
    let Some(port) = port.filter(|port| !port.is_empty() && !port.starts_with(['+', '-'])) else {
        return (!rest.is_empty()).then_some(Address::Open);
    };
    let port: u16 = port.parse().ok()?;
    if is_any(host) || port == 0 {
        return Some(Address::Open);
    }
    Some(Address::Known(match host.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => ServerAddress::Host(host.to_owned(), port),
    }))
}

/// Whether a host is no particular one.
pub(super) fn is_any(host: &str) -> bool {
    matches!(host, "" | "*" | "0.0.0.0" | "::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.0.0.1:443", Some("10.0.0.1:443")),
            ("ipv4@10.0.0.1:443", Some("10.0.0.1:443")),
            ("app.internal:8443", Some("app.internal:8443")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("2001:db8::1:443", Some("[2001:db8::1]:443")),
            ("/run/app.sock", Some("unix:/run/app.sock")),
            ("unix@/run/app.sock", Some("unix:/run/app.sock")),
            ("abns@app", Some("unix:@app")),
            ("10.0.0.1", Some("open")),
            ("10.0.0.1:+10", Some("open")),
            ("10.0.0.1:0", Some("open")),
            ("0.0.0.0:443", Some("open")),
            ("*", Some("open")),
            (":443", Some("open")),
            ("fd@3", Some("open")),
            ("rhttp@", Some("open")),
            ("quic4@10.0.0.1:443", Some("open")),
            ("${HOST}:443", Some("open")),
            ("10.0.0.1:99999", None),
            ("10.0.0.1:https", None),
            ("[::1", None),
            ("", None),
        ] {
            let found = parse(text).map(|address| match address {
                Address::Known(address) => address.to_string(),
                Address::Open => "open".to_owned(),
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}

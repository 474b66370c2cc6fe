//! The argument of `proxy_pass` and its kin: scheme, address, and what a variable leaves open.

use std::net::{IpAddr, SocketAddr};

use crate::policy::intent::{Scheme, ServerAddress, Target, Text};

/// The directives that open connections to upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Proxy,
    Grpc,
    Uwsgi,
    Fastcgi,
    Scgi,
    Memcached,
    /// `proxy_pass` of the stream module, which has no scheme.
    Stream,
}

impl Pass {
    /// The http module's directive of this name.
    pub(super) fn http(name: &str) -> Option<Self> {
        Some(match name {
            "proxy_pass" => Self::Proxy,
            "grpc_pass" => Self::Grpc,
            "uwsgi_pass" => Self::Uwsgi,
            "fastcgi_pass" => Self::Fastcgi,
            "scgi_pass" => Self::Scgi,
            "memcached_pass" => Self::Memcached,
            _ => return None,
        })
    }

    /// Prefixes of the argument, the scheme and the port nginx assumes after each.
    const fn schemes(self) -> &'static [(&'static str, Scheme, Option<u16>)] {
        match self {
            Self::Proxy => {
                &[("http://", Scheme::Plaintext, Some(80)), ("https://", Scheme::Tls, Some(443))]
            }
            Self::Grpc => &[
                ("grpc://", Scheme::Plaintext, None),
                ("grpcs://", Scheme::Tls, None),
                ("", Scheme::Plaintext, None),
            ],
            Self::Uwsgi => &[
                ("uwsgi://", Scheme::Plaintext, None),
                ("suwsgi://", Scheme::Tls, None),
                ("", Scheme::Plaintext, None),
            ],
            Self::Fastcgi | Self::Scgi | Self::Memcached => &[("", Scheme::Plaintext, None)],
            Self::Stream => &[("", Scheme::Passthrough, None)],
        }
    }
}

/// The argument, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
}

/// Who is addressed, before upstream blocks are looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A name or address; the port is `None` if not written.
    Named { host: String, port: Option<u16>, default_port: Option<u16> },
    /// A socket in the file system.
    Unix(String),
    /// An expression.
    Variable(String),
}

/// What is wrong with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadUrl {
    Scheme,
    Host,
    Port,
}

/// Variables whose value always begins with `/`, so that an address ends before them.
const PATH_VARIABLES: [&str; 3] = ["request_uri", "uri", "document_uri"];

/// Where the first of them begins, as `$uri` or `${uri}`. A longer name is another variable.
fn path_variable(text: &str) -> Option<usize> {
    let is_path = |(at, _): &(usize, &str)| {
        let after = &text[at + 1..];
        let name = match after.strip_prefix('{') {
            Some(braced) => braced.split('}').next(),
            None => after.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next(),
        };
        name.is_some_and(|name| PATH_VARIABLES.iter().any(|path| path.eq_ignore_ascii_case(name)))
    };
    text.match_indices('$').find(is_path).map(|(at, _)| at)
}

pub(super) fn parse(pass: Pass, argument: &str) -> Result<Url, BadUrl> {
    let variable = |scheme| Ok(Url { scheme, host: Host::Variable(argument.to_owned()) });
    let known = pass.schemes().iter().find_map(|&(prefix, scheme, port)| {
        let begin = argument.get(..prefix.len())?;
        begin.eq_ignore_ascii_case(prefix).then(|| (&argument[prefix.len()..], scheme, port))
    });
    let Some((rest, scheme, default_port)) = known else {
        return if argument.starts_with('$') {
            variable(Scheme::Unknown)
        } else {
            Err(BadUrl::Scheme)
        };
    };
    // Without a scheme before it, the variable may bring one.
    let scheme_open = rest.len() == argument.len() && pass.schemes().len() > 1;
    if rest.starts_with('$') && scheme_open {
        return variable(Scheme::Unknown);
    }
    if let Some(path) = rest.strip_prefix("unix:") {
        let path = path.split(':').next().unwrap_or_default();
        return match path {
            "" => Err(BadUrl::Host),
            _ if path.contains('$') => variable(scheme),
            _ => Ok(Url { scheme, host: Host::Unix(path.to_owned()) }),
        };
    }
    let authority = &rest[..end_of_authority(rest)];
    if authority.contains('$') {
        return variable(scheme);
    }
    let (host, port) = split_port(authority)?;
    Ok(Url { scheme, host: Host::Named { host: host.to_owned(), port, default_port } })
}

fn end_of_authority(rest: &str) -> usize {
    let ends = [path_variable(rest), rest.find(['/', '?'])];
    ends.into_iter().flatten().min().unwrap_or(rest.len())
}

/// What an argument says behind the address.
pub(super) fn uri(argument: &str) -> &str {
    let rest = argument.split_once("://").map_or(argument, |(_, rest)| rest);
    let end = match rest.strip_prefix("unix:") {
        Some(path) => path.find(':').map_or(rest.len(), |at| "unix:".len() + at),
        None => end_of_authority(rest),
    };
    &rest[end..]
}

/// What an expression with variables says between its scheme and its path.
pub(super) fn authority(expression: &str) -> &str {
    let rest = expression.split_once("://").map_or(expression, |(_, rest)| rest);
    let lower = rest.to_ascii_lowercase();
    let paths = PATH_VARIABLES.iter().filter_map(|name| lower.find(name));
    let end = paths.chain(rest.find(['/', '?'])).min().unwrap_or(rest.len());
    &rest[..end]
}

/// Splits `host:port` and `[v6]:port`.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>), BadUrl> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BadUrl::Host)?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or(BadUrl::Host)?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(BadUrl::Host);
    }
    match port.map(str::parse) {
        None => Ok((host, None)),
        Some(Ok(port)) if port != 0 => Ok((host, Some(port))),
        Some(_) => Err(BadUrl::Port),
    }
}

/// A socket in the file system; `unix:///run/x` and `unix:/run/x` are the same one.
pub(super) fn unix(path: &str) -> ServerAddress {
    let absolute = path.starts_with('/').then(|| format!("/{}", path.trim_start_matches('/')));
    ServerAddress::Unix(absolute.unwrap_or_else(|| path.to_owned()).into())
}

pub(super) fn address(host: &str, port: u16) -> ServerAddress {
    match host.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => ServerAddress::Host(host.to_owned(), port),
    }
}

/// The name nginx checks a certificate for when `*_ssl_name` is not said: the host of the
/// argument without its port (the upstream block's name if it is one).
pub(super) fn default_name(target: &Target) -> Text {
    match target {
        Target::Group(name) => Text::Literal(name.clone()),
        Target::Address(ServerAddress::Ip(address)) => Text::Literal(address.ip().to_string()),
        Target::Address(ServerAddress::Host(host, _)) => Text::Literal(host.clone()),
        Target::Address(ServerAddress::Unix(_)) => Text::Literal("localhost".to_owned()),
        Target::Variable(expression) => Text::Variable(expression.clone()),
    }
}

#[cfg(test)]
mod tests {
    use Pass::{Fastcgi, Grpc, Proxy, Stream, Uwsgi};
    use Scheme::{Passthrough, Plaintext, Tls, Unknown};

    use super::*;

    #[test]
    fn arguments_are_taken_apart_as_nginx_does() {
        let named = |scheme, host: &str, port, default_port| {
            Ok(Url { scheme, host: Host::Named { host: host.to_owned(), port, default_port } })
        };
        let variable = |scheme, expression: &str| {
            Ok(Url { scheme, host: Host::Variable(expression.to_owned()) })
        };
        let unix = |scheme, path: &str| Ok(Url { scheme, host: Host::Unix(path.to_owned()) });
        for (pass, argument, expected) in [
            (Proxy, "http://app", named(Plaintext, "app", None, Some(80))),
            (Proxy, "HTTPS://app:8443/x/", named(Tls, "app", Some(8443), Some(443))),
            (Proxy, "https://[::1]:8443", named(Tls, "::1", Some(8443), Some(443))),
            (Proxy, "https://[::1]/x", named(Tls, "::1", None, Some(443))),
            (Proxy, "http://unix:/run/app.sock:/api", unix(Plaintext, "/run/app.sock")),
            (Proxy, "https://$host", variable(Tls, "https://$host")),
            (Proxy, "$scheme://app", variable(Unknown, "$scheme://app")),
            (Proxy, "$backend", variable(Unknown, "$backend")),
            (Proxy, "http://app/$1", named(Plaintext, "app", None, Some(80))),
            (Proxy, "https://app$request_uri", named(Tls, "app", None, Some(443))),
            (Proxy, "https://app${uri}x", named(Tls, "app", None, Some(443))),
            (Proxy, "http://$uri_backend", variable(Plaintext, "http://$uri_backend")),
            (Proxy, "http://app$uri_x", variable(Plaintext, "http://app$uri_x")),
            (Proxy, "http://app${uri_x}/y", variable(Plaintext, "http://app${uri_x}/y")),
            (Proxy, "http://app$suffix/x", variable(Plaintext, "http://app$suffix/x")),
            (Proxy, "http://app:$port", variable(Plaintext, "http://app:$port")),
            (Proxy, "app:80", Err(BadUrl::Scheme)),
            (Proxy, "http://", Err(BadUrl::Host)),
            (Proxy, "http://app:99999", Err(BadUrl::Port)),
            (Proxy, "http://app:0", Err(BadUrl::Port)),
            (Proxy, "http://[::1", Err(BadUrl::Host)),
            (Grpc, "grpcs://app:50051", named(Tls, "app", Some(50051), None)),
            (Grpc, "app:50051", named(Plaintext, "app", Some(50051), None)),
            (Grpc, "$target", variable(Unknown, "$target")),
            (Grpc, "unix:/run/g.sock", unix(Plaintext, "/run/g.sock")),
            (Uwsgi, "suwsgi://app:3031", named(Tls, "app", Some(3031), None)),
            (Uwsgi, "app:3031", named(Plaintext, "app", Some(3031), None)),
            (Fastcgi, "unix:/run/php/php-fpm.sock", unix(Plaintext, "/run/php/php-fpm.sock")),
            (Fastcgi, "$php", variable(Plaintext, "$php")),
            (Stream, "db:5432", named(Passthrough, "db", Some(5432), None)),
            (Stream, "$name", variable(Passthrough, "$name")),
        ] {
            assert_eq!(parse(pass, argument), expected, "{pass:?} {argument}");
        }
    }

    #[test]
    fn what_stands_behind_the_address() {
        for (argument, expected) in [
            ("http://app", ""),
            ("http://app/", "/"),
            ("https://app:8443/a?b=c", "/a?b=c"),
            ("http://app$request_uri", "$request_uri"),
            ("http://[::1]:80/a", "/a"),
            ("http://unix:/run/a.sock", ""),
            ("http://unix:/run/a.sock:/a/", ":/a/"),
            ("app:50051", ""),
        ] {
            assert_eq!(uri(argument), expected, "{argument}");
        }
    }
}

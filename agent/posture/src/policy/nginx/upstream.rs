//! `upstream` blocks: named groups of servers.

use std::collections::HashMap;

use super::{
    error::{ConfigError, Problem},
    target::{BadUrl, Host, address, split_port, unix},
    tree::Directive,
};
use crate::policy::intent::{Server, ServerAddress, Servers, Target};

/// The upstream blocks of `http` or of `stream`; each has a name space of its own.
#[derive(Default)]
pub(super) struct Groups {
    /// By lower-case name: nginx compares them without case.
    by_name: HashMap<String, Group>,
}

/// One upstream block.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) servers: Vec<Server>,
    pub(super) listing: Servers,
}

impl Groups {
    /// Takes in the `upstream` blocks among `directives`. `default_port` is 80 in `http`, whatever
    /// the scheme of the pass directive, and none in `stream`.
    pub(super) fn read(
        directives: &[Directive],
        default_port: Option<u16>,
    ) -> Result<Self, ConfigError> {
        let mut groups = Self::default();
        for directive in directives.iter().filter(|directive| directive.name == "upstream") {
            let group = Group::read(directive, default_port)?;
            let name = group.name.clone();
            if groups.by_name.insert(name.to_ascii_lowercase(), group).is_some() {
                return Err(directive.error(Problem::DuplicateUpstream { name }));
            }
        }
        Ok(groups)
    }

    /// The block of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.by_name.get(&name.to_ascii_lowercase())
    }

    /// Whom a pass directive addresses: an upstream block if one has that name.
    pub(super) fn target(&self, host: Host, pass: &Directive) -> Result<Target, ConfigError> {
        match host {
            Host::Variable(expression) => Ok(Target::Variable(expression)),
            Host::Unix(path) => Ok(Target::Address(unix(&path))),
            Host::Named { host, port, default_port } => match (self.get(&host), port) {
                (Some(group), None) => Ok(Target::Group(group.name.clone())),
                // With variables elsewhere in the argument nginx looks up at run time, by name
                // and port, and finds no block.
                (Some(group), Some(port)) if !pass.args.iter().any(|arg| arg.contains('$')) => {
                    let name = group.name.clone();
                    Err(pass.error(Problem::UpstreamPort { name, port }))
                }
                _ => match port.or(default_port) {
                    Some(port) => Ok(Target::Address(address(&host, port))),
                    None => Err(pass.error(Problem::NoPort { address: host })),
                },
            },
        }
    }
}

/// What may stand in an upstream block and brings no servers but `server`'s: nginx's own directives
/// and Tengine's.
const NO_SERVERS: [&str; 23] = [
    "server",
    "zone",
    "hash",
    "ip_hash",
    "least_conn",
    "least_time",
    "random",
    "queue",
    "sticky",
    "ntlm",
    "keepalive",
    "keepalive_requests",
    "keepalive_time",
    "keepalive_timeout",
    "resolver",
    "resolver_timeout",
    "check",
    "check_http_send",
    "check_http_expect_alive",
    "check_keepalive_requests",
    "consistent_hash",
    "session_sticky",
    "fair",
];

/// What a `server` has never had, and what people mean who write it.
const NO_PARAMETERS: [&str; 3] = ["ssl", "tls", "https"];

impl Group {
    fn read(directive: &Directive, default_port: Option<u16>) -> Result<Self, ConfigError> {
        let name = directive.argument()?.to_owned();
        let inside = directive.inside()?;
        let (from_dns, written): (Vec<_>, Vec<_>) = inside
            .iter()
            .filter(|directive| directive.name == "server")
            .partition(|directive| directive.args.iter().any(|arg| arg.starts_with("service=")));
        let servers = written
            .into_iter()
            .map(|directive| server(directive, default_port))
            .collect::<Result<Vec<_>, _>>()?;
        // The API's `state`, SRV records, `balancer_by_lua*` (ingress-nginx, OpenResty) and
        // directives of other modules bring others, or choose among them in ways of their own.
        let dynamic = !from_dns.is_empty()
            || inside.iter().any(|directive| !NO_SERVERS.contains(&directive.name.as_str()));
        if servers.is_empty() && !dynamic {
            return Err(directive.error(Problem::NoServers { name }));
        }
        let listing = if dynamic { Servers::Dynamic } else { Servers::Listed };
        Ok(Self { name, servers, listing })
    }
}

fn server(directive: &Directive, default_port: Option<u16>) -> Result<Server, ConfigError> {
    let Some((address, parameters)) = directive.args.split_first() else {
        return Err(directive.error(Problem::Arguments { directive: directive.name.clone() }));
    };
    let address = server_address(directive, address, default_port)?;
    let mut server = Server::new(address, directive.at.clone());
    for parameter in parameters {
        match parameter.as_str() {
            "backup" => server.backup = true,
            "down" => server.down = true,
            "resolve" => server.resolve = true,
            other if NO_PARAMETERS.contains(&other) => {
                let parameter = other.to_owned();
                return Err(directive.error(Problem::TlsAtServer { parameter }));
            }
            // `max_fails=`, `service=` and those of other modules do not change who is addressed.
            other => {
                if let Some(weight) = other.strip_prefix("weight=") {
                    server.weight = match weight.parse() {
                        Ok(weight) if weight > 0 => weight,
                        _ => return Err(directive.invalid(other, "weight= and a positive number")),
                    };
                }
            }
        }
    }
    Ok(server)
}

fn server_address(
    directive: &Directive,
    written: &str,
    default_port: Option<u16>,
) -> Result<ServerAddress, ConfigError> {
    if let Some(path) = written.strip_prefix("unix:") {
        return Ok(unix(path));
    }
    let (host, port) = split_port(written).map_err(|bad| {
        directive.invalid(
            written,
            match bad {
                BadUrl::Port => "an address with a port from 1 to 65535",
                BadUrl::Host | BadUrl::Scheme => "an address",
            },
        )
    })?;
    match port.or(default_port) {
        Some(port) => Ok(address(host, port)),
        None => Err(directive.error(Problem::NoPort { address: written.to_owned() })),
    }
}

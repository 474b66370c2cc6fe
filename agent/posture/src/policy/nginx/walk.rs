//! From directives to upstreams: which pass directive leads where, with which settings in force.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    error::{ConfigError, Problem},
    settings::{Family, Level, heed_commands},
    target::{self, BadUrl, Pass},
    tree::Directive,
    upstream::Groups,
    variables::{Variables, may_become},
};
use crate::policy::intent::{
    Remark, Route, RouteKind, Scheme, Server, Servers, Setting, Target, Text, TlsIntent,
    UpstreamIntent, remark,
};

/// Bytes that the routes of a configuration may take in memory, each of which has the settings that
/// are in force there.
const MAX_SIZE: usize = 24 << 20;

/// All upstreams of a configuration, in the order of first use.
pub(super) fn upstreams(
    directives: &[Directive],
    conf_prefix: &Path,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<UpstreamIntent>, ConfigError> {
    let mut out = Vec::new();
    // A file that others include, read by itself.
    if let Some(first) = fragment(directives) {
        let text = || "this is no main file: read as what \"http\" includes".to_owned();
        remark(remarks, &first.at, text);
        let groups = Groups::read(directives, Some(80))?;
        let mut walk = Walk::new(conf_prefix, directives, groups, &mut out);
        walk.http(directives, Context::Http, &Level::default())?;
        walk.share_variable_routes()?;
        return Ok(out);
    }
    for directive in directives {
        match directive.name.as_str() {
            "http" => {
                let inside = directive.inside()?;
                let groups = Groups::read(inside, Some(80))?;
                let mut walk = Walk::new(conf_prefix, inside, groups, &mut out);
                walk.http(inside, Context::Http, &Level::default())?;
                walk.share_variable_routes()?;
            }
            "stream" => {
                let inside = directive.inside()?;
                let groups = Groups::read(inside, None)?;
                let mut walk = Walk::new(conf_prefix, inside, groups, &mut out);
                walk.stream(inside)?;
                walk.share_variable_routes()?;
            }
            _ => {}
        }
    }
    Ok(out)
}

/// The first directive that belongs into `http`, where nothing is there that makes a main file.
fn fragment(directives: &[Directive]) -> Option<&Directive> {
    let is_main = |one: &Directive| matches!(&*one.name, "http" | "stream" | "events" | "mail");
    let is_inner = |one: &&Directive| matches!(&*one.name, "server" | "upstream" | "location");
    if directives.iter().any(is_main) { None } else { directives.iter().find(is_inner) }
}

/// The block a level of `http` belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Http,
    Server,
    Location,
    /// `if` or `limit_except` inside of a location; TLS settings are those of the location.
    Conditional,
    /// `if` inside of a server.
    ServerIf,
}

struct Walk<'a> {
    conf_prefix: &'a Path,
    variables: Variables,
    groups: Groups,
    out: &'a mut Vec<UpstreamIntent>,
    /// Index in `out` of what this walk has added.
    known: HashMap<Target, usize>,
    /// Bytes that it takes.
    size: usize,
}

impl<'a> Walk<'a> {
    fn new(
        conf_prefix: &'a Path,
        directives: &[Directive],
        groups: Groups,
        out: &'a mut Vec<UpstreamIntent>,
    ) -> Self {
        let variables = Variables::read(directives);
        Self { conf_prefix, variables, groups, out, known: HashMap::new(), size: 0 }
    }

    fn http(
        &mut self,
        directives: &[Directive],
        context: Context,
        around: &Level,
    ) -> Result<(), ConfigError> {
        if matches!(context, Context::Conditional | Context::ServerIf)
            && let Some(directive) = Level::first_setting(directives)
        {
            return Err(not_allowed(directive));
        }
        // Settings first: nginx merges levels after it has read all of them.
        let level = around.inside(directives, self.conf_prefix)?;
        let mut passes: Vec<&str> = Vec::new();
        for directive in directives {
            let name = directive.name.as_str();
            let inner = match (name, context) {
                ("server", Context::Http) => Context::Server,
                ("location", Context::Server | Context::Location) => Context::Location,
                ("if", Context::Server) => Context::ServerIf,
                ("if" | "limit_except", Context::Location) => Context::Conditional,
                ("server" | "location" | "limit_except", _) => return Err(not_allowed(directive)),
                _ => {
                    let Some(pass) = Pass::http(name) else { continue };
                    if !matches!(context, Context::Location | Context::Conditional) {
                        return Err(not_allowed(directive));
                    }
                    if passes.contains(&name) {
                        let directive_name = name.to_owned();
                        return Err(
                            directive.error(Problem::Duplicate { directive: directive_name })
                        );
                    }
                    passes.push(name);
                    self.http_pass(pass, directive, context, &level)?;
                    continue;
                }
            };
            self.http(directive.inside()?, inner, &level)?;
        }
        Ok(())
    }

    fn http_pass(
        &mut self,
        pass: Pass,
        directive: &Directive,
        context: Context,
        level: &Level,
    ) -> Result<(), ConfigError> {
        let argument = directive.argument()?;
        let family = match pass {
            Pass::Proxy | Pass::Stream => Some(Family::Proxy),
            Pass::Grpc => Some(Family::Grpc),
            Pass::Uwsgi => Some(Family::Uwsgi),
            Pass::Fastcgi | Pass::Scgi | Pass::Memcached => None,
        };
        let mut tls = family.map(|family| level.tls(family).clone()).unwrap_or_default();
        // nginx prepares TLS wherever a variable might ask for it.
        let url = parse(pass, argument, directive)?;
        if let Some(family) = family
            && (url.scheme != Scheme::Plaintext || argument.contains('$'))
        {
            check(&tls, family)?;
        }
        if let Some(family) = family {
            heed_commands(&mut tls, family);
        }
        let is_open = matches!(url.host, target::Host::Variable(_));
        for (target, scheme) in self.targets(pass, argument, url, directive)? {
            let kind = match context {
                _ if is_open && !matches!(target, Target::Variable(_)) => RouteKind::ByVariable,
                Context::Conditional => RouteKind::Conditional,
                _ => RouteKind::Plain,
            };
            self.add(target, (kind, directive), scheme, tls.clone())?;
        }
        Ok(())
    }

    /// Whom a pass directive addresses: several where a variable decides of which all values are
    /// known.
    fn targets(
        &self,
        pass: Pass,
        argument: &str,
        url: target::Url,
        directive: &Directive,
    ) -> Result<Vec<(Target, Scheme)>, ConfigError> {
        if matches!(url.host, target::Host::Variable(_))
            && let Some(values) = self.variables.expand(argument)
        {
            let of_value = |value: &String| {
                let url = target::parse(pass, value).ok()?;
                Some((self.groups.target(url.host, directive).ok()?, url.scheme))
            };
            let targets: Option<Vec<_>> = values.iter().map(of_value).collect();
            if let Some(targets) = targets {
                return Ok(targets);
            }
        }
        Ok(vec![(self.groups.target(url.host, directive)?, url.scheme)])
    }

    /// Lets upstream blocks know of the routes that may lead to them by a variable.
    fn share_variable_routes(&mut self) -> Result<(), ConfigError> {
        let mut open: Vec<(String, Route)> = Vec::new();
        for &at in self.known.values() {
            if let Target::Variable(expression) = &self.out[at].target {
                let routes = self.out[at].routes.iter().cloned();
                open.extend(routes.map(|route| (target::authority(expression).to_owned(), route)));
            }
        }
        // Of several on one line the order is none of the map's.
        open.sort_by(|one, other| (&one.1.at, &one.0).cmp(&(&other.1.at, &other.0)));
        // Most blocks have the same ones.
        let mut shared: HashMap<Vec<usize>, Arc<[Route]>> = HashMap::new();
        for &at in self.known.values() {
            let Target::Group(name) = &self.out[at].target else { continue };
            let may_lead = |at: &usize| may_become(&open[*at].0, name);
            let leading: Vec<usize> = (0..open.len()).filter(may_lead).collect();
            if let Some(known) = shared.get(&leading) {
                self.out[at].by_variable = known.clone();
                continue;
            }
            let routes: Arc<[Route]> = leading.iter().map(|&at| open[at].1.clone()).collect();
            self.size += routes.iter().map(Route::size).sum::<usize>();
            if let (Some(route), true) = (routes.first(), self.size > MAX_SIZE) {
                let what = "bytes of routes and their settings";
                let problem = Problem::TooMuch { what, limit: MAX_SIZE };
                return Err(ConfigError { place: route.at.clone(), problem });
            }
            self.out[at].by_variable = routes.clone();
            shared.insert(leading, routes);
        }
        Ok(())
    }

    fn stream(&mut self, directives: &[Directive]) -> Result<(), ConfigError> {
        let level = Level::default().inside(directives, self.conf_prefix)?;
        let proxy_ssl = stream_flag(directives, "proxy_ssl")?.unwrap_or(false);
        for server in directives.iter().filter(|directive| directive.name == "server") {
            let inside = server.inside()?;
            let mut tls = level.inside(inside, self.conf_prefix)?.tls(Family::Proxy).clone();
            let proxy_ssl = stream_flag(inside, "proxy_ssl")?.unwrap_or(proxy_ssl);
            let mut passes = inside.iter().filter(|directive| directive.name == "proxy_pass");
            let Some(pass) = passes.next() else { continue };
            if let Some(second) = passes.next() {
                return Err(second.error(Problem::Duplicate { directive: second.name.clone() }));
            }
            let argument = pass.argument()?;
            let url = parse(Pass::Stream, argument, pass)?;
            if proxy_ssl {
                check(&tls, Family::Proxy)?;
            }
            heed_commands(&mut tls, Family::Proxy);
            for (target, _) in self.targets(Pass::Stream, argument, url, pass)? {
                for scheme in stream_schemes(inside, proxy_ssl) {
                    self.add(target.clone(), (RouteKind::Stream, pass), scheme, tls.clone())?;
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        target: Target,
        (kind, pass): (RouteKind, &Directive),
        scheme: Scheme,
        mut tls: TlsIntent,
    ) -> Result<(), ConfigError> {
        let default_name = target::default_name(&target);
        // Spelled out, nginx's default for `proxy_ssl_name` is this variable.
        if let Some(Setting { value, .. }) = &mut tls.name
            && let Text::Variable(expression) = value
            && expression.eq_ignore_ascii_case("$proxy_host")
        {
            *value = default_name.clone();
        }
        let route = Route {
            kind,
            uri: target::uri(pass.argument()?).to_owned(),
            default_name: Some(default_name),
            ..Route::new(&pass.name, pass.at.clone(), scheme, tls)
        };
        self.size += route.size();
        if self.size > MAX_SIZE {
            let what = "bytes of routes and their settings";
            return Err(pass.error(Problem::TooMuch { what, limit: MAX_SIZE }));
        }
        if let Some(&index) = self.known.get(&target) {
            self.out[index].routes.push(route);
            return Ok(());
        }
        self.known.insert(target.clone(), self.out.len());
        let (servers, listing) = match &target {
            Target::Group(name) => match self.groups.get(name) {
                Some(group) => (group.servers.clone(), group.listing),
                None => (Vec::new(), Servers::Dynamic),
            },
            Target::Address(address) => {
                (vec![Server::new(address.clone(), pass.at.clone())], Servers::Listed)
            }
            Target::Variable(_) => (Vec::new(), Servers::Dynamic),
        };
        self.out.push(UpstreamIntent {
            target,
            servers,
            listing,
            routes: vec![route],
            by_variable: Arc::default(),
        });
        Ok(())
    }
}

/// How a stream server speaks, by TCP and by UDP, as far as it listens to them. Datagrams go on as they
/// came, whatever `proxy_ssl` says (`ngx_stream_proxy_init_upstream`); without it, what nginx decrypted
/// goes on in the clear, and the rest as it came.
fn stream_schemes(server: &[Directive], proxy_ssl: bool) -> Vec<Scheme> {
    let listens = || server.iter().filter(|directive| directive.name == "listen");
    let has = |listen: &Directive, word: &str| listen.args.iter().any(|argument| argument == word);
    let by_udp = listens().any(|listen| has(listen, "udp"));
    let mut by_tcp = listens().filter(|listen| !has(listen, "udp")).map(|one| has(one, "ssl"));
    let first = by_tcp.next();
    let all_alike = by_tcp.all(|ssl| Some(ssl) == first);
    let tcp = match first {
        // Without `listen` nginx refuses it.
        None if by_udp => None,
        _ if proxy_ssl => Some(Scheme::Tls),
        _ if !all_alike => Some(Scheme::Unknown),
        Some(true) => Some(Scheme::Plaintext),
        _ => Some(Scheme::Passthrough),
    };
    tcp.into_iter().chain(by_udp.then_some(Scheme::Passthrough)).collect()
}

fn stream_flag(directives: &[Directive], name: &str) -> Result<Option<bool>, ConfigError> {
    directives.iter().find(|directive| directive.name == name).map(Directive::flag).transpose()
}

fn parse(pass: Pass, argument: &str, directive: &Directive) -> Result<target::Url, ConfigError> {
    target::parse(pass, argument).map_err(|bad| {
        directive.invalid(
            argument,
            match bad {
                BadUrl::Scheme => "a URL with a scheme such as http:// or https://",
                BadUrl::Host => "an address with a host",
                BadUrl::Port => "an address with a port from 1 to 65535",
            },
        )
    })
}

/// What nginx itself demands of TLS settings before it starts.
fn check(tls: &TlsIntent, family: Family) -> Result<(), ConfigError> {
    if let Some(Setting { value, at }) = &tls.certificate
        && *value != Text::Literal(String::new())
        && tls.certificate_key.is_none()
    {
        return Err(ConfigError {
            place: at.clone(),
            problem: Problem::NoKey {
                directive: format!("{}certificate", family.prefix()),
                certificate: value.to_string(),
            },
        });
    }
    let trusted = tls.trusted_certificate.as_ref().is_some_and(|ca| !ca.value.is_empty());
    if let Some(Setting { value: true, at }) = &tls.verify
        && !trusted
    {
        return Err(ConfigError {
            place: at.clone(),
            problem: Problem::NoTrustedCertificate { prefix: family.prefix() },
        });
    }
    Ok(())
}

fn not_allowed(directive: &Directive) -> ConfigError {
    directive.error(Problem::NotAllowedHere { directive: directive.name.clone() })
}

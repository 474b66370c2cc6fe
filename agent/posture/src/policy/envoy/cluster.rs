//! From a cluster to an upstream.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Context,
    api::{Address, CheckedAt, Cluster, Enumerated, LbEndpoint, Locality, Scalar, TransportSocket},
    matches, tls, whole,
};
use crate::policy::intent::{
    Place, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, TlsIntent,
    UpstreamIntent,
};

/// What health checks are said by.
const CHECKS: &str = "health_checks";
/// Discovery that brings other endpoints than those that are listed.
const CHOSEN_AT_RUN_TIME: (&str, i64) = ("ORIGINAL_DST", 4);
/// Sockets around another one that are followed: the PROXY protocol, taps and statistics.
const MAX_WRAPPED: usize = 4;

/// The clusters that one consists of which has no endpoints of its own (`envoy.clusters.aggregate`,
/// `envoy.clusters.composite`).
pub(super) fn consists_of(cluster: &Cluster) -> Option<impl Iterator<Item = &str>> {
    let custom = cluster.custom.as_ref()?;
    let config = custom.typed_config.as_ref();
    let is_one = |kind: &str| {
        let ending = format!(".clusters.{kind}.v3.ClusterConfig");
        custom.name == format!("envoy.clusters.{kind}")
            || config.is_some_and(|one| one.type_url.ends_with(&ending))
    };
    let names = match config.and_then(|one| one.clusters.as_ref()) {
        Some(Scalar::List(names)) => names.as_slice(),
        _ => &[],
    };
    let names = names.iter().filter_map(|one| match one {
        Scalar::Text(name) => Some(name.as_str()),
        Scalar::Struct(entry) => match entry.get("name") {
            Some(Scalar::Text(name)) => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    });
    ["aggregate", "composite"].into_iter().any(is_one).then_some(names)
}

/// What a cluster says; `None` where it leads to listeners of the same Envoy alone. Behind it how its
/// endpoints are checked at addresses of their own, each route with the address that it is for.
pub(super) fn upstream(
    cluster: &Cluster,
    context: &Context<'_>,
) -> Option<(UpstreamIntent, Vec<Route>)> {
    let at = whole(&format!("cluster {}", cluster.name));
    let service = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
    let service = service.filter(|name| !name.is_empty()).unwrap_or(&cluster.name);
    let discovered = || context.endpoints.get(service).copied();
    let assignment = cluster.load_assignment.as_ref().or_else(discovered);
    let localities = assignment.map_or(&[][..], |one| &one.endpoints);
    let all = || {
        let of = |locality| move |endpoint| (locality, endpoint);
        localities.iter().flat_map(move |locality| locality.lb_endpoints.iter().map(of(locality)))
    };
    let leads_out = |(_, one): &(&Locality, &LbEndpoint)| one.endpoint.address.internal.is_none();
    let endpoints: Vec<(&Locality, &LbEndpoint)> = all().filter(leads_out).collect();
    if endpoints.is_empty() && all().next().is_some() {
        return None;
    }
    let servers: Vec<_> = endpoints
        .iter()
        .flat_map(|(locality, endpoint)| {
            addresses(endpoint).map(|address| {
                let resolve = matches!(address, ServerAddress::Host(..));
                let backup = locality.priority > 0;
                Server { backup, resolve, ..Server::new(address, at.clone()) }
            })
        })
        .collect();
    let is_known = |(_, one): &(_, &LbEndpoint)| server_address(&one.endpoint.address).is_some();
    let (name, number) = CHOSEN_AT_RUN_TIME;
    let is_chosen_at_run_time = |kind: &Enumerated| kind.is(name, number);
    let is_open = cluster.custom.is_some()
        || cluster.discovery.as_ref().is_some_and(is_chosen_at_run_time)
        || assignment.is_none()
        || !endpoints.iter().all(is_known);
    let sockets = Sockets { cluster, context, at };
    let mut routes = sockets.routes(&endpoints);
    let is_own =
        |route: &Route| servers.iter().any(|server| route.only == [server.address.clone()]);
    let (own, elsewhere) = sockets.checks_elsewhere(&endpoints).into_iter().partition(is_own);
    routes.extend::<Vec<_>>(own);
    let upstream = UpstreamIntent {
        target: Target::Group(cluster.name.clone()),
        servers,
        listing: if is_open { Servers::Dynamic } else { Servers::Listed },
        routes,
        by_variable: Arc::default(),
    };
    Some((upstream, elsewhere))
}

/// The transport sockets of a cluster: of several, each has its position, and the default is behind
/// them.
struct Sockets<'a> {
    cluster: &'a Cluster,
    context: &'a Context<'a>,
    at: Place,
}

impl Sockets<'_> {
    /// One route for each that is in use, and for what health checks do otherwise.
    fn routes(&self, endpoints: &[(&Locality, &LbEndpoint)]) -> Vec<Route> {
        let matches = &self.cluster.transport_socket_matches;
        if self.cluster.transport_socket_matcher.is_some() {
            return vec![self.by_matcher("transport_socket_matcher", Vec::new())];
        }
        if matches.is_empty() {
            return vec![self.route(0, None, Vec::new())];
        }
        let known = endpoints.iter().flat_map(|(locality, endpoint)| {
            addresses(endpoint).map(|address| (*locality, *endpoint, address))
        });
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            // Nobody knows which endpoints there will be.
            let all = 0..=matches.len();
            return all.map(|position| self.route(position, None, Vec::new())).collect();
        }
        let mut chosen: Vec<Vec<ServerAddress>> = vec![Vec::new(); matches.len() + 1];
        let mut checks = chosen.clone();
        for (locality, endpoint, address) in known {
            let by_traffic = self.by_traffic(locality, endpoint);
            if let Some(position) = self.by_check(locality, endpoint)
                && position != by_traffic
                && !endpoint.endpoint.health_check_config.is_elsewhere()
            {
                checks[position].push(address.clone());
            }
            chosen[by_traffic].push(address);
        }
        let in_use = |all: Vec<Vec<ServerAddress>>| {
            all.into_iter().enumerate().filter(|(_, only)| !only.is_empty())
        };
        let traffic = in_use(chosen).map(|(position, only)| self.route(position, None, only));
        let checks =
            in_use(checks).map(|(position, only)| self.route(position, Some(CHECKS), only));
        traffic.chain(checks).collect()
    }

    /// How endpoints are checked where they are not.
    fn checks_elsewhere(&self, endpoints: &[(&Locality, &LbEndpoint)]) -> Vec<Route> {
        let elsewhere = |(locality, endpoint): &(&Locality, &LbEndpoint)| {
            let position = self.by_check(locality, endpoint)?;
            let at = &endpoint.endpoint.health_check_config;
            let host = at.address.as_ref().unwrap_or(&endpoint.endpoint.address);
            let host = server_address(host).filter(|_| at.is_elsewhere())?;
            let only = vec![match at.port_value {
                0 => host,
                port => host.with_port(port),
            }];
            if self.cluster.transport_socket_matcher.is_some() {
                return Some(self.by_matcher(CHECKS, only));
            }
            let mut route = self.route(position, Some(CHECKS), only);
            // Only what others sent is passed on.
            if route.scheme != Scheme::Tls && route.tls == TlsIntent::default() {
                route.scheme = Scheme::Plaintext;
            }
            Some(route)
        };
        endpoints.iter().filter_map(elsewhere).collect()
    }

    fn by_traffic(&self, locality: &Locality, endpoint: &LbEndpoint) -> usize {
        let of_locality = matches::said(locality.metadata.as_ref());
        let own = matches::said(endpoint.metadata.as_ref());
        matches::chosen(&self.cluster.transport_socket_matches, own, of_locality)
    }

    /// The one that an endpoint is checked by; `None` where nothing is sent to it.
    fn by_check(&self, locality: &Locality, endpoint: &LbEndpoint) -> Option<usize> {
        // Envoy takes no second one.
        let check = self.cluster.health_checks.first()?;
        if endpoint.endpoint.health_check_config.disable_active_health_check {
            return None;
        }
        let position = match &check.criteria {
            Some(criteria) => {
                let of_locality = matches::said(locality.metadata.as_ref());
                let matches = &self.cluster.transport_socket_matches;
                matches::chosen(matches, Some(criteria), of_locality)
            }
            None => self.by_traffic(locality, endpoint),
        };
        // One by TCP may have nothing to send.
        let is_silent = check.tcp_health_check.as_ref().is_some_and(|tcp| tcp.send.is_none())
            && self.route(position, None, Vec::new()).scheme != Scheme::Tls;
        (!is_silent).then_some(position)
    }

    fn route(&self, position: usize, directive: Option<&str>, only: Vec<ServerAddress>) -> Route {
        let Self { cluster, context, at } = self;
        let (socket, name) = match cluster.transport_socket_matches.get(position) {
            Some(one) => (one.transport_socket.as_ref(), "transport_socket_matches"),
            None => (cluster.transport_socket.as_ref(), "transport_socket"),
        };
        let (scheme, tls) = spoken(socket, cluster, context, at);
        Route { only, ..Route::new(directive.unwrap_or(name), at.clone(), scheme, tls) }
    }

    /// What chooses in a way that is not followed.
    fn by_matcher(&self, directive: &str, only: Vec<ServerAddress>) -> Route {
        let tls = left_open("transport_socket_matcher", &self.at);
        Route { only, ..Route::new(directive, self.at.clone(), Scheme::Unknown, tls) }
    }
}

/// How a transport socket speaks.
fn spoken(
    socket: Option<&TransportSocket>,
    cluster: &Cluster,
    context: &Context<'_>,
    at: &Place,
) -> (Scheme, TlsIntent) {
    let mut socket = socket;
    for _ in 0..MAX_WRAPPED {
        let Some(current) = socket else { break };
        let Some(config) = &current.typed_config else {
            // A name alone is a factory with its defaults.
            let scheme = if is_raw(&current.name) {
                context.passed_on.scheme(&cluster.name)
            } else {
                Scheme::Unknown
            };
            return (scheme, left_open(&current.name, at));
        };
        let kind = config.type_url.rsplit('.').next().unwrap_or_default();
        match kind {
            "UpstreamTlsContext" => {
                return (Scheme::Tls, tls::intent(config, cluster, context, at));
            }
            "RawBuffer" => return (context.passed_on.scheme(&cluster.name), TlsIntent::default()),
            "ProxyProtocolUpstreamTransport"
            | "TapTransport"
            | "Tap"
            | "Config"
            | "Http11ProxyUpstreamTransport"
                if config.transport_socket.is_some() =>
            {
                socket = config.transport_socket.as_ref();
            }
            _ => return (Scheme::Unknown, left_open(&config.type_url, at)),
        }
    }
    match socket {
        None => (context.passed_on.scheme(&cluster.name), TlsIntent::default()),
        Some(deep) => (Scheme::Unknown, left_open(&deep.name, at)),
    }
}

fn is_raw(name: &str) -> bool {
    matches!(name, "envoy.transport_sockets.raw_buffer" | "raw_buffer")
}

fn left_open(by: &str, at: &Place) -> TlsIntent {
    let mut tls = TlsIntent::default();
    if !is_raw(by) {
        tls.leave_open(&Setting { value: by.to_owned(), at: at.clone() });
    }
    tls
}

/// Where an endpoint may be.
fn addresses(endpoint: &LbEndpoint) -> impl Iterator<Item = ServerAddress> {
    let further = endpoint.endpoint.additional_addresses.iter().map(|one| &one.address);
    std::iter::once(&endpoint.endpoint.address).chain(further).filter_map(server_address)
}

fn server_address(address: &Address) -> Option<ServerAddress> {
    if let Some(pipe) = &address.pipe {
        return Some(ServerAddress::Unix(pipe.path.clone().into()));
    }
    let socket = address.socket_address.as_ref().filter(|socket| socket.port_value != 0)?;
    Some(match socket.address.parse::<IpAddr>() {
        Ok(ip) => ServerAddress::Ip(SocketAddr::new(ip, socket.port_value)),
        Err(_) => ServerAddress::Host(socket.address.clone(), socket.port_value),
    })
}

impl CheckedAt {
    /// Whether that is said at all.
    fn is_elsewhere(&self) -> bool {
        self.port_value != 0 || self.address.is_some()
    }
}

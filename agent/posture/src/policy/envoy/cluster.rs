//! From a cluster to an upstream.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Context,
    api::{Address, Cluster, Enumerated, LbEndpoint, Locality, Scalar, TransportSocket},
    matches, tls, whole,
};
use crate::policy::intent::{
    Place, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, TlsIntent,
    UpstreamIntent,
};

/// Discovery that brings other endpoints than those that are listed.
const CHOSEN_AT_RUN_TIME: (&str, i64) = ("ORIGINAL_DST", 4);
/// Sockets around another one that are followed: the PROXY protocol, taps and statistics.
const MAX_WRAPPED: usize = 4;

/// The clusters that one consists of which has no endpoints of its own (`envoy.clusters.aggregate`).
pub(super) fn consists_of(cluster: &Cluster) -> Option<impl Iterator<Item = &str>> {
    let custom = cluster.custom.as_ref()?;
    let config = custom.typed_config.as_ref();
    let is_aggregate = custom.name == "envoy.clusters.aggregate"
        || config.is_some_and(|one| one.type_url.ends_with(".clusters.aggregate.v3.ClusterConfig"));
    let names = match config.and_then(|one| one.clusters.as_ref()) {
        Some(Scalar::List(names)) => names.as_slice(),
        _ => &[],
    };
    let names = names.iter().filter_map(|one| match one {
        Scalar::Text(name) => Some(name.as_str()),
        _ => None,
    });
    is_aggregate.then_some(names)
}

/// What a cluster says; `None` where it leads to listeners of the same Envoy alone.
pub(super) fn upstream(cluster: &Cluster, context: &Context<'_>) -> Option<UpstreamIntent> {
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
        .filter_map(|(locality, endpoint)| {
            let address = server_address(&endpoint.endpoint.address)?;
            let resolve = matches!(address, ServerAddress::Host(..));
            let backup = locality.priority > 0;
            Some(Server { backup, resolve, ..Server::new(address, at.clone()) })
        })
        .collect();
    let (name, number) = CHOSEN_AT_RUN_TIME;
    let is_chosen_at_run_time = |kind: &Enumerated| kind.is(name, number);
    let is_open = cluster.custom.is_some()
        || cluster.discovery.as_ref().is_some_and(is_chosen_at_run_time)
        || assignment.is_none()
        || servers.len() < endpoints.len();
    let routes = routes(cluster, context, &endpoints, &at);
    Some(UpstreamIntent {
        target: Target::Group(cluster.name.clone()),
        servers,
        listing: if is_open { Servers::Dynamic } else { Servers::Listed },
        routes,
        by_variable: Arc::default(),
    })
}

/// One route for each transport socket that is in use, and for what health checks do otherwise.
fn routes(
    cluster: &Cluster,
    context: &Context<'_>,
    endpoints: &[(&Locality, &LbEndpoint)],
    at: &Place,
) -> Vec<Route> {
    let matches = &cluster.transport_socket_matches;
    let written = |position: usize| match matches.get(position) {
        Some(one) => (one.transport_socket.as_ref(), "transport_socket_matches"),
        None => (cluster.transport_socket.as_ref(), "transport_socket"),
    };
    let route = |position, directive: Option<&str>, only| {
        let (socket, name) = written(position);
        let (scheme, tls) = spoken(socket, cluster, context, at);
        let directive = directive.unwrap_or(name).to_owned();
        Route { directive, at: at.clone(), only, scheme, tls, default_name: None }
    };
    if cluster.transport_socket_matcher.is_some() {
        let by = "transport_socket_matcher";
        let (scheme, tls) = (Scheme::Unknown, left_open(by, at));
        let (directive, at, only) = (by.to_owned(), at.clone(), Vec::new());
        return vec![Route { directive, at, only, scheme, tls, default_name: None }];
    }
    if matches.is_empty() {
        return vec![route(0, None, Vec::new())];
    }
    let known = endpoints.iter().filter_map(|(locality, endpoint)| {
        Some((*locality, *endpoint, server_address(&endpoint.endpoint.address)?))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        // Nobody knows which endpoints there will be.
        return (0..=matches.len()).map(|position| route(position, None, Vec::new())).collect();
    }
    let mut chosen: Vec<Vec<ServerAddress>> = vec![Vec::new(); matches.len() + 1];
    let mut checks = chosen.clone();
    for (locality, endpoint, address) in known {
        let of_locality = matches::said(locality.metadata.as_ref());
        let own = matches::said(endpoint.metadata.as_ref());
        let by_traffic = matches::chosen(matches, own, of_locality);
        // Envoy takes no second one.
        let check = cluster.health_checks.first();
        if let Some((check, criteria)) = check.and_then(|it| Some((it, it.criteria.as_ref()?))) {
            let position = matches::chosen(matches, Some(criteria), of_locality);
            // One by TCP may have nothing to send.
            let is_silent = check.tcp_health_check.as_ref().is_some_and(|tcp| tcp.send.is_none())
                && route(position, None, Vec::new()).scheme != Scheme::Tls;
            if position != by_traffic && !is_silent {
                checks[position].push(address.clone());
            }
        }
        chosen[by_traffic].push(address);
    }
    let in_use = |all: Vec<Vec<ServerAddress>>| {
        all.into_iter().enumerate().filter(|(_, only)| !only.is_empty())
    };
    let traffic = in_use(chosen).map(|(position, only)| route(position, None, only));
    let checks =
        in_use(checks).map(|(position, only)| route(position, Some("health_checks"), only));
    traffic.chain(checks).collect()
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

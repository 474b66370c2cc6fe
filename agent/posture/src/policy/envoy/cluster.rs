//! From a cluster to an upstream.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Context,
    api::{Address, Cluster, Enumerated, LbEndpoint, Locality, Metadata, TransportSocket},
    tls, whole,
};
use crate::policy::intent::{
    Place, Route, Scheme, Server, ServerAddress, Servers, Setting, Target, TlsIntent,
    UpstreamIntent,
};

/// Discovery that brings other endpoints than those that are listed.
const CHOSEN_AT_RUN_TIME: (&str, i64) = ("ORIGINAL_DST", 4);
/// Sockets around another one that are followed: the PROXY protocol, taps and statistics.
const MAX_WRAPPED: usize = 4;

/// What a cluster says.
pub(super) fn upstream(cluster: &Cluster, context: &Context<'_>) -> UpstreamIntent {
    let at = whole(&format!("cluster {}", cluster.name));
    let service = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
    let service = service.filter(|name| !name.is_empty()).unwrap_or(&cluster.name);
    let discovered = || context.endpoints.get(service).copied();
    let assignment = cluster.load_assignment.as_ref().or_else(discovered);
    let localities = assignment.map_or(&[][..], |one| &one.endpoints);
    let endpoints: Vec<(&Locality, &LbEndpoint)> = localities
        .iter()
        .flat_map(|locality| locality.lb_endpoints.iter().map(move |endpoint| (locality, endpoint)))
        .collect();
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
    UpstreamIntent {
        target: Target::Group(cluster.name.clone()),
        servers,
        listing: if is_open { Servers::Dynamic } else { Servers::Listed },
        routes,
        by_variable: Arc::default(),
    }
}

/// One route for each transport socket that is in use.
fn routes(
    cluster: &Cluster,
    context: &Context<'_>,
    endpoints: &[(&Locality, &LbEndpoint)],
    at: &Place,
) -> Vec<Route> {
    let socket = |socket: Option<&TransportSocket>, name: &str, only| {
        let (scheme, tls) = spoken(socket, cluster, context, at);
        let directive = name.to_owned();
        Route { directive, at: at.clone(), only, scheme, tls, default_name: None }
    };
    let default = |only| socket(cluster.transport_socket.as_ref(), "transport_socket", only);
    if cluster.transport_socket_matches.is_empty() {
        return vec![default(Vec::new())];
    }
    // Of each endpoint the first match counts, or the default.
    let mut chosen: Vec<Vec<ServerAddress>> =
        vec![Vec::new(); cluster.transport_socket_matches.len() + 1];
    for (locality, endpoint) in endpoints {
        let Some(address) = server_address(&endpoint.endpoint.address) else { continue };
        let fits = |metadata: &Option<Metadata>, position: usize| {
            let says = metadata.as_ref().map(|one| &one.filter_metadata.transport_socket_match);
            let criteria = &cluster.transport_socket_matches[position].criteria;
            criteria.iter().all(|(key, wanted)| says.and_then(|says| says.get(key)) == Some(wanted))
        };
        // What the endpoint says goes before what its locality does.
        let metadata =
            if endpoint.metadata.is_some() { &endpoint.metadata } else { &locality.metadata };
        let all = cluster.transport_socket_matches.len();
        let first = (0..all).find(|&position| fits(metadata, position)).unwrap_or(all);
        chosen[first].push(address);
    }
    let named = |(position, only): (usize, Vec<ServerAddress>)| match cluster
        .transport_socket_matches
        .get(position)
    {
        Some(one) => socket(one.transport_socket.as_ref(), "transport_socket_matches", only),
        None => default(only),
    };
    let in_use = chosen.into_iter().enumerate().filter(|(_, only)| !only.is_empty());
    let routes: Vec<_> = in_use.map(named).collect();
    if !routes.is_empty() {
        return routes;
    }
    // Nobody knows which endpoints there will be.
    let matches = cluster.transport_socket_matches.iter();
    let mut all: Vec<_> = matches
        .map(|one| socket(one.transport_socket.as_ref(), "transport_socket_matches", Vec::new()))
        .collect();
    all.push(default(Vec::new()));
    all
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

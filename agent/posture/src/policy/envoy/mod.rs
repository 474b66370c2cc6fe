//! Envoy's configuration, as its admin interface shows it (`/config_dump?include_eds`) or as its
//! bootstrap file says it, for what it says about clusters.
//!
//! Covered: static and dynamic clusters, endpoints, `transport_socket` and `transport_socket_matches`,
//! TLS contexts with files, inline data and secrets by name (SDS), validation contexts, `auto_sni`,
//! and what a `tcp_proxy` passes on. Not evaluated: conditions of routes, and what an extension that is not Envoy's
//! own does; a transport socket that is not known is `unknown`.

mod api;
mod cluster;
mod matches;
mod passed_on;
mod tls;
mod yaml;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

pub use api::{Address, Admin, Bootstrap, ConfigDump, Pipe, SocketAddress};
pub use yaml::{YamlError, read_yaml};

use self::{
    api::{Cluster, LoadAssignment, ValidationContext},
    passed_on::PassedOn,
};
use super::intent::{Fault, Intent, Place, Server, Servers, Target, UpstreamIntent, remark};

/// Clusters and endpoints of one configuration that are taken.
const MAX_CLUSTERS: usize = 50_000;
const MAX_ENDPOINTS: usize = 500_000;

/// What an admin interface said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What is in force.
    pub intent: Intent,
    /// When the newest cluster was taken in, as Envoy writes it (RFC 3339); of a configuration without
    /// clusters nobody knows.
    pub updated: Option<String>,
    /// Clusters that are there and not in force yet: their secrets or endpoints are still to come.
    pub warming: usize,
}

/// What clusters refer to by name.
#[derive(Default)]
struct Context<'a> {
    endpoints: HashMap<&'a str, &'a LoadAssignment>,
    /// `None` for a secret that is named and not there yet.
    validations: HashMap<&'a str, &'a ValidationContext>,
    passed_on: PassedOn,
}

/// What is in force by an admin interface's answer.
///
/// # Errors
/// More clusters or endpoints than are taken.
pub fn running(dump: &ConfigDump) -> Result<Running, Fault> {
    let mut context = Context::default();
    for dumped in &dump.configs {
        let endpoints =
            dumped.static_endpoint_configs.iter().chain(&dumped.dynamic_endpoint_configs);
        for assignment in endpoints.map(|one| &one.endpoint_config) {
            context.endpoints.insert(&assignment.cluster_name, assignment);
        }
        let secrets = dumped.static_secrets.iter().chain(&dumped.dynamic_active_secrets);
        for secret in secrets {
            if let Some(validation) = &secret.secret.validation_context {
                context.validations.insert(&secret.name, validation);
            }
        }
        let listeners = dumped.static_listeners.iter().map(|one| &one.listener);
        let active = dumped.dynamic_listeners.iter().filter_map(|one| one.active_state.as_ref());
        for listener in listeners.chain(active.map(|state| &state.listener)) {
            context.passed_on.add(listener, true);
        }
        for routes in [&dumped.static_route_configs, &dumped.dynamic_route_configs] {
            context.passed_on.name(routes, true);
        }
    }
    let dumped = || {
        let all = dump.configs.iter();
        all.flat_map(|one| one.static_clusters.iter().chain(&one.dynamic_active_clusters))
    };
    let mut intent = intent(dumped().map(|one| &one.cluster), context)?;
    let warming = dump.configs.iter().map(|one| one.dynamic_warming_clusters.len()).sum();
    if warming > 0 {
        let text = || format!("{warming} clusters are warming and not in force yet");
        remark(&mut intent.remarks, &whole("config_dump"), text);
    }
    let updated = dumped().filter_map(|one| one.last_updated.as_deref()).max().map(str::to_owned);
    Ok(Running { intent, updated, warming })
}

/// What a bootstrap file says; `name` is what it is called in messages.
///
/// # Errors
/// As [`running`].
pub fn bootstrap(bootstrap: &Bootstrap, name: &str) -> Result<Intent, Fault> {
    let mut context = Context::default();
    for listener in &bootstrap.static_resources.listeners {
        context.passed_on.add(listener, false);
    }
    for secret in &bootstrap.static_resources.secrets {
        if let Some(validation) = &secret.validation_context {
            context.validations.insert(&secret.name, validation);
        }
    }
    let mut intent = intent(bootstrap.static_resources.clusters.iter(), context)?;
    if bootstrap.dynamic_resources.as_ref().is_some_and(|one| one.cds_config.is_some()) {
        let text = || "more clusters come at run time (cds_config)".to_owned();
        remark(&mut intent.remarks, &whole(name), text);
    }
    Ok(intent)
}

fn intent<'a>(
    clusters: impl Iterator<Item = &'a Cluster> + Clone,
    mut context: Context<'a>,
) -> Result<Intent, Fault> {
    let mut intent = Intent::default();
    let (mut endpoints, mut elsewhere) = (0, Vec::new());
    for cluster in clusters.clone() {
        if let Some(others) = cluster::consists_of(cluster) {
            context.passed_on.hand_on(&cluster.name, others);
        }
    }
    // Nobody connects to a cluster that consists of others, nor out of Envoy to its own listeners.
    let is_own = |cluster: &&Cluster| cluster::consists_of(cluster).is_none();
    for cluster in clusters.filter(is_own) {
        if intent.upstreams.len() == MAX_CLUSTERS {
            return Err(too_much("clusters", MAX_CLUSTERS));
        }
        let Some((upstream, checks)) = cluster::upstream(cluster, &context) else { continue };
        endpoints += upstream.servers.len();
        if endpoints > MAX_ENDPOINTS {
            return Err(too_much("endpoints", MAX_ENDPOINTS));
        }
        intent.upstreams.push(upstream);
        elsewhere.extend(checks);
    }
    // Where nothing but checks leads the address is what it is called.
    let mut known = HashMap::new();
    for check in elsewhere {
        let Some(address) = check.only.first().cloned() else { continue };
        let position = *known.entry(address.clone()).or_insert(intent.upstreams.len());
        if position == intent.upstreams.len() {
            intent.upstreams.push(UpstreamIntent {
                target: Target::Address(address.clone()),
                servers: vec![Server::new(address, check.at.clone())],
                listing: Servers::Listed,
                routes: Vec::new(),
                by_variable: Arc::default(),
            });
        }
        let routes = &mut intent.upstreams[position].routes;
        if !routes.contains(&check) {
            routes.push(check);
        }
    }
    Ok(intent)
}

fn too_much(what: &str, limit: usize) -> Fault {
    Fault { at: whole("clusters"), text: format!("there are more than {limit} {what}") }
}

/// Something as a whole.
fn whole(name: &str) -> Place {
    Place { file: name.into(), line: 0 }
}

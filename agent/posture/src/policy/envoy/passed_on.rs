//! Which clusters get bytes that Envoy passes on without reading them.

use std::collections::HashMap;

use super::api::{FilterChain, Listener};
use crate::policy::intent::Scheme;

/// The clusters that a `tcp_proxy` leads to, and how they are spoken to without TLS of their own.
#[derive(Debug, Default)]
pub(super) struct PassedOn(HashMap<String, Scheme>);

impl PassedOn {
    /// Takes in what a listener leads to.
    pub(super) fn add(&mut self, listener: &Listener) {
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            // TLS that Envoy has ended goes on in the clear.
            let scheme = match &chain.transport_socket {
                None => Scheme::Passthrough,
                Some(socket) if socket.name.contains("raw_buffer") => Scheme::Passthrough,
                Some(socket) if socket.name.contains("tls") => Scheme::Plaintext,
                Some(_) => Scheme::Unknown,
            };
            for cluster in clusters(chain) {
                self.lead(cluster, scheme);
            }
        }
    }

    /// What leads to a cluster leads to those that it consists of.
    pub(super) fn hand_on<'a>(&mut self, cluster: &str, others: impl Iterator<Item = &'a str>) {
        let Some(&scheme) = self.0.get(cluster) else { return };
        for other in others {
            self.lead(other, scheme);
        }
    }

    fn lead(&mut self, cluster: &str, scheme: Scheme) {
        let known = self.0.entry(cluster.to_owned()).or_insert(scheme);
        if *known != scheme {
            *known = Scheme::Unknown;
        }
    }

    /// How a cluster without TLS is spoken to.
    pub(super) fn scheme(&self, cluster: &str) -> Scheme {
        self.0.get(cluster).copied().unwrap_or(Scheme::Plaintext)
    }
}

fn clusters(chain: &FilterChain) -> impl Iterator<Item = &str> {
    let filters = chain.filters.iter().filter_map(|filter| filter.typed_config.as_ref());
    let proxies = filters.filter(|filter| filter.type_url.ends_with(".TcpProxy"));
    proxies.flat_map(|proxy| {
        let weighted = proxy.weighted_clusters.iter().flat_map(|one| &one.clusters);
        proxy.cluster.as_deref().into_iter().chain(weighted.map(|one| one.name.as_str()))
    })
}

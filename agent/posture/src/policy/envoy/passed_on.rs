//! Which clusters get bytes that Envoy passes on without reading them.

use std::collections::{HashMap, HashSet};

use super::api::{Listener, Mentions};
use crate::policy::intent::Scheme;

/// The clusters that a `tcp_proxy` leads to, and how they are spoken to without TLS of their own.
#[derive(Debug, Default)]
pub(super) struct PassedOn {
    led: HashMap<String, Scheme>,
    /// What else names clusters: it speaks to them itself.
    named: HashSet<String>,
    /// Requests may be led to any.
    is_open: bool,
    /// So may what is passed on: the server name that a client sends is that of the cluster, or another
    /// filter chooses it.
    leads_anywhere: bool,
}

impl PassedOn {
    /// Takes in what a listener leads to. Where all of Envoy is known, so are routes that it has from
    /// elsewhere.
    pub(super) fn add(&mut self, listener: &Listener, is_all_known: bool) {
        // What comes in there another part of Envoy has sent, in whatever way.
        let is_internal = listener.internal.is_some() || listener.address.internal.is_some();
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            // TLS that Envoy has ended goes on in the clear.
            let scheme = match &chain.transport_socket {
                _ if is_internal => Scheme::Unknown,
                None => Scheme::Passthrough,
                Some(socket) if socket.name.contains("raw_buffer") => Scheme::Passthrough,
                // That may begin later, or not at all.
                Some(socket) if socket.name.contains("starttls") => Scheme::Unknown,
                Some(socket) if socket.name.contains("tls") => Scheme::Plaintext,
                Some(_) => Scheme::Unknown,
            };
            for filter in chain.filters.iter().filter_map(|filter| filter.typed_config.as_ref()) {
                if filter.type_url.ends_with(".TcpProxy") {
                    let scheme = if filter.is_tunneled { Scheme::Unknown } else { scheme };
                    for cluster in &filter.led {
                        self.lead(cluster, scheme);
                    }
                    self.named.extend(filter.names.iter().cloned());
                } else {
                    self.name(filter, is_all_known);
                }
            }
        }
    }

    /// Takes in what speaks to clusters itself: routes, and filters that are no `tcp_proxy`.
    pub(super) fn name(&mut self, mentions: &Mentions, is_all_known: bool) {
        self.named.extend(mentions.led.iter().chain(&mentions.names).cloned());
        self.leads_anywhere |= mentions.chooses || mentions.type_url.ends_with(".SniCluster");
        self.is_open |= mentions.is_open || mentions.is_discovered && !is_all_known;
    }

    /// What leads to a cluster leads to those that it consists of.
    pub(super) fn hand_on<'a>(&mut self, cluster: &str, others: impl Iterator<Item = &'a str>) {
        let (led, is_named) = (self.led.get(cluster).copied(), self.named.contains(cluster));
        for other in others {
            if let Some(scheme) = led {
                self.lead(other, scheme);
            }
            if is_named {
                self.named.insert(other.to_owned());
            }
        }
    }

    fn lead(&mut self, cluster: &str, scheme: Scheme) {
        let known = self.led.entry(cluster.to_owned()).or_insert(scheme);
        if *known != scheme {
            *known = Scheme::Unknown;
        }
    }

    /// How a cluster without TLS is spoken to.
    pub(super) fn scheme(&self, cluster: &str) -> Scheme {
        if self.leads_anywhere {
            return Scheme::Unknown;
        }
        let own = Scheme::Plaintext;
        match self.led.get(cluster).copied().unwrap_or(own) {
            other if other != own && (self.is_open || self.named.contains(cluster)) => {
                Scheme::Unknown
            }
            scheme => scheme,
        }
    }
}

//! What is remembered of hops that are no longer in the table: that their configuration had a client
//! certificate.
//!
//! It is a property of the way to a server rather than of a name. Whoever removes the certificate may
//! rename the upstream with it, or do so on a hop that nobody has used for days.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::HopTable;
use crate::hops::hop::Hop;

/// Servers of hops that have ended, and since when their configuration had a client certificate on
/// every route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The hop's proxy.
    pub(in crate::hops) proxy: Arc<str>,
    /// Its upstream.
    pub(in crate::hops) upstream: Arc<str>,
    /// The server.
    pub(in crate::hops) server: SocketAddr,
    /// Since when, seconds since the Unix epoch.
    pub(in crate::hops) client_certificate_since: f64,
}

impl Ended {
    fn all_of(hop: &Hop) -> impl Iterator<Item = Self> {
        let since = hop.context.client_certificate_since.filter(|_| !hop.is_overflow());
        since.into_iter().flat_map(move |since| {
            hop.servers.iter().map(move |server| Self {
                proxy: hop.proxy.clone(),
                upstream: hop.upstream.clone(),
                server: server.address,
                client_certificate_since: since,
            })
        })
    }
}

impl HopTable {
    /// Since when the configuration of `proxy` has had a client certificate on every route to a
    /// server, by what is known of hops to it that were called `upstream`, or by a name that is
    /// configured no more.
    #[must_use]
    pub fn had_client_certificate(
        &self,
        proxy: &str,
        upstream: &str,
        server: SocketAddr,
        is_configured: impl Fn(&Arc<str>) -> bool,
    ) -> Option<f64> {
        let hops = self.hops.values().filter(|hop| &*hop.proxy == proxy && hop.is_to(server));
        let living = hops.flat_map(|hop| Ended::all_of(hop));
        living
            .chain(self.all_ended())
            .filter(|one| &*one.proxy == proxy && one.server == server)
            .find(|one| &*one.upstream == upstream || !is_configured(&one.upstream))
            .map(|one| one.client_certificate_since)
    }

    /// What is remembered of hops that have ended.
    #[must_use]
    pub fn ended(&self) -> Vec<Ended> {
        self.all_ended().collect()
    }

    fn all_ended(&self) -> impl Iterator<Item = Ended> {
        self.ended.iter().map(|((proxy, upstream, server), since)| Ended {
            proxy: proxy.clone(),
            upstream: upstream.clone(),
            server: *server,
            client_certificate_since: *since,
        })
    }

    /// Remembers a hop that ends: as many servers as there may be hops.
    pub(super) fn remember(&mut self, hop: &Hop) {
        for one in Ended::all_of(hop) {
            self.remember_one(one);
        }
    }

    /// Goes on with what was kept.
    pub(in crate::hops) fn remember_one(&mut self, one: Ended) {
        let Ended { proxy, upstream, server, client_certificate_since } = one;
        let key = (proxy, upstream, server);
        if self.ended.len() >= self.limits.max_hops && !self.ended.contains_key(&key) {
            let any = self.ended.keys().next().cloned();
            any.and_then(|any| self.ended.remove(&any));
        }
        self.ended.insert(key, client_certificate_since);
    }
}

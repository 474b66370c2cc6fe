//! The hop table: every (proxy, upstream) the agent knows, bounded, with what each is now.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{ends::Ends, hop::Hop, labels::OTHER};
use crate::{
    hops::{context::HopContext, moment::Moment},
    model::Security,
    report::ConnectionReport,
};

/// Overflow hops, one per proxy; the proxies beyond share one more.
const MAX_OVERFLOW_HOPS: usize = 256;

/// How large the table may grow and how long a silent hop stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Hops kept apart; further upstreams are counted under [`OTHER`] of their proxy.
    pub max_hops: usize,
    /// A hop without a report for this long is forgotten, and its series with it.
    pub idle_expiry: Duration,
    /// A treatment that nobody has seen for this long is out of use, unless it is the newest of its
    /// hop. Long, for a bad route may be taken once an hour.
    pub treatment_stands_for: Duration,
}

impl Default for HopLimits {
    fn default() -> Self {
        Self {
            max_hops: 10_000,
            idle_expiry: Duration::from_hours(24),
            treatment_stands_for: Duration::from_hours(2),
        }
    }
}

/// Every hop, by (proxy, upstream).
///
/// Hops are shared with [`Snapshot`]s and copied when they change while a snapshot holds them, so
/// that taking a snapshot costs one reference count per hop.
#[derive(Debug, Default)]
pub struct HopTable {
    limits: HopLimits,
    hops: HashMap<(Arc<str>, Arc<str>), Arc<Hop>>,
    overflow_hops: usize,
    totals: Totals,
}

/// Counts of the table as a whole, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections counted under [`OTHER`] because the table was full.
    pub overflowed_connections: u64,
    /// Hops forgotten because they were silent.
    pub expired_hops: u64,
}

/// The table at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When, seconds since the Unix epoch.
    pub at: f64,
    /// Limit on hops.
    pub max_hops: usize,
    /// Counts of the table as a whole.
    #[serde(flatten)]
    pub totals: Totals,
    /// The hops.
    pub hops: Vec<Arc<Hop>>,
}

impl Snapshot {
    /// The same, sorted by proxy and upstream.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.hops.sort_unstable_by(|a, b| (&a.proxy, &a.upstream).cmp(&(&b.proxy, &b.upstream)));
        self
    }

    /// Number of hops by what they are now; every word is present.
    #[must_use]
    pub fn by_security(&self) -> BTreeMap<Security, usize> {
        let mut counts: BTreeMap<_, _> = Security::ALL.iter().map(|&word| (word, 0)).collect();
        for hop in &self.hops {
            *counts.entry(hop.state.security).or_default() += 1;
        }
        counts
    }
}

impl HopTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: HopLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a report in at `now`, its ends named by itself alone.
    pub fn record(&mut self, report: &ConnectionReport, now: Moment) {
        self.record_between(&Ends::of(report), report, None, now);
    }

    /// Takes in what was said of a connection between `ends`, opened with the configuration that was
    /// loaded at `loaded_at` (seconds since the Unix epoch), where that is known.
    pub fn record_between(
        &mut self,
        ends: &Ends,
        report: &ConnectionReport,
        loaded_at: Option<f64>,
        now: Moment,
    ) {
        let limits = self.limits;
        let key = (ends.proxy.clone(), ends.upstream.clone());
        if let Some(hop) = self.hops.get_mut(&key) {
            Arc::make_mut(hop).record(report, loaded_at, now, limits.treatment_stands_for);
            return;
        }
        let key = self.new_key(key);
        let hop = self.hops.entry(key).or_insert_with_key(|(proxy, upstream)| {
            Arc::new(Hop::new(proxy.clone(), upstream.clone(), report.verdict, now))
        });
        if report.is_final && hop.is_overflow() {
            self.totals.overflowed_connections += 1;
        }
        Arc::make_mut(hop).record(report, loaded_at, now, limits.treatment_stands_for);
    }

    /// The key of a new hop if there is room, else of an overflow hop.
    fn new_key(&mut self, key: (Arc<str>, Arc<str>)) -> (Arc<str>, Arc<str>) {
        if self.len() < self.limits.max_hops {
            return key;
        }
        let mut key = (key.0, OTHER.into());
        if !self.hops.contains_key(&key) {
            if self.overflow_hops >= MAX_OVERFLOW_HOPS {
                key.0 = OTHER.into();
            }
            self.overflow_hops += usize::from(!self.hops.contains_key(&key));
        }
        key
    }

    /// Says what is known of a hop beside its connections; of one that is not kept apart, nothing.
    pub fn describe(
        &mut self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        context: HopContext,
        now: Moment,
    ) {
        if let Some(hop) = self.hops.get_mut(&(proxy.clone(), upstream.clone()))
            && hop.context != context
        {
            Arc::make_mut(hop).describe(context, now, self.limits.treatment_stands_for);
        }
    }

    /// Forgets the servers of a hop that are no longer behind its upstream's name.
    pub fn retain_servers(
        &mut self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        is_listed: impl Fn(SocketAddr) -> bool,
        now: Moment,
    ) {
        if let Some(hop) = self.hops.get_mut(&(proxy.clone(), upstream.clone()))
            && hop.servers.iter().any(|server| !is_listed(server.address))
        {
            Arc::make_mut(hop).retain_servers(is_listed, now, self.limits.treatment_stands_for);
        }
    }

    /// Forgets the hop from `proxy` to `upstream`: it will not be seen again under this name.
    pub fn forget(&mut self, proxy: &str, upstream: &str) {
        self.retain(|hop| (&*hop.proxy, &*hop.upstream) != (proxy, upstream));
    }

    /// Forgets hops that were silent for longer than the limit, and treatments that are out of use.
    pub fn expire(&mut self, now: Moment) {
        let limit = self.limits.idle_expiry;
        self.retain(|hop| now.monotonic.since(hop.heard) <= limit);
        for hop in self.hops.values_mut().filter(|hop| hop.is_mixed()) {
            Arc::make_mut(hop).judge(now, self.limits.treatment_stands_for);
        }
    }

    fn retain(&mut self, wanted: impl Fn(&Hop) -> bool) {
        let before = self.hops.len();
        self.hops.retain(|_, hop| wanted(hop));
        let expired = before - self.hops.len();
        if expired > 0 {
            self.totals.expired_hops += expired as u64;
            self.overflow_hops = self.hops.values().filter(|hop| hop.is_overflow()).count();
        }
    }

    /// Hops kept apart, without the overflow hops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hops.len() - self.overflow_hops
    }

    /// Whether there is no hop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hops.is_empty()
    }

    /// The table as it is at `now` (seconds since the Unix epoch), in no particular order;
    /// [`Snapshot::sorted`] sorts it away from the lock.
    #[must_use]
    pub fn snapshot(&self, now: f64) -> Snapshot {
        Snapshot {
            at: now,
            max_hops: self.limits.max_hops,
            totals: self.totals,
            hops: self.hops.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod in_use_tests;
#[cfg(test)]
mod tests;

//! The table at one moment.

use std::{collections::BTreeMap, sync::Arc};

use hopsight_core::model::Security;
use serde::{Deserialize, Serialize};

use crate::hops::{
    hop::Hop,
    witness::{Watch, Witness},
};

/// Counts of the table as a whole, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections counted under [`OTHER`](crate::hops::labels::OTHER) because the table was full.
    pub overflowed_connections: u64,
    /// Hops forgotten because they were silent.
    pub expired_hops: u64,
    /// Connections that a proxy closed before either side had sent a byte, those to upstreams without
    /// a hop included: they make none.
    #[serde(default)]
    pub unused_connections: u64,
    /// Hops forgotten for others, because the table was full and their owner had most of it.
    #[serde(default)]
    pub evicted_hops: u64,
}

/// The table at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which agent says so; absent in what an older one wrote.
    #[serde(flatten)]
    pub witness: Option<Witness>,
    /// When, RFC 3339; absent in what an older agent wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Arc<str>>,
    /// When, seconds since the Unix epoch.
    pub at: f64,
    /// What the agent says of its own watching; absent in captures, and in what an older agent wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
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

//! What happened between two accounts of one chain.

use std::collections::BTreeMap;

use hopsight_core::model::Reason;

use super::{
    account::{Account, HopAccount, NodeAccount},
    coverage::Coverage,
};
use crate::hops::{counts::Tally, witness::Losses};

/// A node between the account before and this one. Without an account before it is the whole time
/// that its agent knows.
#[derive(Clone, Debug)]
pub struct NodePeriod<'a> {
    /// The node now.
    pub node: &'a NodeAccount,
    /// Where it begins, seconds since the Unix epoch.
    pub from: f64,
    /// Seconds at its beginning for which nobody accounts: the run of the agent that watched then, if one
    /// did, has ended without saying what it lost. `None` where that is not known.
    pub unaccounted_seconds: Option<f64>,
    /// What was lost; `None` where that is not known.
    pub lost: Option<Losses>,
    /// Connections and hops that a full table could not keep apart.
    pub beyond_table: u64,
    /// Its hops.
    pub hops: Vec<HopPeriod<'a>>,
}

/// A hop in that time.
#[derive(Clone, Debug)]
pub struct HopPeriod<'a> {
    /// The hop at the end.
    pub hop: &'a HopAccount,
    /// Connections that finished, by verdict.
    pub connections: Vec<Tally>,
    /// How much of them is known.
    pub coverage: Coverage,
}

impl<'a> NodePeriod<'a> {
    /// Every node of `now`, since the account `before`.
    #[must_use]
    pub fn all(before: Option<&'a Account>, now: &'a Account) -> Vec<Self> {
        let earlier = |node: &NodeAccount| {
            before.and_then(|before| before.nodes.iter().find(|old| old.is_same_node(node)))
        };
        now.nodes.iter().map(|node| Self::of(earlier(node), node)).collect()
    }

    fn of(before: Option<&NodeAccount>, node: &'a NodeAccount) -> Self {
        let watch = node.watch.as_ref();
        // Counts of an agent go on until it ends; those of its table survive it where it keeps a state.
        let same_run = before.and_then(|before| {
            let earlier = before.watch.as_ref()?;
            (earlier.since.to_bits() == watch?.since.to_bits()).then_some(earlier)
        });
        let lost = watch.map(|watch| match same_run {
            Some(earlier) => watch.lost.since(earlier.lost),
            None => watch.lost,
        });
        let since = watch.map_or(node.at, |watch| watch.since);
        let from = before.map_or(since, |before| before.at);
        let beyond =
            |node: &NodeAccount| node.totals.overflowed_connections + node.totals.evicted_hops;
        let beyond_before = before.map_or(0, beyond);
        let mut known: BTreeMap<(&str, &str), &HopAccount> = BTreeMap::new();
        for hop in before.iter().flat_map(|before| &before.hops) {
            known.insert((&hop.proxy, &hop.upstream), hop);
        }
        let hop = |hop: &'a HopAccount| {
            HopPeriod::of(known.get(&(&*hop.proxy, &*hop.upstream)).copied(), hop)
        };
        Self {
            node,
            from,
            unaccounted_seconds: watch.map(|watch| (watch.since - from).max(0.0)),
            lost,
            // A table that began anew counts from nothing.
            beyond_table: beyond(node).checked_sub(beyond_before).unwrap_or(beyond(node)),
            hops: node.hops.iter().map(hop).collect(),
        }
    }
}

impl<'a> HopPeriod<'a> {
    fn of(before: Option<&HopAccount>, hop: &'a HopAccount) -> Self {
        let same = before.filter(|before| {
            before.first_seen.to_bits() == hop.first_seen.to_bits() && goes_on(before, hop)
        });
        let Some(before) = same else {
            let coverage = Coverage::of(&hop.connections, &hop.unknown_reasons);
            return Self { hop, connections: hop.connections.clone(), coverage };
        };
        let since = |tally: &Tally| Tally {
            connections: tally.connections - count(before, tally),
            ..tally.clone()
        };
        let connections: Vec<_> =
            hop.connections.iter().map(since).filter(|tally| tally.connections > 0).collect();
        let reasons = hop.unknown_reasons.iter();
        let reasons: BTreeMap<Reason, u64> = reasons
            .map(|(reason, count)| {
                let earlier = before.unknown_reasons.get(reason).copied().unwrap_or_default();
                (*reason, count.saturating_sub(earlier))
            })
            .collect();
        let coverage = Coverage::of(&connections, &reasons);
        Self { hop, connections, coverage }
    }
}

/// Whether no count is smaller than before: a table that was lost counts from nothing again.
fn goes_on(before: &HopAccount, now: &HopAccount) -> bool {
    before.connections.iter().all(|tally| count(now, tally) >= tally.connections)
}

/// Connections of a hop with the same verdict.
fn count(hop: &HopAccount, like: &Tally) -> u64 {
    let words = |tally: &Tally| (tally.security, tally.client_auth, tally.evidence, tally.outcome);
    let same = hop.connections.iter().filter(|tally| words(tally) == words(like));
    same.map(|tally| tally.connections).sum()
}

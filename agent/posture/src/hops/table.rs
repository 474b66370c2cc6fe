//! The hop table: every (proxy, upstream) the agent knows, bounded, with what each is now.

mod ended;
mod in_use;
mod snapshot;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

pub use ended::Ended;
pub use snapshot::{Snapshot, Totals};

use hopsight_core::report::ConnectionReport;

use super::{
    change::{Described, HopChange, IntentChange, Recorded, Renewal},
    context::HopContext,
    ends::Ends,
    evaluation::Evaluation,
    hop::Hop,
    labels::{self, OTHER},
    moment::Moment,
    server::Server,
    treatment::TreatmentKey,
};

/// Overflow hops, one per proxy; the proxies beyond share one more.
pub const MAX_OVERFLOW_HOPS: usize = 256;

/// How large the table may grow and how long a silent hop stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Hops kept apart. Beyond it who has fewer hops than somebody else presses out one of those;
    /// further upstreams of who has most are counted under [`OTHER`] of their proxy.
    pub max_hops: usize,
    /// A hop without a report for this long is forgotten, and its series with it.
    pub idle_expiry: Duration,
    /// A treatment that nobody has seen for this long is out of use, unless it is the newest of its
    /// hop. Long, for a bad route may be taken once an hour.
    pub treatment_stands_for: Duration,
}

impl Revision {
    const fn note_essential(&mut self) {
        self.any += 1;
        self.essential += 1;
    }
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
    /// Hops kept apart, by owner ([`labels::owner`]).
    of_owner: HashMap<Arc<str>, usize>,
    /// What is remembered of hops that are not in it any more.
    ended: HashMap<(Arc<str>, Arc<str>, SocketAddr), f64>,
    totals: Totals,
    revision: Revision,
}

/// Counts the changes of a table, so that whoever keeps it knows when it is worth while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Every change.
    pub any: u64,
    /// Changes of what hops are: all but counts, and times of the last report.
    pub essential: u64,
    /// Changes of a hop to something worse.
    pub worse: u64,
}

impl HopTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: HopLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a report in at `now`, its ends named by itself alone.
    pub fn record(&mut self, report: &ConnectionReport, now: Moment) {
        self.record_between(&Ends::of(report), report, Evaluation::default(), now);
    }

    /// Takes in what was said of a connection between `ends`; says what became of its hop.
    pub fn record_between(
        &mut self,
        ends: &Ends,
        report: &ConnectionReport,
        evaluation: Evaluation,
        now: Moment,
    ) -> Recorded {
        self.revision.any += 1;
        let stands_for = self.limits.treatment_stands_for;
        let key = (ends.proxy.clone(), ends.upstream.clone());
        if report.is_unused() {
            self.count_unused(&key);
            return Recorded::default();
        }
        let mut renewals = [None, None];
        let record = |hop: &mut Hop| renewals = hop.record(report, evaluation, now, stands_for);
        if let Some(hop) = self.hops.get_mut(&key) {
            let change = change(hop, &mut self.revision, record);
            return Recorded { hop: change, renewals: Renewal::of_hop(hop, report, renewals) };
        }
        let key = self.new_key(key);
        if *key.1 != *OTHER && !self.hops.contains_key(&key) {
            *self.of_owner.entry(labels::owner(&key.0).into()).or_default() += 1;
        }
        let hop = self.hops.entry(key).or_insert_with_key(|(proxy, upstream)| {
            Arc::new(Hop::new(proxy.clone(), upstream.clone(), report.verdict, now))
        });
        if report.is_final && hop.is_overflow() {
            self.totals.overflowed_connections += 1;
        }
        self.revision.note_essential();
        Recorded { hop: change(hop, &mut self.revision, record), renewals: Vec::new() }
    }

    /// Counts a connection that says nothing about its hop, not even that it is alive.
    fn count_unused(&mut self, key: &(Arc<str>, Arc<str>)) {
        self.totals.unused_connections += 1;
        if let Some(hop) = self.hops.get_mut(key) {
            Arc::make_mut(hop).counts.unused_connections += 1;
        }
    }

    /// The key of a new hop if there is room, else of an overflow hop.
    fn new_key(&mut self, key: (Arc<str>, Arc<str>)) -> (Arc<str>, Arc<str>) {
        if self.len() < self.limits.max_hops || self.make_room(labels::owner(&key.0)) {
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

    /// Forgets the least useful hop of the owner with most, if that leaves them no fewer than `owner`
    /// will have: one that violates nothing, if there is one, and has been silent for longest.
    fn make_room(&mut self, owner: &str) -> bool {
        let own = self.of_owner.get(owner).copied().unwrap_or_default();
        let most = self.of_owner.iter().max_by_key(|(_, hops)| **hops);
        let Some((crowded, _)) = most.filter(|(_, hops)| **hops > own + 1) else { return false };
        let is_theirs =
            |hop: &&Arc<Hop>| !hop.is_overflow() && labels::owner(&hop.proxy) == &**crowded;
        let theirs = self.hops.values().filter(is_theirs);
        let victim = theirs.min_by_key(|hop| (hop.is_in_violation(), hop.heard));
        let Some(key) = victim.map(|hop| (hop.proxy.clone(), hop.upstream.clone())) else {
            return false;
        };
        if let Some(gone) = self.hops.remove(&key) {
            self.remember(&gone);
        }
        self.count_owners();
        self.totals.evicted_hops += 1;
        true
    }

    fn count_owners(&mut self) {
        self.of_owner.clear();
        for hop in self.hops.values().filter(|hop| !hop.is_overflow()) {
            *self.of_owner.entry(labels::owner(&hop.proxy).into()).or_default() += 1;
        }
    }

    /// The hop that connections between these ends are counted under now.
    #[must_use]
    pub fn counted_under(&self, proxy: &Arc<str>, upstream: &Arc<str>) -> (Arc<str>, Arc<str>) {
        let own = (proxy.clone(), upstream.clone());
        if self.hops.contains_key(&own) {
            return own;
        }
        let overflow = (proxy.clone(), OTHER.into());
        if self.hops.contains_key(&overflow) { overflow } else { (OTHER.into(), OTHER.into()) }
    }

    /// Says what is known of a hop beside its connections, given what was known before.
    pub fn describe(
        &mut self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        context: impl FnOnce(&HopContext) -> HopContext,
        now: Moment,
    ) -> Described {
        let Some(hop) = self.hops.get_mut(&(proxy.clone(), upstream.clone())) else {
            return Described::default();
        };
        let mut context = context(&hop.context);
        context.continue_from(&hop.context, now.unix_seconds);
        if hop.context == context {
            return Described::default();
        }
        let intent = IntentChange::between(hop, &context);
        self.revision.note_essential();
        let hop = change(hop, &mut self.revision, |hop| {
            hop.describe(context, now, self.limits.treatment_stands_for);
        });
        Described { hop, intent }
    }

    /// A hop as it is now.
    #[must_use]
    pub fn get(&self, proxy: &Arc<str>, upstream: &Arc<str>) -> Option<&Arc<Hop>> {
        self.hops.get(&(proxy.clone(), upstream.clone()))
    }

    /// Forgets the servers of a hop that are no longer behind its upstream's name.
    pub fn retain_servers(
        &mut self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        counts: impl Fn(&Server) -> bool,
        now: Moment,
    ) -> Option<HopChange> {
        let hop = self.hops.get_mut(&(proxy.clone(), upstream.clone()))?;
        if hop.servers.iter().all(&counts) {
            return None;
        }
        change(hop, &mut self.revision, |hop| {
            hop.retain_servers(counts, now, self.limits.treatment_stands_for);
        })
    }

    /// Policy asks for something else of these hops: they are compliant once they were seen again.
    /// Says which are something else now.
    pub fn reconsider(&mut self, of: impl Fn(&Hop) -> bool, now: Moment) -> Vec<HopChange> {
        let mut changes = Vec::new();
        for hop in self.hops.values_mut().filter(|hop| of(hop)) {
            self.revision.note_essential();
            changes.extend(change(hop, &mut self.revision, |hop| hop.reconsider(now)));
        }
        changes
    }

    /// Puts a hop back that was kept, if there is room and it is not known already.
    pub(super) fn restore(&mut self, hop: Hop) {
        let has_room = if hop.is_overflow() {
            self.overflow_hops < MAX_OVERFLOW_HOPS
        } else {
            self.len() < self.limits.max_hops
        };
        let key = (hop.proxy.clone(), hop.upstream.clone());
        if has_room && !self.hops.contains_key(&key) {
            self.overflow_hops += usize::from(hop.is_overflow());
            if !hop.is_overflow() {
                *self.of_owner.entry(labels::owner(&hop.proxy).into()).or_default() += 1;
            }
            self.hops.insert(key, Arc::new(hop));
        }
    }

    /// Puts counts back that were kept.
    pub(super) const fn restore_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// Forgets the hop from `proxy` to `upstream`: it will not be seen again under this name.
    pub fn forget(&mut self, proxy: &str, upstream: &str) {
        self.retain(|hop| (&*hop.proxy, &*hop.upstream) != (proxy, upstream));
    }

    /// Forgets hops that were silent for longer than the limit, and treatments that are out of use;
    /// says which hops are something else without them.
    pub fn expire(&mut self, now: Moment) -> Vec<HopChange> {
        let HopLimits { idle_expiry, treatment_stands_for, .. } = self.limits;
        // One with an open drift stays to be seen for as long as that is told.
        self.retain(|hop| {
            !hop.is_silent(now.monotonic, idle_expiry) || hop.context.has_open_drift()
        });
        let may_change = |hop: &&mut Arc<Hop>| hop.may_change() || hop.older_sessions.is_some();
        let hops = self.hops.values_mut().filter(may_change);
        hops.filter_map(|hop| {
            change(hop, &mut self.revision, |hop| hop.judge(now, treatment_stands_for))
        })
        .collect()
    }

    fn retain(&mut self, wanted: impl Fn(&Hop) -> bool) {
        let before = self.hops.len();
        let gone: Vec<_> = self.hops.extract_if(|_, hop| !wanted(hop)).collect();
        for (_, hop) in &gone {
            self.remember(hop);
        }
        let expired = before - self.hops.len();
        if expired > 0 {
            self.revision.note_essential();
            self.totals.expired_hops += expired as u64;
            self.overflow_hops = self.hops.values().filter(|hop| hop.is_overflow()).count();
            self.count_owners();
        }
    }

    /// Hops kept apart, without the overflow hops.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hops.len() - self.overflow_hops
    }

    /// How often it has changed.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether there is no hop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hops.is_empty()
    }

    /// The table as it is at `now` (seconds since the Unix epoch), in no particular order;
    /// [`Snapshot::sorted`] sorts it away from the lock. Who watched is for the caller to say.
    #[must_use]
    pub fn snapshot(&self, now: f64) -> Snapshot {
        Snapshot {
            witness: None,
            time: None,
            at: now,
            watch: None,
            max_hops: self.limits.max_hops,
            totals: self.totals,
            hops: self.hops.values().cloned().collect(),
        }
    }
}

/// Changes a hop, counts that, and says what became of it.
fn change(
    hop: &mut Arc<Hop>,
    revision: &mut Revision,
    change: impl FnOnce(&mut Hop),
) -> Option<HopChange> {
    let hop = Arc::make_mut(hop);
    let (from, parts) = (TreatmentKey::of(&hop.state), hop.parts());
    change(hop);
    let change = HopChange::since(from, hop);
    if change.as_ref().is_some_and(HopChange::is_for_the_worse) {
        revision.worse += 1;
    }
    if change.is_some() || hop.parts() != parts {
        revision.note_essential();
    }
    change
}

#[cfg(test)]
mod crowd_tests;
#[cfg(test)]
mod in_use_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worst_tests;

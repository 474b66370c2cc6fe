//! The hop table: every (proxy, upstream) the agent knows, bounded, with what each is now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    hop::Hop,
    hop_context::HopContext,
    labels::{self, OTHER},
};
use crate::{model::Security, report::ConnectionReport};

/// Overflow hops, one per proxy; the proxies beyond share one more.
const MAX_OVERFLOW_HOPS: usize = 256;

/// How large the table may grow and how long a silent hop stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Hops kept apart; further upstreams are counted under [`OTHER`] of their proxy.
    pub max_hops: usize,
    /// A hop without a report for this long is forgotten, and its series with it.
    pub idle_expiry: Duration,
}

impl Default for HopLimits {
    fn default() -> Self {
        Self { max_hops: 10_000, idle_expiry: Duration::from_hours(24) }
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

    /// Takes a report in at `now` (seconds since the Unix epoch).
    pub fn record(&mut self, report: &ConnectionReport, now: f64) {
        let key = self.key(report);
        let hop = self.hops.entry(key).or_insert_with_key(|(proxy, upstream)| {
            Arc::new(Hop::new(proxy.clone(), upstream.clone(), report.verdict, now))
        });
        if report.is_final && hop.is_overflow() {
            self.totals.overflowed_connections += 1;
        }
        Arc::make_mut(hop).record(report, now);
    }

    /// The key of an existing hop, of a new one if there is room, else of an overflow hop.
    fn key(&mut self, report: &ConnectionReport) -> (Arc<str>, Arc<str>) {
        let key = (labels::proxy(&report.origin), labels::upstream(report));
        if self.hops.contains_key(&key) || self.len() < self.limits.max_hops {
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
    pub fn describe(&mut self, proxy: &Arc<str>, upstream: &Arc<str>, context: HopContext) {
        if let Some(hop) = self.hops.get_mut(&(proxy.clone(), upstream.clone()))
            && hop.context != context
        {
            Arc::make_mut(hop).context = context;
        }
    }

    /// Forgets hops that were silent for longer than the limit.
    pub fn expire(&mut self, now: f64) {
        let oldest = now - self.limits.idle_expiry.as_secs_f64();
        let before = self.hops.len();
        self.hops.retain(|_, hop| hop.last_seen >= oldest);
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

    /// The table as it is at `now`, in no particular order; [`Snapshot::sorted`] sorts it away
    /// from the lock.
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
mod tests {
    use super::*;
    use crate::{
        export::testing::{certificate, early, process, rejected, report, to},
        model::{
            ClientAuth, Outcome, Reason,
            Security::{Mtls, Plaintext, Tls, Unknown},
            ServerVerified,
        },
    };

    fn table(max_hops: usize) -> HopTable {
        HopTable::new(HopLimits { max_hops, ..HopLimits::default() })
    }

    fn only_hop(reports: impl IntoIterator<Item = ConnectionReport>) -> Hop {
        let mut table = table(10);
        for (second, report) in reports.into_iter().enumerate() {
            table.record(&report, f64::from(u32::try_from(second).expect("few reports")));
        }
        let snapshot = table.snapshot(0.0);
        assert_eq!(snapshot.hops.len(), 1);
        Hop::clone(&snapshot.hops[0])
    }

    #[test]
    fn state_follows_the_newest_certain_report() {
        let incomplete = |mut report: ConnectionReport| {
            report.verdict.outcome = Outcome::Incomplete;
            report
        };
        let failed = |mut report: ConnectionReport| {
            report.verdict.outcome = Outcome::Failed;
            report
        };
        for (name, reports, want) in [
            ("newest wins", vec![report(1, Mtls), report(2, Plaintext)], Plaintext),
            ("unknown changes nothing", vec![report(1, Plaintext), report(2, Unknown)], Plaintext),
            ("only unknown", vec![report(1, Unknown)], Unknown),
            ("an older one reported late", vec![report(2, Plaintext), report(1, Mtls)], Plaintext),
            ("rejected is not mtls", vec![rejected(report(1, Mtls))], Unknown),
            ("rejected after one-way", vec![report(1, Tls), rejected(report(2, Mtls))], Tls),
            ("failed is not one-way", vec![failed(report(1, Tls))], Unknown),
            ("unfinished is not mtls", vec![incomplete(report(1, Mtls))], Unknown),
            ("clear text counts at once", vec![early(incomplete(report(1, Plaintext)))], Plaintext),
            (
                "refused afterwards",
                vec![early(report(1, Mtls)), rejected(report(1, Mtls))],
                Unknown,
            ),
            (
                "refused afterwards, others stand",
                vec![report(1, Tls), early(report(2, Mtls)), rejected(report(2, Mtls))],
                Tls,
            ),
            (
                "two refused afterwards",
                vec![
                    early(report(1, Mtls)),
                    early(report(2, Mtls)),
                    rejected(report(1, Mtls)),
                    rejected(report(2, Mtls)),
                ],
                Unknown,
            ),
            (
                "a refusal takes back its own claim only",
                vec![early(report(1, Mtls)), report(2, Plaintext), rejected(report(1, Mtls))],
                Plaintext,
            ),
            ("revised upward", vec![early(report(1, Tls)), report(1, Mtls)], Mtls),
            ("found uncertain", vec![early(report(1, Mtls)), report(1, Unknown)], Unknown),
        ] {
            assert_eq!(only_hop(reports).state.security, want, "{name}");
        }
    }

    #[test]
    fn each_connection_is_counted_once() {
        let hop = only_hop([
            early(report(1, Unknown)),
            early(report(1, Tls)),
            report(1, Mtls),
            report(2, Unknown),
            rejected(report(3, Mtls)),
        ]);
        assert_eq!(hop.count_of(|t| t.security == Mtls), 2);
        assert_eq!(hop.count_of(|t| t.security == Tls), 0);
        assert_eq!(hop.unknown_reasons[&Reason::EncryptedHandshake], 1);
        assert_eq!(hop.count_of(|t| t.outcome == Outcome::Rejected), 1);
        assert_eq!(hop.failures["unknown_ca"], 1);
        assert_eq!(hop.negotiated[0].connections, 3);
        assert_eq!((hop.resumed_connections, hop.resumption_known), (0, 3));
        assert_eq!(hop.last_alert.as_ref().map(|alert| alert.at), Some(4.0));
    }

    #[test]
    fn since_is_the_last_change_of_security() {
        let hop = only_hop([report(1, Tls), report(2, Tls), report(3, Mtls), report(4, Mtls)]);
        assert_eq!((hop.first_seen, hop.security_since, hop.last_seen), (0.0, 2.0, 3.0));
    }

    #[test]
    fn certificates_stay_while_they_are_in_use() {
        let with = |mut report: ConnectionReport| {
            report.server_certificate = Some(certificate("server", 100));
            report.client_certificate = Some(certificate("client", 200));
            report
        };
        for (name, reports, server, client) in [
            ("seen", vec![with(report(1, Mtls))], true, true),
            ("resumed later", vec![with(report(1, Mtls)), report(2, Mtls)], true, true),
            ("refused", vec![with(rejected(report(1, Mtls)))], true, true),
            ("unreadable later", vec![with(report(1, Mtls)), report(2, Unknown)], true, true),
            ("one-way now", vec![with(report(1, Mtls)), report(2, Tls)], true, false),
            ("clear text now", vec![with(report(1, Mtls)), report(2, Plaintext)], false, false),
        ] {
            let hop = only_hop(reports);
            assert_eq!(hop.server_certificate.is_some(), server, "{name}: server");
            assert_eq!(hop.client_certificate.is_some(), client, "{name}: client");
        }
    }

    #[test]
    fn resumed_connections_keep_the_answer_on_verification() {
        let verified = |mut report: ConnectionReport, answer| {
            report.verdict.server_verified = answer;
            report
        };
        let resumed = |mut report: ConnectionReport| {
            report.resumed = Some(true);
            report
        };
        let full = || verified(report(1, Mtls), ServerVerified::Yes);
        for (name, later, want) in [
            ("resumed", resumed(report(2, Mtls)), ServerVerified::Yes),
            ("full and silent", report(2, Mtls), ServerVerified::Unknown),
            ("full and failing", verified(report(2, Tls), ServerVerified::No), ServerVerified::No),
        ] {
            assert_eq!(only_hop([full(), later]).state.server_verified, want, "{name}");
        }
    }

    #[test]
    fn hops_beyond_the_limit_share_one_that_never_claims_mtls() {
        let mut table = table(2);
        for (flow, security) in [Mtls, Mtls, Mtls, Tls, Mtls].into_iter().enumerate() {
            let flow = flow as u64;
            table.record(&to(report(flow, security), &format!("10.0.0.{flow}:443")), 1.0);
        }
        let other = |table: &HopTable| {
            let snapshot = table.snapshot(1.0).sorted();
            let hop = snapshot.hops.iter().find(|hop| hop.is_overflow()).expect("overflow hop");
            (Hop::clone(hop), snapshot.totals)
        };
        let (hop, totals) = other(&table);
        assert_eq!(table.len(), 2);
        assert_eq!((&*hop.proxy, hop.state.security), ("nginx", Tls));
        assert_eq!(hop.count_of(|t| t.security == Mtls), 2);
        assert_eq!(hop.count_of(|t| t.security == Tls), 1);
        assert_eq!(totals.overflowed_connections, 3);

        table.record(&to(report(9, Plaintext), "10.0.0.9:80"), 1.0);
        table.record(&to(report(10, Tls), "10.0.0.10:443"), 1.0);
        assert_eq!(other(&table).0.state.security, Plaintext, "the worst of them");
    }

    #[test]
    fn proxies_beyond_the_limit_are_bounded_too() {
        let mut table = table(1);
        for proxy in 0..2_000 {
            let mut report = report(proxy, Tls);
            report.origin = process(&format!("p{proxy}"));
            table.record(&report, 1.0);
        }
        assert_eq!(table.snapshot(1.0).hops.len(), 1 + MAX_OVERFLOW_HOPS + 1);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn silent_hops_are_forgotten_and_make_room() {
        let mut table =
            HopTable::new(HopLimits { max_hops: 1, idle_expiry: Duration::from_secs(10) });
        table.record(&report(1, Tls), 0.0);
        table.record(&to(report(2, Tls), "10.0.0.2:443"), 5.0);
        table.expire(10.0);
        assert_eq!(table.snapshot(10.0).hops.len(), 2, "not older than the limit");
        table.expire(10.5);
        assert_eq!(table.snapshot(10.5).totals.expired_hops, 1);
        table.record(&to(report(3, Tls), "10.0.0.3:443"), 11.0);
        assert!(table.snapshot(11.0).hops.iter().any(|hop| &*hop.upstream == "10.0.0.3:443"));
        table.expire(100.0);
        assert!(table.is_empty());
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut table = table(10);
        table.record(&report(1, Tls), 1.0);
        let before = table.snapshot(1.0);
        table.record(&report(2, Mtls), 2.0);
        assert_eq!(before.hops[0].state.security, Tls);
        assert_eq!(table.snapshot(2.0).by_security()[&Mtls], 1);
    }

    #[test]
    fn an_ipv4_mapped_destination_is_the_ipv4_hop() {
        let mut table = table(10);
        table.record(&report(1, Tls), 1.0);
        table.record(&to(report(2, Tls), "[::ffff:10.0.0.1]:443"), 1.0);
        table.record(&to(report(3, Tls), "[2001:db8::1]:443"), 1.0);
        let snapshot = table.snapshot(1.0).sorted();
        let upstreams: Vec<_> = snapshot.hops.iter().map(|hop| &*hop.upstream).collect();
        assert_eq!(upstreams, ["10.0.0.1:443", "[2001:db8::1]:443"]);
    }

    #[test]
    fn json_reads_back() {
        let mut report = rejected(report(1, Mtls));
        report.server_certificate = Some(certificate("server", 100));
        let mut table = table(10);
        table.record(&report, 1.5);
        let snapshot = table.snapshot(2.0).sorted();
        let json = serde_json::to_value(&snapshot).expect("serialize");
        let hop = &json["hops"][0];
        assert_eq!(hop["security"], "unknown");
        assert_eq!(hop["last_verdict"]["outcome"], "rejected");
        assert_eq!(hop["last_alert"]["description"], "unknown_ca");
        assert_eq!(hop["server_certificate"]["subject"], "CN=server");
        let back: Snapshot = serde_json::from_value(json).expect("deserialize");
        assert_eq!(back.hops.len(), 1);
        assert_eq!(back.hops[0].state.client_auth, ClientAuth::Unknown);
        assert_eq!(back.hops[0].connections[0].outcome, Outcome::Rejected);
    }
}

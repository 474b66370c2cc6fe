use std::{sync::Arc, time::Duration};

use hopsight_core::{model::Timestamp, report::Verdict};

use super::{
    assess_tests::{MUTUAL, NOW, ONE_WAY, PLAINTEXT, RESUMED, observation},
    *,
};
use crate::{
    hops::{
        context::{HopContext, IntentSummary},
        ends::Ends,
        evaluation::Evaluation,
        kept::Kept,
        moment::Moment,
        table::{HopLimits, HopTable, Totals},
        testing,
    },
    policy::{
        intent::UpstreamIntent,
        observation::Observation,
        rules::PolicySet,
        time::{Step, UnixTime},
    },
};

/// Before every time of these tests.
pub(super) const SEES_SINCE: UnixTime = UnixTime(0);

/// A tracker with the table of hops beside it, the policy `mtls` for everything, and a clock in
/// seconds after [`NOW`].
pub(super) struct Scene {
    pub(super) tracker: DriftTracker,
    pub(super) hops: HopTable,
    pub(super) policies: PolicySet,
    /// What the proxy's configuration says, which connections are opened with.
    pub(super) intent: Option<UpstreamIntent>,
    pub(super) connections: u64,
    /// By how many seconds the wall clock was set.
    pub(super) set_by: i64,
    /// When the last connection was recorded.
    pub(super) recorded_at: Timestamp,
}

pub(super) fn at(seconds: u64) -> UnixTime {
    NOW + Duration::from_secs(seconds)
}

impl Scene {
    pub(super) fn new(options: Options) -> Self {
        let policies = PolicySet::parse("[[policies]]\nrequire = \"mtls\"").unwrap();
        let limits = HopLimits { treatment_stands_for: options.stands_for, ..HopLimits::default() };
        Self {
            tracker: DriftTracker::new(options, Snapshot::default(), SEES_SINCE),
            hops: HopTable::new(limits),
            policies,
            intent: None,
            connections: 0,
            set_by: 0,
            recorded_at: Timestamp(0),
        }
    }

    /// A connection to `upstream` opened at `seconds` and seen a quarter of a second later.
    pub(super) fn seen(&mut self, upstream: &str, verdict: Verdict, seconds: u64) -> Vec<String> {
        self.observe(&Observation { upstream, at: at(seconds), ..observation(verdict) }, seconds)
    }

    pub(super) fn observe(&mut self, seen: &Observation<'_>, seconds: u64) -> Vec<String> {
        let now = at(seconds) + Duration::from_millis(250);
        let intents: Vec<_> = self.intent.iter().collect();
        let assessment = assess(self.policies.find(&seen.subject()), &intents, seen, now);
        self.record(seen, assessment.compliance(), seconds);
        words(self.tracker.observe(seen, &assessment, now))
    }

    /// Records the connection in the table of hops.
    fn record(&mut self, seen: &Observation<'_>, compliance: Compliance, seconds: u64) {
        self.connections += 1;
        let mut report = testing::report(self.connections, seen.verdict.security);
        report.verdict = seen.verdict;
        report.destination = seen.address;
        report.decided_at = self.moment(seconds).monotonic;
        report.client_certificate = seen.client_certificate.cloned().map(Arc::new);
        report.server_certificate = seen.server_certificate.cloned().map(Arc::new);
        let (proxy, upstream): (Arc<str>, Arc<str>) = (seen.proxy.into(), seen.upstream.into());
        let ends = Ends { proxy: proxy.clone(), upstream: upstream.clone(), pod: None };
        let loaded_at = seen.configured_at.map(UnixTime::as_secs_f64);
        let evaluation =
            Evaluation { loaded_at, compliance: Some(compliance), ..Evaluation::default() };
        let now = self.moment(seconds);
        self.recorded_at = now.monotonic;
        self.hops.record_between(&ends, &report, evaluation, now);
        let intent = self.intent.as_ref().map(IntentSummary::of);
        let describe = |known: &HopContext| {
            if known.loaded_at > loaded_at {
                // A worker with an older configuration.
                return known.clone();
            }
            HopContext { intent, is_shared: seen.is_shared, loaded_at, ..known.clone() }
        };
        self.hops.describe(&proxy, &upstream, describe, now);
    }

    fn moment(&self, seconds: u64) -> Moment {
        let monotonic = seconds.checked_add_signed(-self.set_by).expect("a time");
        let monotonic = Timestamp(monotonic * 1_000_000_000);
        Moment { unix_seconds: at(seconds).as_secs_f64(), monotonic }
    }

    pub(super) fn tick(&mut self, seconds: u64) -> Vec<String> {
        let now = self.moment(seconds);
        self.hops.expire(now);
        let hops = &self.hops;
        let in_use = |drift: &OpenDrift, causes: &Causes| {
            hops.use_of((&drift.proxy, &drift.upstream), drift.server, causes)
        };
        words(self.tracker.tick(at(seconds), in_use))
    }

    pub(super) fn restarted(self, options: Options) -> Self {
        let json = serde_json::to_string(&self.tracker.snapshot()).unwrap();
        let snapshot = serde_json::from_str(&json).unwrap();
        Self { tracker: DriftTracker::new(options, snapshot, SEES_SINCE), ..self }
    }

    /// The table of hops after a restart at `seconds`.
    pub(super) fn restarted_hops(&self, seconds: u64) -> HopTable {
        let hops = self.hops.snapshot(0.0).hops;
        let kept = Kept::of(Totals::default(), &hops, self.hops.ended(), self.recorded_at);
        let json = serde_json::to_string(&kept).unwrap();
        let kept: Kept = serde_json::from_str(&json).unwrap();
        let mut table = HopTable::new(HopLimits::default());
        kept.restore(&mut table, Some, self.moment(seconds), 0.0);
        table
    }
}

pub(super) fn words(events: Vec<DriftEvent>) -> Vec<String> {
    let mut words: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            DriftEvent::Opened(drift) => {
                let detection = drift.detection();
                let detection = detection.map_or("preexisting".into(), |span| format!("{span:?}"));
                format!("+{} {} {detection}", drift.upstream, drift.rule)
            }
            DriftEvent::Closed(closed) => format!(
                "-{} {} {:?} {:?}",
                closed.drift.upstream,
                closed.drift.rule,
                closed.end,
                closed.remediation()
            ),
        })
        .collect();
    words.sort();
    words
}

pub(super) const NONE: [&str; 0] = [];

/// What nobody sees is out of use soon.
pub(super) fn quick() -> Options {
    let options = Options::default();
    Options { stands_for: options.settle, ..options }
}

#[test]
fn a_drift_opens_at_once_and_closes_when_it_is_mended() {
    let mut scene = Scene::new(quick());
    assert_eq!(scene.seen("payments", MUTUAL, 0), NONE);
    assert_eq!(scene.seen("payments", ONE_WAY, 10), ["+payments never_requested 250ms"]);
    assert_eq!(scene.seen("payments", ONE_WAY, 20), NONE);
    assert_eq!(scene.seen("payments", PLAINTEXT, 30), ["+payments plaintext 250ms"]);
    assert_eq!(scene.tick(40), NONE);
    // Plaintext does not show that the upstream asks for certificates again.
    assert_eq!(scene.seen("payments", MUTUAL, 50), NONE);
    assert_eq!(
        scene.tick(50),
        [
            "-payments never_requested Remediated Some(39.75s)",
            "-payments plaintext Remediated Some(19.75s)",
        ]
    );
    assert_eq!(scene.tracker.open().count(), 0);
    assert_eq!(scene.tracker.closed().count(), 2);
}

/// A connection opened with a configuration that is in force since `configured`.
pub(super) fn with(verdict: Verdict, seconds: u64, configured: u64) -> Observation<'static> {
    Observation {
        upstream: "payments",
        at: at(seconds),
        loaded_at: Some(at(configured)),
        configured_at: Some(at(configured)),
        ..observation(verdict)
    }
}

#[test]
fn what_is_older_than_the_agent_has_no_detection_time() {
    for (name, load, opened, expected) in [
        ("caused by an older load", Some(5), 20, "+payments plaintext preexisting"),
        ("an adopted connection", None, 5, "+payments plaintext preexisting"),
        ("loaded under the agent's eyes", Some(15), 20, "+payments plaintext 5.25s"),
    ] {
        let mut scene = Scene::new(Options::default());
        scene.tracker = DriftTracker::new(Options::default(), Snapshot::default(), at(10));
        let seen = Observation { loaded_at: load.map(at), ..with(PLAINTEXT, opened, 0) };
        assert_eq!(scene.observe(&seen, opened), [expected], "{name}");
    }
}

#[test]
fn a_set_clock_makes_no_drift_older_or_younger() {
    let day = Duration::from_hours(24);
    let step_of = |before: u64, after: u64| match after.checked_sub(before) {
        Some(_) => Step::Forward(day),
        None => Step::Back(day),
    };
    for (before, after) in [(0, 86_400), (86_400, 0)] {
        let mut scene = Scene::new(quick());
        scene.seen("payments", PLAINTEXT, before + 10);
        scene.seen("orders", RESUMED, before + 10);
        scene.tracker.clock_was_set(step_of(before, after));
        scene.set_by = if after > before { 86_400 } else { -86_400 };
        assert_eq!(scene.tick(after + 20), NONE);
        let since: Vec<_> = scene.tracker.open().map(|drift| drift.since).collect();
        assert_eq!(since, [at(after + 10)]);
        assert_eq!(scene.seen("orders", RESUMED, after + 30), NONE);
        scene.seen("payments", MUTUAL, after + 30);
        assert_eq!(scene.tick(after + 31), ["-payments plaintext Remediated Some(19.75s)"]);
        let patience = Options::default().resumed_unseen_after.as_secs();
        assert_eq!(scene.seen("orders", RESUMED, after + 9 + patience), NONE);
        let late = scene.seen("orders", RESUMED, after + 10 + patience);
        assert_eq!(late.len(), 1, "{late:?}");
    }
}

#[test]
fn unknown_neither_opens_nor_closes() {
    let mut scene = Scene::new(Options::default());
    assert_eq!(scene.seen("payments", RESUMED, 0), NONE);
    scene.seen("payments", ONE_WAY, 1);
    scene.seen("payments", RESUMED, 2);
    assert_eq!(scene.tick(100), NONE);
    let open: Vec<_> = scene.tracker.open().map(|drift| drift.rule).collect();
    assert_eq!(open, [Rule::NeverRequested]);
}

#[test]
fn resumed_sessions_become_a_drift_when_they_are_all_there_is() {
    let options = Options { resumed_unseen_after: Duration::from_mins(1), ..Options::default() };
    let mut scene = Scene::new(options);
    assert_eq!(scene.seen("payments", RESUMED, 0), NONE);
    assert_eq!(scene.seen("payments", RESUMED, 59), NONE);
    let mut scene = scene.restarted(options);
    assert_eq!(scene.seen("payments", RESUMED, 60), ["+payments resumed_unseen 60.25s"]);
    assert_eq!(scene.seen("payments", MUTUAL, 70), NONE);
    assert_eq!(scene.tick(75), ["-payments resumed_unseen Remediated Some(9.75s)"]);
    // A full handshake in between starts the count again.
    scene.seen("payments", RESUMED, 100);
    scene.seen("payments", MUTUAL, 150);
    assert_eq!(scene.seen("payments", RESUMED, 161), NONE);
}

#[test]
fn a_reload_that_caused_it_counts_as_its_beginning() {
    for (name, good, load, expected) in [
        ("good, reload, bad", Some((0, None)), 5, "+payments plaintext 5.25s"),
        ("reload, bad", None, 5, "+payments plaintext 5.25s"),
        ("reload, good, bad", Some((7, None)), 5, "+payments plaintext 250ms"),
        ("reload, good with it, bad", Some((7, Some(5))), 5, "+payments plaintext 250ms"),
        (
            "reload, an old worker's good one, bad",
            Some((7, Some(1))),
            5,
            "+payments plaintext 5.25s",
        ),
        ("bad, reload", Some((0, None)), 11, "+payments plaintext 250ms"),
    ] {
        let mut scene = Scene::new(Options::default());
        let observed = |verdict, seconds, load: Option<u64>| Observation {
            at: at(seconds),
            loaded_at: load.map(at),
            ..observation(verdict)
        };
        if let Some((seconds, load)) = good {
            assert_eq!(scene.observe(&observed(MUTUAL, seconds, load), seconds), NONE, "{name}");
        }
        let seen = observed(PLAINTEXT, 10, Some(load));
        assert_eq!(scene.observe(&seen, 10), [expected], "{name}");
    }
}

#[test]
fn open_drift_keeps_its_age_across_a_restart() {
    let mut scene = Scene::new(quick());
    scene.seen("payments", PLAINTEXT, 0);
    scene.seen("reports", PLAINTEXT, 1);
    scene.seen("reports", MUTUAL, 2);
    scene.tick(10);
    let mut scene = scene.restarted(quick());
    let open: Vec<_> = scene.tracker.open().cloned().collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].open_for(at(600)), Duration::from_mins(10));
    // It was told before; it is not opened again.
    assert_eq!(scene.seen("payments", PLAINTEXT, 600), NONE);
    scene.seen("payments", MUTUAL, 700);
    assert_eq!(scene.tick(705), ["-payments plaintext Remediated Some(699.75s)"]);
    let closed: Vec<_> = scene.tracker.closed().map(|closed| &*closed.drift.upstream).collect();
    assert_eq!(closed, ["reports", "payments"]);
}

#[test]
fn the_number_of_hops_is_bounded() {
    let mut scene = Scene::new(Options { max_hops: 2, max_closed: 1, ..quick() });
    for upstream in ["a", "b", "c", "c"] {
        scene.seen(upstream, PLAINTEXT, 0);
    }
    assert_eq!((scene.tracker.open().count(), scene.tracker.dropped()), (2, 2));
    scene.seen("a", MUTUAL, 1);
    scene.seen("b", MUTUAL, 1);
    assert_eq!(scene.tick(60).len(), 2);
    assert_eq!(scene.tracker.closed().count(), 1);
}

#[test]
fn a_violation_is_told_however_many_were_seen_before() {
    let mut scene = Scene::new(Options { max_hops: 2, ..quick() });
    let to = |port, upstream, verdict| Observation {
        upstream,
        address: ([10, 0, 0, 1], port).into(),
        ..observation(verdict)
    };
    for port in 1..=500 {
        scene.observe(&to(port, "~other", MUTUAL), 0);
    }
    assert_eq!(scene.observe(&to(501, "~other", PLAINTEXT), 1).len(), 1, "another server");
    for upstream in ["a", "b", "c"] {
        scene.observe(&to(1, upstream, MUTUAL), 2);
    }
    assert_eq!(scene.observe(&to(1, "d", PLAINTEXT), 3).len(), 1, "another hop");
    assert_eq!((scene.tracker.open().count(), scene.tracker.dropped()), (2, 0));
}

#[test]
fn what_becomes_exempt_is_not_remedied_and_opens_again_when_that_ends() {
    let mut scene = Scene::new(Options::default());
    scene.observe(&with(PLAINTEXT, 0, 0), 0);
    let seen = with(PLAINTEXT, 10, 0);
    let policy = scene.policies.find(&seen.subject());
    let assessment = assess(policy, &[], &seen, at(10));
    assert_eq!(assessment.compliance(), Compliance::Violation);
    let assessment = assessment.with_exempt(|rule| rule == Rule::Plaintext);
    assert_eq!(assessment.compliance(), Compliance::Exempt);
    assert_eq!(assessment.exempt().collect::<Vec<_>>(), [Rule::Plaintext]);
    assert_eq!(words(scene.tracker.observe(&seen, &assessment, at(10))), NONE);
    assert_eq!(scene.tick(11), ["-payments plaintext PolicyChanged None"]);
    assert_eq!(scene.tracker.open().count(), 0);
    assert_eq!(scene.observe(&with(PLAINTEXT, 20, 0), 20).len(), 1);
}

//! What becomes of one report: it is named, evaluated, remembered and shown.

mod exempt;
mod gone;
mod over;
mod policy_view;
mod reports;
mod save;
mod say;
mod show;
mod unconfigured;
mod unlist;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use self::{
    say::{Asked, Say},
    unconfigured::Unconfigured,
};
use super::{
    chains::{Against, Chains},
    kept::KeptState,
    lists::ListDirectory,
    named::Named,
    policy_file::PolicyFile,
    provisional::Provisional,
    proxies::{Proxies, Proxy, Retired},
    users::HopKey,
    waiting::Waiting,
    wall_clock::WallClock,
};
use crate::compliance::state_file::StateFile;
use hopsight_core::{
    model::{Security, ServerVerified},
    report::{ConnectionReport, Verdict},
};
use hopsight_export::{Exporter, metrics::drift::DriftBoard};
use hopsight_identity::onward::OnwardFinder;
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopContext},
        ends::Ends,
        evaluation::Evaluation,
        hop::Hop,
        labels,
        onward::Onward,
    },
    policy::{
        certificate::requested,
        drift::{ClosedDrift, DriftEvent, DriftTracker, OpenDrift, Options, assess},
        exempt::PolicyDocument,
        intent::{Stated, UpstreamIntent},
        observation::Observation,
        time::UnixTime,
    },
};
use hopsight_system::{
    clock::{Boot, monotonic_now},
    process::ProcessKey,
    readers::Readers,
};

pub(super) struct Evaluator {
    exporter: Exporter,
    board: Arc<DriftBoard>,
    policies: PolicyFile,
    proxies: Proxies,
    /// What reads of processes and their files.
    readers: Readers,
    tracker: DriftTracker,
    waiting: Waiting,
    provisional: Provisional,
    /// Finds what takes plaintext further.
    onward: OnwardFinder,
    state: KeptState,
    clock: WallClock,
    /// A drift opened or closed since the metrics were last shown.
    unshown: bool,
    started_at: Instant,
    /// How long a treatment counts without being seen.
    stands_for: Duration,
    /// When servers were last looked for that are not behind their upstream's name any more.
    unlisted_at: Instant,
    /// The process that opened the newest offending connection, of hops whose proxy has no
    /// configuration that is known.
    offenders: HashMap<HopKey, ProcessKey>,
    unconfigured: Unconfigured,
    chains: Chains,
}

impl Evaluator {
    /// Continues where `state` left off.
    pub(super) fn new(
        exporter: Exporter,
        board: Arc<DriftBoard>,
        policies: PolicyFile,
        mut proxies: Proxies,
        readers: Readers,
        options: Options,
        state: Option<StateFile>,
    ) -> Self {
        let (state, mut kept) = KeptState::load(state, exporter.health());
        let set_by = kept.set_clock();
        let is_this_boot = kept.boot.as_ref().is_some_and(|boot| boot.is(&Boot::this()));
        let unconfigured = Unconfigured::new(kept.unconfigured);
        proxies.restore(kept.proxies, kept.hops.keys(), is_this_boot, monotonic_now());
        exporter.restore(kept.hops, set_by);
        let is_another_policy = kept.policies != policies.fingerprint();
        if is_another_policy {
            exporter.reconsider(|_| true);
        }
        let clock = WallClock::new();
        let stands_for = options.stands_for;
        let sees_since = UnixTime::from(SystemTime::now());
        let mut tracker = DriftTracker::new(options, kept.drift, sees_since);
        if is_another_policy {
            tracker.reconsider(|_| true);
        }
        let drifts = tracker.closed().map(|closed| &closed.drift).chain(tracker.open());
        for detection in drifts.filter_map(OpenDrift::detection) {
            exporter.observe_drift_detection(detection);
        }
        for remediation in tracker.closed().filter_map(ClosedDrift::remediation) {
            exporter.observe_drift_remediation(remediation);
        }
        let evaluator = Self {
            exporter,
            board,
            policies,
            proxies,
            readers,
            tracker,
            waiting: Waiting::default(),
            provisional: Provisional::default(),
            onward: OnwardFinder::default(),
            state,
            clock,
            unshown: false,
            started_at: Instant::now(),
            stands_for,
            unlisted_at: Instant::now(),
            offenders: HashMap::new(),
            unconfigured,
            chains: Chains::new(ListDirectory::new(None)),
        };
        evaluator.show();
        evaluator.show_health();
        evaluator
    }

    /// The same, with the operator's revocation lists.
    pub(super) fn with_lists(self, lists: ListDirectory) -> Self {
        let evaluator = Self { chains: Chains::new(lists), ..self };
        evaluator.show_health();
        evaluator
    }

    /// Records a report on a process of which this is known, between the ends that it returns. Event
    /// listeners may have been told of it.
    fn named(
        &mut self,
        report: &ConnectionReport,
        opened_at: Instant,
        proxy: Option<Proxy>,
        onward: Option<&Onward>,
        is_told: bool,
    ) -> Ends {
        let now = self.now();
        let since = now - opened_at.elapsed();
        let named = Named::find(report, proxy.as_ref(), &self.proxies);
        let is_other = named.is_other;
        let Named { ends, upstream, intents, certificate, on_disk, trusts, claims, .. } = named;
        let configured_at = named.configured_at;
        let intents: Vec<&UpstreamIntent> = intents.iter().map(AsRef::as_ref).collect();
        let known = self.exporter.hop(&ends.proxy, &ends.upstream);
        let known = known.map(|hop| hop.context.clone()).unwrap_or_default();
        let asked = Asked { report, ends: &ends, intents: &intents, configured_at };
        let Say { intent, configured_at, has_others, is_old, is_shared, client_certificate_since } =
            self.say(&asked, proxy.as_ref(), &known);
        let loaded_at = configured_at.map(UnixTime::as_secs_f64);
        let is_to_verify = intent.as_ref().is_some_and(|intent| intent.verify == Stated::Yes);
        let report = &*with_verification_open(report, is_to_verify);
        // Of one upstream each server may be spoken to in a way of its own.
        let toward: Vec<_> = intents.iter().map(|one| one.toward(report.destination)).collect();
        let toward: Vec<&UpstreamIntent> = toward.iter().map(AsRef::as_ref).collect();
        let (on_disk, at, trusts) = (on_disk.as_ref(), since, trusts.unwrap_or_default());
        let against = Against { intents: &toward, trusts: &trusts, on_disk, at };
        let found = self.chains.look(report, against);
        let workers = proxy.as_ref().and_then(|proxy| self.proxies.workers(proxy));
        let record = |exporter: &Exporter, compliance| {
            let evaluation = Evaluation {
                loaded_at,
                workers,
                is_to_verify,
                compliance,
                onward: onward.cloned(),
                client_chain: requested::leads(report),
                ..found.evaluation()
            };
            let now = hopsight_system::clock::now();
            if is_told {
                exporter.count_between(&ends, report, evaluation, now);
            } else {
                exporter.record_between(&ends, report, evaluation, now);
            }
        };
        if report.is_unused() || report.verdict.security == Security::Unknown && !report.is_final {
            record(&self.exporter, None);
            return ends;
        }
        let process = labels::proxy(&report.origin);
        let namespace = proxy.as_ref().and_then(|proxy| Some(&*proxy.pod()?.namespace));
        let mut seen = Observation::of(report, &ends.proxy, namespace, &ends.upstream, since);
        seen.process = &process;
        seen.opened_by = proxy.as_ref().map(|proxy| proxy.key.into());
        seen.name = upstream.as_deref();
        // A process that takes in configurations one after the other loaded this one then.
        let loaded = proxy.as_ref().and_then(Proxy::loaded_at);
        seen.loaded_at = loaded.filter(|_| !has_others).or(configured_at);
        seen.configured_at = configured_at;
        seen.is_shared = is_shared;
        seen.had_client_certificate = client_certificate_since.is_some() && !is_other;
        seen.configured_certificate = certificate.as_ref().and_then(|one| one.certificate.as_ref());
        seen.on_disk = on_disk;
        seen.claims = &claims;
        found.fill(&mut seen);
        seen.take_configured_certificate();
        let PolicyDocument { policies, exemptions } = self.policies.in_force();
        let hop = seen.subject();
        let policy = policies.find(&hop);
        let exemption = |rule| exemptions.find(&hop, rule, now);
        let assessment =
            assess(policy, &toward, &seen, now).with_exempt(|rule| exemption(rule).is_some());
        let exemption = assessment.exempt().find_map(exemption).cloned();
        let policy: Arc<str> = policy.name.as_str().into();
        record(&self.exporter, Some(assessment.compliance()));
        // What is beyond the limits of the table is a violation all the same, of the overflow hop.
        let hop = self.exporter.counted_under(&ends);
        (seen.proxy, seen.upstream) = (&hop.0, &hop.1);
        let events = self.tracker.observe(&seen, &assessment, now);
        if let Some(proxy) = &proxy {
            self.note_offender(&hop, proxy, &seen, &assessment);
        }
        let open: Vec<_> = self.tracker.open_of(&hop.0, &hop.1).collect();
        let is_kept_apart = *hop.1 == *ends.upstream;
        self.exporter.describe(&hop.0, &hop.1, |known| {
            if !is_kept_apart {
                let exemption = known.compliance.as_ref().and_then(|known| known.exemption.clone());
                let compliance = Some(HopCompliance::new(policy, open, exemption));
                return HopContext { compliance, ..HopContext::default() };
            }
            let (intent, loaded_at) =
                if is_old { (known.intent.clone(), known.loaded_at) } else { (intent, loaded_at) };
            // Another treatment may still rest on the exemption that was known.
            let known = known.compliance.as_ref().and_then(|known| known.exemption.clone());
            let compliance = HopCompliance::new(policy, open, exemption.or(known));
            HopContext {
                name: upstream,
                intent,
                is_shared,
                loaded_at,
                client_certificate_since,
                compliance: Some(compliance),
                process: Some(process),
                proxy_identity: proxy.map(|proxy| proxy.identity),
                configured_certificate: certificate,
            }
        });
        self.tell(&events);
        ends
    }

    /// Lets time pass: closes what is over, checks files, saves. Call it about once a second.
    pub(super) fn tick(&mut self) {
        if let Some(before) = self.policies.refresh() {
            self.reconsider(&before);
        }
        self.chains.lists().refresh();
        self.proxies.tick(&self.readers, monotonic_now(), self.stands_for);
        if self.proxies.take_load() {
            self.state.note_change();
        }
        self.note_who_is_left();
        let now = self.now();
        let in_turn = [
            Self::end_exemptions,
            Self::end_what_is_over,
            Self::settle_provisional,
            Self::retire,
            Self::give_up_gone,
            Self::unlist_servers,
        ];
        let events: Vec<_> = in_turn.iter().flat_map(|step| step(self, now)).collect();
        for event in &events {
            let (DriftEvent::Opened(drift) | DriftEvent::Closed(ClosedDrift { drift, .. })) = event;
            self.show_open(&drift.proxy, &drift.upstream);
        }
        self.tell(&events);
        self.exporter.tick(hopsight_system::clock::now());
        self.show();
        self.show_health();
        self.state.show(self.exporter.health());
        self.save_if_due();
    }

    /// The time on the wall clock. If it was set, what is open keeps its age.
    fn now(&mut self) -> UnixTime {
        let (now, step) = self.clock.read();
        if let Some(step) = step {
            tracing::info!(?step, "the wall clock was set");
            self.tracker.clock_was_set(step);
            self.state.note_change();
        }
        now
    }

    /// Forgets the hops whose names will not be seen again.
    fn retire(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let mut events = Vec::new();
        for retired in self.proxies.take_retired(self.stands_for) {
            let keys: Vec<HopKey> = match retired {
                Retired::Upstream(hop) => {
                    self.unconfigured.add(hop);
                    self.state.note_change();
                    continue;
                }
                // Other processes may continue under the same name.
                Retired::Proxy(proxy, cgroup) => {
                    let is_meant = |hop: &&Arc<Hop>| {
                        let identity = hop.context.proxy_identity.as_ref();
                        hop.proxy == proxy && identity.is_some_and(|one| one.cgroup == cgroup)
                    };
                    let hops = self.exporter.snapshot().hops;
                    let meant = hops.iter().filter(is_meant);
                    meant.map(|hop| (hop.proxy.clone(), hop.upstream.clone())).collect()
                }
            };
            for hop in &keys {
                events.extend(self.forget(hop, now));
            }
        }
        events.extend(self.forget_unconfigured(now));
        events
    }

    /// Forgets a hop; what is open of it ends.
    fn forget(&mut self, (proxy, upstream): &HopKey, now: UnixTime) -> Vec<DriftEvent> {
        self.exporter.forget(proxy, upstream);
        self.tracker.give_up(proxy, upstream, now)
    }

    /// Publishes what changed since the last time.
    pub(super) fn show_changes(&mut self) {
        if std::mem::take(&mut self.unshown) {
            self.show();
        }
    }

    fn tell(&mut self, events: &[DriftEvent]) {
        for event in events {
            self.exporter.drift(event, SystemTime::now());
            match event {
                DriftEvent::Opened(drift) => tracing::warn!(
                    proxy = &*drift.proxy,
                    upstream = drift.name.as_deref().unwrap_or(&drift.upstream),
                    rule = drift.rule.as_str(),
                    "drift opened: {}",
                    drift.violation.detail
                ),
                DriftEvent::Closed(closed) => tracing::info!(
                    proxy = &*closed.drift.proxy,
                    upstream = closed.drift.name.as_deref().unwrap_or(&closed.drift.upstream),
                    rule = closed.drift.rule.as_str(),
                    end = ?closed.end,
                    "drift closed"
                ),
            }
        }
        if !events.is_empty() {
            self.state.note_change();
            self.unshown = true;
        }
    }
}

/// nginx completes a handshake before it looks at what was verified, and then refuses: of what is to be
/// verified only the last report tells that it was not.
fn with_verification_open(
    report: &ConnectionReport,
    is_to_verify: bool,
) -> Cow<'_, ConnectionReport> {
    if report.is_final || !is_to_verify || report.verdict.server_verified != ServerVerified::No {
        return Cow::Borrowed(report);
    }
    let verdict = Verdict { server_verified: ServerVerified::Unknown, ..report.verdict };
    Cow::Owned(ConnectionReport { verdict, ..report.clone() })
}

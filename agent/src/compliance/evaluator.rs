//! What becomes of one report: it is named, evaluated, remembered and shown.

mod gone;
mod policy_view;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Submitted,
    kept::KeptState,
    named::{Listed, Named},
    policy_file::PolicyFile,
    proxies::{Asked, Proxies, Proxy, Retired},
    wall_clock::WallClock,
};
use crate::compliance::state_file::StateFile;
use hopsight_core::{
    hops::{
        context::{HopCompliance, HopContext, IntentSummary},
        ends::Ends,
        labels,
    },
    model::{ClientAuth, Origin, Security},
    policy::{
        drift::{ClosedDrift, Compliance, DriftEvent, DriftTracker, OpenDrift, Options, assess},
        exempt::{Exemption, PolicyDocument},
        intent::UpstreamIntent,
        observation::Observation,
        time::UnixTime,
    },
};
use hopsight_export::{
    Exporter,
    metrics::drift::{DriftBoard, DriftView},
};

/// Component names in `/readyz`.
const POLICY: &str = "policy";
const NGINX_CONFIGURATION: &str = "nginx_configuration";

/// Between two looks for servers that are not behind their upstream's name any more.
const UNLIST_INTERVAL: Duration = Duration::from_secs(5);

/// Most reports that may wait for names; further ones go by the process name.
const MAX_WAITING: usize = 4_096;

type HopKey = (Arc<str>, Arc<str>);

/// What the newest connection of a hop said.
struct Newest {
    context: HopContext,
    policy: Arc<str>,
    compliance: Compliance,
    /// What it violates and need not meet for now.
    exemption: Option<Arc<Exemption>>,
    /// Which servers are behind the upstream's name.
    listed: Listed,
    /// Since when the newest configuration of the proxy is in force.
    configured_at: Option<UnixTime>,
    at: Instant,
}

pub(super) struct Evaluator {
    exporter: Exporter,
    board: Arc<DriftBoard>,
    policies: PolicyFile,
    proxies: Proxies,
    tracker: DriftTracker,
    options: Options,
    hops: HashMap<HopKey, Newest>,
    /// Reports on processes whose names are being looked up.
    waiting: Vec<Submitted>,
    state: KeptState,
    clock: WallClock,
    /// A drift opened or closed since the metrics were last shown.
    unshown: bool,
    started_at: Instant,
    /// When servers were last looked for that are not behind their upstream's name any more.
    unlisted_at: Instant,
}

impl Evaluator {
    /// Continues where `state` left off.
    pub(super) fn new(
        exporter: Exporter,
        board: Arc<DriftBoard>,
        policies: PolicyFile,
        proxies: Proxies,
        options: Options,
        state: Option<StateFile>,
    ) -> Self {
        let (state, snapshot) = KeptState::load(state, exporter.health());
        let clock = WallClock::new();
        let tracker = DriftTracker::new(options, snapshot, UnixTime::from(SystemTime::now()));
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
            tracker,
            options,
            hops: HashMap::new(),
            waiting: Vec::new(),
            state,
            clock,
            unshown: false,
            started_at: Instant::now(),
            unlisted_at: Instant::now(),
        };
        evaluator.show();
        evaluator.show_health();
        evaluator
    }

    /// Records what was said about a connection: it is counted, and evaluated against policy if it
    /// decides something. Waits for a while if the names of its ends are being looked up.
    pub(super) fn report(&mut self, submitted: Submitted) {
        let Origin::Process(process) = &submitted.report.origin else {
            self.exporter.record(&submitted.report);
            return;
        };
        match self.proxies.of(process.pid, &labels::proxy(&submitted.report.origin)) {
            Asked::Known(proxy) => self.named(&submitted, Some(proxy)),
            Asked::NotYet if self.waiting.len() < MAX_WAITING => self.waiting.push(submitted),
            Asked::NotYet | Asked::Gone => self.named(&submitted, None),
        }
    }

    /// Whether reports wait for names.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tries the reports that wait for names again, in their order.
    pub(super) fn retry(&mut self) {
        self.proxies.refresh_names();
        for submitted in std::mem::take(&mut self.waiting) {
            self.report(submitted);
        }
    }

    /// Records what still waits, without names.
    pub(super) fn give_up_waiting(&mut self) {
        for submitted in std::mem::take(&mut self.waiting) {
            self.named(&submitted, None);
        }
    }

    /// Records a report on a process of which all is known that will be.
    fn named(&mut self, Submitted { report, opened_at }: &Submitted, proxy: Option<Proxy>) {
        let now = self.now();
        let Named { ends, upstream, intents, certificate, configured_at, listed } =
            Named::find(report, proxy.as_ref(), &self.proxies);
        let record = |exporter: &Exporter, ends: &Ends| {
            let configured_at = configured_at.map(UnixTime::as_secs_f64);
            exporter.record_between(ends, report, configured_at, hopsight_system::clock::now());
        };
        if report.verdict.security == Security::Unknown && !report.is_final {
            record(&self.exporter, &ends);
            return;
        }
        let process = labels::proxy(&report.origin);
        let namespace = proxy.as_ref().and_then(|proxy| Some(&*proxy.pod()?.namespace));
        let since = now - opened_at.elapsed();
        let mut seen = Observation::of(report, &ends.proxy, namespace, &ends.upstream, since);
        seen.process = &process;
        seen.name = upstream.as_deref();
        seen.loaded_at = proxy.as_ref().and_then(Proxy::loaded_at);
        seen.configured_at = configured_at;
        if seen.verdict.client_auth == ClientAuth::Presented {
            // Where the handshake was hidden, what is configured is what was presented.
            let configured = certificate.as_ref().and_then(|one| one.certificate.as_ref());
            seen.client_certificate = seen.client_certificate.or(configured);
        }
        let PolicyDocument { policies, exemptions } = self.policies.in_force();
        let hop = seen.subject();
        let policy = policies.find(&hop);
        let intents: Vec<&UpstreamIntent> = intents.iter().map(AsRef::as_ref).collect();
        let exemption = |rule| exemptions.find(&hop, rule, now);
        let assessment =
            assess(policy, &intents, &seen, now).with_exempt(|rule| exemption(rule).is_some());
        let exemption = assessment.exempt().find_map(exemption).cloned();
        let intent = match intents.as_slice() {
            [one] => Some(IntentSummary::of(one)),
            _ => None,
        };
        let events = self.tracker.observe(&seen, &assessment, now);
        record(&self.exporter, &ends);
        let key = (ends.proxy, ends.upstream);
        let (intent, configured_at) = self.newest_intent(&key, intent, configured_at);
        let newest = Newest {
            context: HopContext {
                name: upstream,
                intent,
                loaded_at: configured_at.map(UnixTime::as_secs_f64),
                compliance: None,
                process: Some(process),
                proxy_identity: proxy.map(|proxy| proxy.identity),
                configured_certificate: certificate,
            },
            policy: policy.name.as_str().into(),
            compliance: assessment.compliance(),
            exemption,
            listed,
            configured_at,
            at: Instant::now(),
        };
        if self.hops.len() < self.options.max_hops || self.hops.contains_key(&key) {
            self.hops.insert(key.clone(), newest);
            self.describe(&key);
        }
        self.tell(&events);
    }

    /// What the newest configuration says of a hop: after a reload workers with the old one go on
    /// opening connections, and what they run with is not what the proxy intends.
    fn newest_intent(
        &self,
        key: &HopKey,
        intent: Option<IntentSummary>,
        configured_at: Option<UnixTime>,
    ) -> (Option<IntentSummary>, Option<UnixTime>) {
        match self.hops.get(key) {
            Some(known) if known.configured_at > configured_at => {
                (known.context.intent.clone(), known.configured_at)
            }
            _ => (intent, configured_at),
        }
    }

    /// Takes the servers out of the hops that are no longer behind their upstream's name.
    fn unlist_servers(&mut self) {
        if self.unlisted_at.elapsed() < UNLIST_INTERVAL {
            return;
        }
        self.unlisted_at = Instant::now();
        for ((proxy, upstream), newest) in &self.hops {
            if newest.listed != Listed::Unknown {
                let is_listed = |address| newest.listed.includes(address, &self.proxies);
                self.exporter.retain_servers(proxy, upstream, is_listed);
            }
        }
    }

    /// Lets time pass: closes what is over, checks files, saves. Call it about once a second.
    pub(super) fn tick(&mut self) {
        self.policies.refresh();
        self.proxies.tick();
        let now = self.now();
        for key in policy_view::end_exemptions(&mut self.hops, self.policies.in_force(), now) {
            self.describe(&key);
        }
        let mut events = self.tracker.tick(now);
        for event in &events {
            if let DriftEvent::Closed(closed) = event {
                self.describe(&(closed.drift.proxy.clone(), closed.drift.upstream.clone()));
            }
        }
        events.extend(self.retire(now));
        events.extend(self.give_up_gone(now));
        self.unlist_servers();
        self.tell(&events);
        let forget_after = self.options.forget_after;
        self.hops.retain(|_, hop| hop.at.elapsed() < forget_after);
        self.show();
        self.show_health();
        if self.state.is_due() {
            self.save();
        }
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
        for retired in self.proxies.take_retired() {
            let keys: Vec<HopKey> = match retired {
                Retired::Upstream(proxy, upstream) => vec![(proxy, upstream)],
                // Other processes may continue under the same name.
                Retired::Proxy(proxy, cgroup) => {
                    let is_meant = |(key, newest): &(&HopKey, &Newest)| {
                        let identity = newest.context.proxy_identity.as_ref();
                        key.0 == proxy && identity.is_some_and(|one| one.cgroup == cgroup)
                    };
                    self.hops.iter().filter(is_meant).map(|(key, _)| key.clone()).collect()
                }
            };
            for key in keys {
                events.extend(self.tracker.give_up(&key.0, &key.1, now));
                self.exporter.forget(&key.0, &key.1);
                self.hops.remove(&key);
            }
        }
        events
    }

    /// Publishes what changed since the last time.
    pub(super) fn show_changes(&mut self) {
        if std::mem::take(&mut self.unshown) {
            self.show();
        }
    }

    /// Saves what has to outlive the agent.
    pub(super) fn save(&mut self) {
        self.state.save(|| self.tracker.snapshot(), self.exporter.health());
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

    /// Publishes a hop's compliance, from its newest connection and its open drifts.
    fn describe(&self, key: &HopKey) {
        let Some(newest) = self.hops.get(key) else { return };
        let open = self.tracker.open_of(&key.0, &key.1);
        let exemption = newest.exemption.clone();
        let compliance = HopCompliance::new(newest.compliance, newest.policy.clone(), open);
        let compliance = HopCompliance { exemption, ..compliance };
        let context = HopContext { compliance: Some(compliance), ..newest.context.clone() };
        self.exporter.describe(&key.0, &key.1, context);
    }

    fn show(&self) {
        let open: Vec<_> = self.tracker.open().cloned().collect();
        let mut told: HashSet<_> = open
            .iter()
            .map(|drift| (drift.proxy.clone(), drift.upstream.clone(), drift.rule))
            .collect();
        let closed = self.tracker.closed().map(|closed| {
            (closed.drift.proxy.clone(), closed.drift.upstream.clone(), closed.drift.rule)
        });
        let mended = closed.filter(|drift| told.insert(drift.clone())).collect();
        self.board.show(DriftView {
            open,
            mended,
            policy: policy_view::of(&self.hops, self.policies.in_force()),
            pending_reload: self.proxies.pending_reload(),
            workloads: self.proxies.workloads(),
            beyond_limit: self.tracker.dropped(),
        });
    }

    fn show_health(&self) {
        let health = self.exporter.health();
        let now = UnixTime::from(SystemTime::now());
        for (component, (state, detail)) in
            [(POLICY, self.policies.health(now)), (NGINX_CONFIGURATION, self.proxies.health())]
        {
            health.set(component, state, detail);
        }
        for (component, state, detail) in self.proxies.source_health() {
            health.set(component, state, detail);
        }
    }
}

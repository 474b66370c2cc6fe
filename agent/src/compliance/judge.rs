//! What becomes of one report: it is named, judged, remembered and shown.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Submitted,
    policy_file::PolicyFile,
    proxies::{Asked, Proxies, Proxy, Retired},
    wall_clock::WallClock,
};
use crate::{
    export::{
        Exporter,
        drift::{DriftBoard, DriftView},
        ends::Ends,
        health::ComponentState,
        hop_context::{HopCompliance, HopContext, IntentSummary},
        labels,
        time::Moment,
    },
    model::{ClientAuth, Origin, Security},
    policy::{
        drift::{Compliance, DriftEvent, DriftTracker, Options, Snapshot, assess},
        intent::UpstreamIntent,
        observation::Observation,
        time::UnixTime,
    },
    state::StateFile,
};

/// Component names in `/readyz`.
const POLICY: &str = "policy";
const NGINX_CONFIGURATION: &str = "nginx_configuration";
const STATE: &str = "state";

/// Between two writes of a state in which only counts and times advanced.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// Reports that wait for names at most; further ones go by the process name.
const MAX_WAITING: usize = 4_096;

type HopKey = (Arc<str>, Arc<str>);

/// What the newest connection of a hop said.
struct Newest {
    context: HopContext,
    policy: Arc<str>,
    compliance: Compliance,
    at: Instant,
}

pub(super) struct Judge {
    exporter: Exporter,
    board: Arc<DriftBoard>,
    policies: PolicyFile,
    proxies: Proxies,
    tracker: DriftTracker,
    options: Options,
    hops: HashMap<HopKey, Newest>,
    /// Reports on processes whose names are being looked up.
    waiting: Vec<Submitted>,
    state: Option<StateFile>,
    clock: WallClock,
    saved_at: Instant,
    /// A drift opened or closed since the state was saved.
    unsaved: bool,
    /// A drift opened or closed since the metrics were shown.
    unshown: bool,
    /// The last attempt to save failed.
    cannot_save: bool,
}

impl Judge {
    /// Goes on where `state` ended.
    pub(super) fn new(
        exporter: Exporter,
        board: Arc<DriftBoard>,
        policies: PolicyFile,
        proxies: Proxies,
        options: Options,
        state: Option<StateFile>,
    ) -> Self {
        let snapshot = state.as_ref().map(|state| restore(state, &exporter)).unwrap_or_default();
        let tracker = DriftTracker::new(options, snapshot);
        for closed in tracker.closed() {
            exporter.observe_drift_detection(closed.drift.detection());
            if let Some(remediation) = closed.remediation() {
                exporter.observe_drift_remediation(remediation);
            }
        }
        for drift in tracker.open() {
            exporter.observe_drift_detection(drift.detection());
        }
        let judge = Self {
            exporter,
            board,
            policies,
            proxies,
            tracker,
            options,
            hops: HashMap::new(),
            waiting: Vec::new(),
            state,
            clock: WallClock::new(),
            saved_at: Instant::now(),
            unsaved: false,
            cannot_save: false,
            unshown: false,
        };
        judge.show();
        judge.show_health();
        judge
    }

    /// Takes in what was said about a connection: it is counted, and held against policy if it
    /// decides something. Waits for a while if what its ends are called is being looked up.
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

    /// Looks again at the reports that wait for names, in their order.
    pub(super) fn retry(&mut self) {
        self.proxies.refresh_names();
        for submitted in std::mem::take(&mut self.waiting) {
            self.report(submitted);
        }
    }

    /// Takes in what still waits, without names.
    pub(super) fn give_up_waiting(&mut self) {
        for submitted in std::mem::take(&mut self.waiting) {
            self.named(&submitted, None);
        }
    }

    /// Takes in a report on a process of which everything is known that will be.
    fn named(&mut self, Submitted { report, opened_at }: &Submitted, proxy: Option<Proxy>) {
        let now = self.now();
        let process = labels::proxy(&report.origin);
        let label = proxy.as_ref().map_or_else(|| process.clone(), |proxy| proxy.label.clone());
        let configuration = proxy.as_ref().and_then(|proxy| self.proxies.configuration(proxy));
        let found = configuration
            .map(|configuration| configuration.find(report.destination, report.sni.as_deref()))
            .unwrap_or_default();
        let mut intents: Vec<&UpstreamIntent> = configuration
            .map(|configuration| found.iter().map(|&at| configuration.upstream(at)).collect())
            .unwrap_or_default();
        let (configured, certificate) = match (configuration, found.as_slice()) {
            (Some(configuration), &[one]) => {
                (Some(configuration.upstream(one)), configuration.client_certificate(one).cloned())
            }
            _ => (None, None),
        };
        let service = self.proxies.service(report.destination, report.dst.parse().ok());
        let name = configured.map(|one| one.target.to_string());
        let stable = configured.and_then(UpstreamIntent::stable_name);
        let upstream = stable.or_else(|| service.as_ref().map(|service| service.label()));
        let upstream = upstream.map_or_else(|| labels::upstream(report), |one| labels::label(&one));
        let pod = proxy.as_ref().and_then(Proxy::pod);
        let pod = pod.map(|pod| labels::label(&format!("{}/{}", pod.namespace, pod.pod)));
        let ends = Ends { proxy: label, upstream, pod };
        self.exporter.record_between(&ends, report, Moment::now());
        if report.verdict.security == Security::Unknown && !report.is_final {
            return;
        }
        let by_gateway = match (&proxy, &service) {
            (Some(proxy), Some(service)) => self.proxies.gateway_intent(proxy, service),
            _ => None,
        };
        if let Some(intent) = &by_gateway {
            intents = vec![intent];
        }
        let name: Option<Arc<str>> =
            name.or_else(|| Some(service?.label())).map(|name| labels::label(&name));
        let namespace = proxy.as_ref().and_then(|proxy| Some(&*proxy.pod()?.namespace));
        let mut seen = Observation::of(
            report,
            &ends.proxy,
            namespace,
            &ends.upstream,
            now - opened_at.elapsed(),
        );
        seen.process = &process;
        seen.name = name.as_deref();
        seen.loaded_at = proxy.as_ref().and_then(Proxy::loaded_at);
        if seen.verdict.client_auth == ClientAuth::Presented {
            // Where the handshake was hidden, what is configured is what was presented.
            let configured = certificate.as_ref().and_then(|one| one.certificate.as_ref());
            seen.client_certificate = seen.client_certificate.or(configured);
        }
        let policy = self.policies.policies().find(&seen.subject());
        let assessment = assess(policy, &intents, &seen, now);
        let policy: Arc<str> = policy.name.as_str().into();
        let intent = match intents.as_slice() {
            [one] => Some(IntentSummary::of(one)),
            _ => None,
        };
        let events = self.tracker.observe(&seen, &assessment, now);
        let Ends { proxy: label, upstream, .. } = ends;
        let key = (label, upstream);
        let newest = Newest {
            context: HopContext {
                name,
                intent,
                compliance: None,
                proxy_identity: proxy.map(|proxy| proxy.identity),
                configured_certificate: certificate,
            },
            policy,
            compliance: assessment.compliance(),
            at: Instant::now(),
        };
        if self.hops.len() < self.options.max_hops || self.hops.contains_key(&key) {
            self.hops.insert(key.clone(), newest);
            self.describe(&key);
        }
        self.tell(&events);
    }

    /// Lets time pass: closes what is over, looks at files, saves. Call it about once a second.
    pub(super) fn tick(&mut self) {
        self.policies.refresh();
        self.proxies.tick();
        let now = self.now();
        let mut events = self.tracker.tick(now);
        for event in &events {
            if let DriftEvent::Closed(closed) = event {
                self.describe(&(closed.drift.proxy.clone(), closed.drift.upstream.clone()));
            }
        }
        events.extend(self.retire(now));
        self.tell(&events);
        let forget_after = self.options.forget_after;
        self.hops.retain(|_, hop| hop.at.elapsed() < forget_after);
        self.show();
        self.show_health();
        if self.unsaved || self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save();
        }
    }

    /// Now on the wall clock. If it was set, what is open keeps its age.
    fn now(&mut self) -> UnixTime {
        let (now, step) = self.clock.read();
        if let Some(step) = step {
            tracing::info!(?step, "the wall clock was set");
            self.tracker.clock_was_set(step);
            self.unsaved = true;
        }
        now
    }

    /// Forgets the hops whose names will not be seen again.
    fn retire(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let mut events = Vec::new();
        for retired in self.proxies.take_retired() {
            let keys: Vec<HopKey> = match retired {
                Retired::Upstream(proxy, upstream) => vec![(proxy, upstream)],
                // Other processes may go on under the same name.
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

    /// Shows what changed since the last time.
    pub(super) fn show_changes(&mut self) {
        if std::mem::take(&mut self.unshown) {
            self.show();
        }
    }

    /// Writes what has to outlive the agent.
    pub(super) fn save(&mut self) {
        self.unsaved = false;
        self.saved_at = Instant::now();
        let Some(state) = &mut self.state else { return };
        let health = self.exporter.health();
        match state.save(&self.tracker.snapshot()) {
            Ok(()) => {
                self.cannot_save = false;
                health.set(STATE, ComponentState::Ready, state.path().display().to_string());
            }
            Err(error) => {
                // Tried again at the next tick, told once.
                self.unsaved = true;
                if !std::mem::replace(&mut self.cannot_save, true) {
                    tracing::warn!("{error:#}");
                }
                health.set(STATE, ComponentState::Degraded, format!("{error:#}"));
            }
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
        self.unsaved |= !events.is_empty();
        self.unshown |= !events.is_empty();
    }

    /// Shows a hop as its newest connection and its open drifts make it.
    fn describe(&self, key: &HopKey) {
        let Some(newest) = self.hops.get(key) else { return };
        let open = self.tracker.open_of(&key.0, &key.1);
        let compliance = HopCompliance::new(newest.compliance, newest.policy.clone(), open);
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
            pending_reload: self.proxies.pending_reload(),
            workloads: self.proxies.workloads(),
            beyond_limit: self.tracker.dropped(),
        });
    }

    fn show_health(&self) {
        let health = self.exporter.health();
        for (component, (state, detail)) in
            [(POLICY, self.policies.health()), (NGINX_CONFIGURATION, self.proxies.health())]
        {
            health.set(component, state, detail);
        }
        for (component, state, detail) in self.proxies.source_health() {
            health.set(component, state, detail);
        }
    }
}

/// The state as it was saved; an empty one where that cannot be used.
fn restore(state: &StateFile, exporter: &Exporter) -> Snapshot {
    match state.load() {
        Ok(snapshot) => {
            let path = state.path().display().to_string();
            exporter.health().set(STATE, ComponentState::Ready, path);
            snapshot
        }
        Err(error) => {
            let aside = match state.set_aside() {
                Ok(path) => format!("kept as {}", path.display()),
                Err(error) => format!("{error:#}"),
            };
            let detail = format!("started without open drift: {error:#} ({aside})");
            tracing::warn!("{detail}");
            exporter.health().set(STATE, ComponentState::Degraded, detail);
            Snapshot::default()
        }
    }
}

//! Records connection reports and shows them.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use crate::{
    events::Events,
    health::Health,
    metrics::{
        catalogue::{
            BUILD_INFO, DRIFT_DETECTION, DRIFT_DETECTION_BUCKETS, DRIFT_REMEDIATION,
            DRIFT_REMEDIATION_BUCKETS, MetricInfo, VERDICT_LATENCY, VERDICT_LATENCY_BUCKETS,
        },
        hops, process,
        samples::{self, Collect, Samples},
        text::TextFormat,
    },
    printable, time,
    watching::{Watched, Watching},
};
use hopsight_core::report::ConnectionReport;
use hopsight_posture::hops::{
    change::{Described, HopChange, Recorded},
    context::HopContext,
    ends::Ends,
    evaluation::Evaluation,
    hop::Hop,
    kept::Kept,
    moment::{Moment, unix_seconds},
    server::Server,
    table::{HopLimits, HopTable, Revision, Snapshot},
};
use hopsight_posture::policy::drift::{Causes, DriftEvent, OpenDrift, Use};

/// Records connection reports and shows them: to Prometheus, to the page, to event listeners.
///
/// Clones share everything. No method waits for a scrape or a listener: a scrape holds the table
/// only while it copies one reference per hop.
#[derive(Clone)]
pub struct Exporter {
    state: Arc<State>,
}

struct State {
    hops: Mutex<HopTable>,
    latency: prometheus::Histogram,
    drift_detection: prometheus::Histogram,
    drift_remediation: prometheus::Histogram,
    sources: RwLock<Vec<Box<dyn Collect>>>,
    watching: Watching,
    health: Health,
    events: Events,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter with an empty hop table.
    ///
    /// # Panics
    /// Never: the metric names are constants, and tests register them.
    #[must_use]
    pub fn new(limits: HopLimits) -> Self {
        Self::with_events(limits, Events::default())
    }

    /// The same, whose events also go to the outputs of `events`.
    ///
    /// # Panics
    /// As [`Exporter::new`].
    #[must_use]
    pub fn with_events(limits: HopLimits, events: Events) -> Self {
        let latency = samples::histogram(VERDICT_LATENCY.info, VERDICT_LATENCY_BUCKETS);
        let drift_detection = samples::histogram(DRIFT_DETECTION.info, DRIFT_DETECTION_BUCKETS);
        let drift_remediation =
            samples::histogram(DRIFT_REMEDIATION.info, DRIFT_REMEDIATION_BUCKETS);
        let state = Arc::new(State {
            hops: Mutex::new(HopTable::new(limits)),
            latency,
            drift_detection,
            drift_remediation,
            sources: RwLock::default(),
            watching: Watching::default(),
            health: Health::default(),
            events,
        });
        Self { state }
    }

    /// Records a report: each connection is counted at its final report, the hop's state follows
    /// every report.
    pub fn record(&self, report: &ConnectionReport) {
        self.record_at(report, hopsight_system::clock::now());
    }

    /// The same at a given moment.
    pub fn record_at(&self, report: &ConnectionReport, now: Moment) {
        self.record_between(&Ends::of(report), report, Evaluation::default(), now);
    }

    /// Records what was said of a connection whose ends were named.
    pub fn record_between(
        &self,
        ends: &Ends,
        report: &ConnectionReport,
        evaluation: Evaluation,
        now: Moment,
    ) {
        self.state.events.send(ends, report, now);
        self.count_between(ends, report, evaluation, now);
    }

    /// The same of what event listeners know already, between other ends.
    pub fn count_between(
        &self,
        ends: &Ends,
        report: &ConnectionReport,
        evaluation: Evaluation,
        now: Moment,
    ) {
        let Recorded { hop, renewals } =
            self.state.hops().record_between(ends, report, evaluation, now);
        self.tell(hop, now);
        for renewal in renewals {
            self.state.events.send_renewal(&renewal, now.unix_seconds);
        }
    }

    /// Whether there is a hop between these ends.
    #[must_use]
    pub fn has(&self, ends: &Ends) -> bool {
        self.state.hops().get(&ends.proxy, &ends.upstream).is_some()
    }

    /// The hop that connections between these ends are counted under now.
    #[must_use]
    pub fn counted_under(&self, ends: &Ends) -> (Arc<str>, Arc<str>) {
        self.state.hops().counted_under(&ends.proxy, &ends.upstream)
    }

    /// Notes the time from when the deciding byte left the kernel to the verdict.
    pub fn observe_verdict_latency(&self, latency: Duration) {
        self.state.latency.observe(latency.as_secs_f64());
    }

    /// Notes what is known of a hop besides its connections, given what was known before.
    pub fn describe(
        &self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        context: impl FnOnce(&HopContext) -> HopContext,
    ) {
        let now = hopsight_system::clock::now();
        let Described { hop, intent } = self.state.hops().describe(proxy, upstream, context, now);
        if let Some(change) = intent {
            self.state.events.send_intent_change(&change, now.unix_seconds);
        }
        self.tell(hop, now);
    }

    /// Tells listeners what became of hops.
    fn tell(&self, changes: impl IntoIterator<Item = HopChange>, now: Moment) {
        for change in changes {
            self.state.events.send_hop_change(&change, now.unix_seconds);
        }
    }

    /// A hop as it is now.
    #[must_use]
    pub fn hop(&self, proxy: &Arc<str>, upstream: &Arc<str>) -> Option<Arc<Hop>> {
        self.state.hops().get(proxy, upstream).cloned()
    }

    /// Goes on with a table that was kept, in place of an empty one. The wall clock was set by so
    /// many seconds meanwhile.
    pub fn restore(&self, kept: Kept, set_by: f64) {
        let now = hopsight_system::clock::now();
        kept.restore(&mut self.state.hops(), printable::texts, now, set_by);
    }

    /// The table as it is to be kept, and how often it has changed by then.
    #[must_use]
    pub fn keep(&self) -> (Kept, Revision) {
        let now = hopsight_system::clock::now();
        let (snapshot, ended, revision) = {
            let hops = self.state.hops();
            (hops.snapshot(now.unix_seconds), hops.ended(), hops.revision())
        };
        (Kept::of(snapshot.totals, &snapshot.hops, ended, now.monotonic), revision)
    }

    /// How often the table has changed.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.hops().revision()
    }

    /// Forgets the servers of a hop that are no longer behind its upstream's name.
    pub fn retain_servers(
        &self,
        proxy: &Arc<str>,
        upstream: &Arc<str>,
        counts: impl Fn(&Server) -> bool,
    ) {
        let now = hopsight_system::clock::now();
        let change = self.state.hops().retain_servers(proxy, upstream, counts, now);
        self.tell(change, now);
    }

    /// Since when the configuration of a proxy has had a client certificate on every route to a
    /// server, under this name or one that is configured no more.
    #[must_use]
    pub fn had_client_certificate(
        &self,
        ends: &Ends,
        server: SocketAddr,
        is_configured: impl Fn(&Arc<str>) -> bool,
    ) -> Option<f64> {
        let hops = self.state.hops();
        hops.had_client_certificate(&ends.proxy, &ends.upstream, server, is_configured)
    }

    /// Whether what causes a drift is in use.
    #[must_use]
    pub fn use_of(&self, drift: &OpenDrift, causes: &Causes) -> Use {
        self.state.hops().use_of((&drift.proxy, &drift.upstream), drift.server, causes)
    }

    /// Policy asks for something else of these hops.
    pub fn reconsider(&self, of: impl Fn(&Hop) -> bool) {
        let now = hopsight_system::clock::now();
        let changes = self.state.hops().reconsider(of, now);
        for change in changes {
            self.tell(Some(change), now);
        }
    }

    /// Forgets the hop from `proxy` to `upstream`.
    pub fn forget(&self, proxy: &str, upstream: &str) {
        self.state.hops().forget(proxy, upstream);
    }

    /// Tells listeners that a drift opened or closed, and notes how long that took.
    pub fn drift(&self, event: &DriftEvent, now: SystemTime) {
        self.state.events.send_drift(event, unix_seconds(now));
        match event {
            DriftEvent::Opened(drift) => {
                if let Some(detection) = drift.detection() {
                    self.observe_drift_detection(detection);
                }
            }
            DriftEvent::Closed(closed) => {
                if let Some(remediation) = closed.remediation() {
                    self.observe_drift_remediation(remediation);
                }
            }
        }
    }

    /// Notes how long it took to detect a drift.
    pub fn observe_drift_detection(&self, detection: Duration) {
        self.state.drift_detection.observe(detection.as_secs_f64());
    }

    /// Notes how long it took to remedy a drift after it was detected.
    pub fn observe_drift_remediation(&self, remediation: Duration) {
        self.state.drift_remediation.observe(remediation.as_secs_f64());
    }

    /// To be called every second or so: forgets hops that have been silent for too long.
    pub fn tick(&self, now: Moment) {
        let changes = self.state.hops().expire(now);
        self.tell(changes, now);
    }

    /// Adds something that has numbers to show, such as the kernel's counters.
    pub fn register(&self, source: impl Collect + 'static) {
        let mut sources = self.state.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.push(Box::new(source));
    }

    /// What `/hops` says of the agent's own watching comes from here. The first source counts.
    pub fn watched_by(&self, source: impl Fn() -> Watched + Send + Sync + 'static) {
        self.state.watching.told_by(source);
    }

    /// The state of the agent's parts, to be kept current by whoever owns them.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.state.health
    }

    /// Where connection events can be listened to.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.state.events
    }

    /// The hop table now, in no particular order.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// The hop table now, sorted by proxy and upstream, and what the agent says of its own watching:
    /// the answer of `/hops`.
    #[must_use]
    pub fn hops(&self) -> Snapshot {
        Snapshot {
            watch: self.state.watching.watch(&self.state.health),
            ..self.state.snapshot().sorted()
        }
    }

    /// Every metric in the text exposition format (version 0.0.4). Takes microseconds per hop: call
    /// it outside of async code.
    ///
    /// # Errors
    /// If the library cannot encode a histogram.
    pub fn gather(&self) -> anyhow::Result<String> {
        self.gather_as(TextFormat::Prometheus)
    }

    /// The same in another format.
    ///
    /// # Errors
    /// As [`Exporter::gather`].
    pub(crate) fn gather_as(&self, format: TextFormat) -> anyhow::Result<String> {
        Samples::text(&self.state, &self.state.histograms(), format)
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn gather_families(&self) -> Vec<prometheus::proto::MetricFamily> {
        Samples::families(&self.state, &self.state.histograms())
    }
}

impl State {
    const fn histograms(&self) -> [(MetricInfo, &prometheus::Histogram); 3] {
        [
            (VERDICT_LATENCY.info, &self.latency),
            (DRIFT_DETECTION.info, &self.drift_detection),
            (DRIFT_REMEDIATION.info, &self.drift_remediation),
        ]
    }

    fn hops(&self) -> MutexGuard<'_, HopTable> {
        self.hops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = self.hops().snapshot(unix_seconds(SystemTime::now()));
        let time = Some(time::rfc3339(snapshot.at).into());
        Snapshot { witness: Some(self.events.witness().clone()), time, ..snapshot }
    }
}

impl Collect for Arc<State> {
    fn collect(&self, samples: &mut Samples) {
        let snapshot = self.snapshot().sorted();
        hops::collect(&snapshot, samples);
        self.events.collect(samples);
        self.health.collect(samples);
        process::collect(samples);
        let revision = option_env!("HOPSIGHT_REVISION").unwrap_or("unknown");
        let build = [env!("CARGO_PKG_VERSION"), revision, std::env::consts::ARCH];
        samples.set(BUILD_INFO, build, 1.0);
        for source in &*self.sources.read().unwrap_or_else(PoisonError::into_inner) {
            source.collect(samples);
        }
    }
}

//! The running agent: live capture, pipeline, exporter and HTTP server put together.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    capture::{LibraryStatuses, LiveOptions, LiveSource, Source, StatsHandle, record::Recording},
    compliance::{ComplianceOptions, ComplianceThread},
    export::{
        Exporter,
        agent_metrics::{AgentMetrics, PipelineNumbers, SharedPipelineNumbers, library_health},
        health::ComponentState,
        http::{self, HttpLimits},
    },
    model::{ClientAuth, Event, Security, Timestamp},
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
};

/// How long the pipeline waits for events before it lets time pass.
const POLL: Duration = Duration::from_millis(100);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// Component name of the kernel programs in `/readyz`.
const KERNEL_PROGRAMS: &str = "kernel_programs";
/// Component name of the library probes in `/readyz`.
const LIBRARY_PROBES: &str = "library_probes";

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to capture.
    pub live: LiveOptions,
    /// The pipeline's limits.
    pub limits: Limits,
    /// Where to serve HTTP.
    pub http: SocketAddr,
    /// The HTTP server's limits.
    pub http_limits: HttpLimits,
    /// What connections are held against.
    pub compliance: ComplianceOptions,
    /// Record every event to this new file, for replay.
    pub record: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT; everything is detached when it returns.
///
/// # Errors
/// If the address is taken, the kernel programs cannot be loaded or attached, or capture breaks.
pub fn run(options: RunOptions, exporter: &Exporter) -> anyhow::Result<()> {
    let listener = http::bind(options.http)?;
    exporter.health().set(KERNEL_PROGRAMS, ComponentState::Starting, "loading");
    let compliance = ComplianceThread::start(options.compliance, exporter)?;
    let probes_libraries = options.live.library;
    let source = LiveSource::start(options.live)?;
    let waker = source.waker()?;
    let numbers = SharedPipelineNumbers::default();
    let capture = source.stats();
    let library = probes_libraries.then(|| source.library_statuses());
    exporter.register(AgentMetrics {
        capture: capture.clone(),
        library: source.library_statuses(),
        pipeline: Arc::clone(&numbers),
    });
    exporter.health().set(KERNEL_PROGRAMS, ComponentState::Ready, "attached");
    let stop = Arc::new(AtomicBool::new(false));
    let (broken, mut pipeline_ended) = tokio::sync::oneshot::channel();
    let source: Box<dyn Source + Send> = match &options.record {
        Some(path) => Box::new(Recording::new(source, path)?),
        None => Box::new(source),
    };
    let worker = Worker {
        source,
        pipeline: Pipeline::new(options.limits),
        exporter: exporter.clone(),
        compliance,
        capture,
        library,
        numbers,
        stop: Arc::clone(&stop),
    };
    let pipeline = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || {
            let result = worker.run();
            // Nobody listens any more when the agent is stopping.
            let _ = broken.send(());
            result
        })
        .context("start the pipeline thread")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("http")
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let stopped = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = &mut pipeline_ended => {}
            }
        };
        tracing::info!(address = %options.http, "serving metrics and the hop table");
        http::serve(listener, exporter.clone(), options.http_limits, stopped).await
    });
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    let pipeline_result =
        pipeline.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pipeline panicked")));
    served.and(pipeline_result)
}

/// Owns what the pipeline thread works with.
struct Worker {
    source: Box<dyn Source + Send>,
    pipeline: Pipeline,
    exporter: Exporter,
    compliance: ComplianceThread,
    capture: StatsHandle,
    /// Absent where libraries are not looked into.
    library: Option<LibraryStatuses>,
    numbers: SharedPipelineNumbers,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        let mut updates = Vec::new();
        let mut last_beat = Timestamp::default();
        while !self.stop.load(Ordering::Relaxed) {
            self.source.poll(POLL, &mut events).context("read events from the kernel")?;
            for event in events.drain(..) {
                self.pipeline.handle(event, &mut updates);
            }
            let now = monotonic_now();
            self.pipeline.tick(now, &mut updates);
            self.apply(&mut updates, now);
            if now.since(last_beat) >= BEAT {
                last_beat = now;
                self.beat();
            }
        }
        let now = monotonic_now();
        self.pipeline.finish(now, &mut updates);
        self.apply(&mut updates, now);
        self.beat();
        Ok(())
    }

    fn apply(&mut self, updates: &mut Vec<Update>, now: Timestamp) {
        for update in updates.drain(..) {
            match update {
                Update::Done(flow) => self.source.done(flow),
                Update::Report { report, first } => {
                    if first && report.verdict.security != Security::Unknown {
                        self.exporter.observe_verdict_latency(now.since(report.decided_at));
                    }
                    if report.is_final && report.is_conflict() {
                        warn_of_conflict(&report);
                    }
                    self.compliance.submit(report, now);
                }
            }
        }
    }

    fn beat(&self) {
        self.exporter.tick(SystemTime::now());
        if let Some(cgroup) = self.capture.detached_from() {
            let detail = format!(
                "the cgroup {} was removed, and the programs with it: restart hopsight",
                cgroup.display()
            );
            self.exporter.health().set(KERNEL_PROGRAMS, ComponentState::Failed, detail);
        }
        let (state, detail) = self
            .library
            .as_ref()
            .map_or_else(|| (ComponentState::Ready, "switched off".to_owned()), library_health);
        self.exporter.health().set(LIBRARY_PROBES, state, detail);
        let numbers = PipelineNumbers {
            tracked: self.pipeline.tracked(),
            counters: *self.pipeline.counters(),
            transcripts_unmatched: self.pipeline.transcripts_unmatched(),
        };
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// Both sides of a disagreement, for whoever has to find out which is misread.
fn warn_of_conflict(report: &ConnectionReport) {
    let wire = report.wire_client_auth.unwrap_or(ClientAuth::Unknown);
    tracing::warn!(
        src = %report.src,
        dst = %report.dst,
        sni = report.sni.as_deref(),
        tls_version = report.tls_version.as_deref(),
        cipher = report.cipher.as_deref(),
        library = %report.verdict.client_auth,
        %wire,
        "the TLS library and the wire disagree about client authentication; the library is reported"
    );
}

/// Now on the clock of the kernel programs (`bpf_ktime_get_ns`).
fn monotonic_now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp(seconds * 1_000_000_000 + nanoseconds)
}

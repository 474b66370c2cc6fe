//! The running agent: live capture, pipeline, exporter and HTTP server put together.

use std::{
    fs::OpenOptions,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
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

#[cfg(feature = "otlp")]
use crate::export::otlp::{LogOutput, MetricExport, OtlpOptions};
use crate::{
    capture::{
        LibraryStatuses, LiveOptions, LiveSource, Source, StatsHandle,
        record::{RecordFile, Recording},
    },
    compliance::{ComplianceOptions, ComplianceThread},
    export::{
        Exporter,
        agent_metrics::{AgentMetrics, PipelineNumbers, SharedPipelineNumbers, library_health},
        events::Events,
        health::ComponentState,
        hops::HopLimits,
        http::{
            self, HttpLimits,
            tls::{Tls, TlsFiles},
        },
    },
    model::{ClientAuth, Event, Security, Timestamp},
    pipeline::{Limits, Pipeline, Update},
    privileges::{Duty, Needs, PrivilegeOptions, Privileges, User},
    report::ConnectionReport,
};

/// How long the pipeline waits for events before it lets time pass.
const POLL: Duration = Duration::from_millis(100);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// Component name of the kernel programs in `/readyz`.
const KERNEL_PROGRAMS: &str = "kernel_programs";
/// Component name of what the agent gave up in `/readyz`.
const PRIVILEGES: &str = "privileges";
/// Component name of the library probes in `/readyz`.
const LIBRARY_PROBES: &str = "library_probes";

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to capture.
    pub live: LiveOptions,
    /// The pipeline's limits.
    pub limits: Limits,
    /// The hop table's limits.
    pub hops: HopLimits,
    /// Append a line per event to this file; `-` is standard output.
    pub events: Option<PathBuf>,
    /// Export to this OpenTelemetry collector.
    #[cfg(feature = "otlp")]
    pub otlp: Option<OtlpOptions>,
    /// Where to serve HTTP.
    pub http: SocketAddr,
    /// Where to serve `/livez` and `/readyz` alone.
    pub health: Option<SocketAddr>,
    /// The HTTP server's certificates.
    pub tls: TlsFiles,
    /// The HTTP server's limits.
    pub http_limits: HttpLimits,
    /// What connections are held against.
    pub compliance: ComplianceOptions,
    /// Record every event to this new file, for replay.
    pub record: Option<PathBuf>,
    /// What to give up once the kernel programs are loaded.
    pub privileges: PrivilegeOptions,
}

/// Runs until SIGTERM or SIGINT; everything is detached when it returns.
///
/// # Errors
/// If an address is taken, a file cannot be used, the kernel programs cannot be loaded or attached,
/// or capture breaks.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    let probes_libraries = options.live.library;
    // First what takes privileges, all of it in this one thread.
    let server = Server {
        listener: http::bind(options.http)?,
        health: options.health.map(http::bind).transpose()?,
        tls: Tls::load(&options.tls)?.map(Arc::new),
        limits: options.http_limits,
    };
    let output = options.events.as_deref().map(event_output).transpose()?;
    let needs = Needs {
        library: probes_libraries,
        take_in: options.live.take_in,
        served_from: server.tls.as_ref().map(|tls| tls.directories()).unwrap_or_default(),
    };
    if let (Some(directory), Some(user)) = (&options.compliance.state, &options.privileges.user) {
        hand_over(directory, user)?;
    }
    let attached = LiveSource::attach(options.live)?;
    let record = options.record.as_deref().map(RecordFile::create).transpose()?;
    let privileges = Privileges::drop_to(options.privileges, needs)?;

    let mut events = Events::default();
    if let Some(output) = output {
        let start = || events.write_to("file", output).context("start the events thread");
        privileges.confined(Duty::Write, start)?;
    }
    #[cfg(feature = "otlp")]
    if let Some(options) = &options.otlp {
        let output = Box::new(LogOutput::new(options.endpoint.clone()));
        let start = || events.write_to("otlp", output).context("start the OTLP thread");
        privileges.confined(Duty::Send, start)?;
    }
    let exporter = Exporter::with_events(options.hops, events);
    #[cfg(feature = "otlp")]
    let _metric_export = match options.otlp {
        Some(options) if !options.metrics_interval.is_zero() => {
            let start = || MetricExport::start(options, &exporter).context("start the OTLP thread");
            Some(privileges.confined(Duty::Send, start)?)
        }
        _ => None,
    };
    let compliance = privileges
        .confined(Duty::Inspect, || ComplianceThread::start(options.compliance, &exporter))?;
    let source = privileges.confined(Duty::Probe, || attached.start())?;
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
    let source: Box<dyn Source + Send> = match record {
        Some(file) => Box::new(Recording::new(source, file)),
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
    let capture = privileges.clone();
    let pipeline = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || {
            let result = capture.confine(Duty::Capture).and_then(|()| worker.run());
            // Nobody listens any more when the agent is stopping.
            let _ = broken.send(());
            result
        })
        .context("start the pipeline thread")?;
    // The threads of the runtime inherit it.
    privileges.confine(Duty::Serve)?;
    let (state, detail) = privileges.describe();
    tracing::info!(%state, "privileges: {detail}");
    exporter.health().set(PRIVILEGES, state, detail);
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
        tracing::info!(
            address = %options.http, tls = server.tls.is_some(),
            "serving metrics and the hop table"
        );
        server.serve(&exporter, stopped).await
    });
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    let pipeline_result =
        pipeline.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pipeline panicked")));
    served.and(pipeline_result)
}

/// Opens the event file while we may.
fn event_output(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("open {} for connection events", path.display()))?;
    Ok(Box::new(file))
}

/// Gives the state directory and what is in it to the user that the agent becomes. Where that takes
/// a capability it has not, the directory may be that user's already.
fn hand_over(directory: &Path, user: &User) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("make the state directory {}", directory.display()))?;
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(user.uid()), Some(user.gid()));
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("list the state directory {}", directory.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    if let Err(error) = files.chain([directory.to_owned()]).try_for_each(|path| own(&path)) {
        tracing::debug!(%error, %user, "the state directory stays whose it is");
    }
    Ok(())
}

/// What listens.
struct Server {
    listener: TcpListener,
    health: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    limits: HttpLimits,
}

impl Server {
    async fn serve(
        self,
        exporter: &Exporter,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { listener, health, tls, limits } = self;
        let health = async {
            match health {
                None => std::future::pending().await,
                Some(listener) => {
                    let forever = std::future::pending();
                    http::serve_health(listener, exporter.clone(), limits, forever).await
                }
            }
        };
        let everything = async {
            match tls {
                None => http::serve(listener, exporter.clone(), limits, stop).await,
                Some(tls) => http::serve_tls(listener, tls, exporter.clone(), limits, stop).await,
            }
        };
        tokio::select! {
            served = everything => served,
            served = health => served,
        }
    }
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

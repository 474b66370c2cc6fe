//! The running agent: live capture, pipeline, exporter and HTTP server put together.

mod deadline;
mod hang_up;
pub(crate) mod memory;
pub mod metrics;
mod server;
mod watched;
mod worker;

use std::{
    fs::Permissions,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context as _;

pub use self::hang_up::ConfigFile;
use self::{
    deadline::Deadline,
    hang_up::{EventFile, HangUps},
    server::Server,
    worker::Worker,
};
use crate::{
    compliance::{ComplianceOptions, ComplianceThread},
    privileges::{Duty, Needs, PrivilegeOptions, Privileges, User},
    run::metrics::{AgentMetrics, SharedPipelineNumbers},
};
use hopsight_capture::{
    LiveOptions, LiveSource, Source,
    record::{RecordFile, Recording},
};
use hopsight_core::{
    health::ComponentState,
    model::key_names,
    pipeline::{Limits, Pipeline},
};
#[cfg(feature = "otlp")]
use hopsight_export::otlp::{LogOutput, MetricExport, OtlpOptions};
use hopsight_export::{
    Exporter,
    events::Events,
    health::Stake,
    http::{HttpLimits, tls::TlsFiles},
};
use hopsight_posture::hops::{table::HopLimits, witness::Witness};
use hopsight_system::{
    heart::Heart,
    names::{self, Watched},
};

/// Component name of the kernel programs in `/readyz`.
const KERNEL_PROGRAMS: &str = "kernel_programs";
/// Component name of what the agent gave up in `/readyz`.
const PRIVILEGES: &str = "privileges";

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file that all of this came from, if it came from one.
    pub config: Option<ConfigFile>,
    /// What to capture.
    pub live: LiveOptions,
    /// The pipeline's limits.
    pub limits: Limits,
    /// The hop table's limits.
    pub hops: HopLimits,
    /// What the agent is called in `/hops` and events.
    pub witness: Witness,
    /// Append a line per event to this file; `-` is standard output.
    pub events: Option<PathBuf>,
    /// Export to this OpenTelemetry collector.
    #[cfg(feature = "otlp")]
    pub otlp: Option<OtlpOptions>,
    /// Where to serve HTTP.
    pub http: SocketAddr,
    /// Where to serve only `/livez` and `/readyz`.
    pub health: Option<SocketAddr>,
    /// The HTTP server's certificates.
    pub tls: TlsFiles,
    /// The HTTP server's limits.
    pub http_limits: HttpLimits,
    /// Names that the HTTP server has beside those that lead to nobody else.
    pub http_hosts: Vec<String>,
    /// What connections are evaluated against.
    pub compliance: ComplianceOptions,
    /// Record every event to this new file, for replay.
    pub record: Option<PathBuf>,
    /// What to give up once the kernel programs are loaded.
    pub privileges: PrivilegeOptions,
}

/// Runs until SIGTERM or SIGINT. When it returns the process has to end, with which the kernel removes
/// the library probes; everything else is detached. SIGHUP opens the file of
/// events anew and tells what has changed in the configuration file.
///
/// # Errors
/// If an address is taken, a file cannot be used, the kernel programs cannot be loaded or attached,
/// or capture breaks.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    if options.record.is_none() {
        key_session_names();
    }
    let probes_libraries = options.live.library;
    hang_up::hold_back();
    // First everything that takes privileges, all of it in this one thread.
    let server = Server::bind(&options)?;
    let hang_ups = HangUps::default();
    let output = options.events.as_deref().map(|path| event_output(path, &hang_ups)).transpose()?;
    let mut needs = needs(&options, &server);
    if let (Some(directory), Some(user)) = (&options.compliance.state, &options.privileges.user) {
        hand_over(directory, user)?;
    }
    tracing::info!("hopsight {}: {}", env!("CARGO_PKG_VERSION"), watching(&options.live));
    let attached = LiveSource::attach(options.live)?;
    needs.probes_alone = attached.attaches_probes_alone();
    let record = options.record.as_deref().map(RecordFile::create).transpose()?;
    let privileges = Privileges::drop_to(options.privileges, needs)?;
    // Dropped after everything that could wait.
    let deadline = privileges.confined(Duty::Write, Deadline::start)?;

    let mut events = Events::of(options.witness);
    if let Some(output) = output {
        let start = || events.write_to("file", output).context("start the events thread");
        privileges.confined(Duty::Write, start)?;
    }
    #[cfg(feature = "otlp")]
    if let Some(options) = &options.otlp {
        let output = Box::new(LogOutput::new(options.endpoint.clone(), options.resource.clone()));
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
    let (library_statuses, pipeline) = (source.library_statuses(), Arc::clone(&numbers));
    let metrics = AgentMetrics { capture: capture.clone(), library: library_statuses, pipeline };
    watched::register(&exporter, compliance.board(), metrics);
    exporter.health().set(KERNEL_PROGRAMS, ComponentState::Ready, "attached");
    let heart = Heart::default();
    exporter.health().listen("pipeline", Stake::Observation, heart.clone());
    for (thread, heart) in source.hearts() {
        exporter.health().listen(thread, Stake::Detail, heart);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (broken, pipeline_ended) = tokio::sync::oneshot::channel();
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
        heart,
        stop: Arc::clone(&stop),
    };
    let pipeline = move || {
        let result = worker.run();
        // Nobody listens once the agent is stopping.
        let _ = broken.send(());
        result
    };
    let start = || {
        let thread = thread::Builder::new().name("pipeline".to_owned());
        thread.spawn(pipeline).context("start the pipeline thread")
    };
    let pipeline = privileges.confined(Duty::Capture, start)?;
    // The threads of the runtime inherit it.
    privileges.confine(Duty::Serve)?;
    let (state, detail) = privileges.describe();
    tracing::info!(%state, "privileges: {detail}");
    exporter.health().set(PRIVILEGES, state, detail);
    crate::run::memory::return_free_pages();
    let renew = || {
        hang_ups.note();
        options.config.iter().for_each(ConfigFile::tell_changes);
    };
    let answer = server.run(&exporter, pipeline_ended, &deadline, renew);
    hopsight_capture::leave_probes_to_exit();
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    let pipeline_result =
        pipeline.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pipeline panicked")));
    hopsight_capture::finish_removing_probes();
    answer.and(pipeline_result)
}

/// What still takes privileges once the agent runs.
fn needs(options: &RunOptions, server: &Server) -> Needs {
    let configuration = options.config.as_ref().map(ConfigFile::directory);
    let event_file = options.events.as_deref().filter(|path| !is_standard_output(path));
    Needs {
        library: options.live.library,
        probes_alone: options.live.library,
        adopt: options.live.adopt,
        served_from: server.directories().into_iter().chain(configuration).collect(),
        written_to: event_file.map(EventFile::directory).into_iter().collect(),
    }
}

/// Makes the key that sessions are named with. It is in no file and no answer, and ends with the process.
fn key_session_names() {
    // The standard library's hash maps are seeded with what the system has for keys.
    let random = || RandomState::new().build_hasher().finish();
    // A second agent in this process names sessions as the first does.
    let _ = key_names((random(), random()));
}

/// What is watched, and what of it runs now.
fn watching(live: &LiveOptions) -> String {
    let running = hopsight_capture::running(live);
    let what = match &live.load.watched {
        Watched::All => format!("watching all {} processes", running.len()),
        Watched::Named(names) if running.is_empty() => {
            format!("no process of these names runs now, watching for {}", names.join(", "))
        }
        Watched::Named(_) => format!("watching {}", names::summary(running.values())),
    };
    match &live.cgroup {
        Some(cgroup) => format!("{what}; in {} only", cgroup.display()),
        None => what,
    }
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens the event file while the agent still may.
fn event_output(path: &Path, hang_ups: &HangUps) -> anyhow::Result<Box<dyn Write + Send>> {
    if is_standard_output(path) {
        return Ok(Box::new(std::io::stdout()));
    }
    Ok(Box::new(EventFile::open(path, hang_ups.clone())?))
}

/// Gives the state directory and what is in it to the user that the agent switches to. Where that
/// takes a capability that the agent lacks, its group gets the directory, which takes none of whoever
/// owns the directory and is in the group (chown(2)); else it may be that user's already.
fn hand_over(directory: &Path, user: &User) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("make the state directory {}", directory.display()))?;
    let share = |directory: &Path| {
        std::os::unix::fs::chown(directory, None, Some(user.gid()))?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o770))
    };
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(user.uid()), Some(user.gid()));
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("list the state directory {}", directory.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    if let Err(error) = files.chain([directory.to_owned()]).try_for_each(|path| own(&path)) {
        tracing::debug!(%error, %user, "the state directory stays whose it is");
        if let Err(error) = share(directory) {
            tracing::debug!(%error, %user, "nor does the group get it");
        }
    }
    Ok(())
}

//! The agent under test.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use hopsight_core::report::ConnectionReport;
use hopsight_posture::hops::table::Snapshot;

use crate::{
    case::{self, Case},
    http::{self, Response},
    loopback,
    process::Daemon,
    schema::Document,
    topology::Topology,
    wait::wait_until,
};

/// How long the agent may take to attach its programs.
const START: Duration = Duration::from_mins(1);
/// How long it may take from a request to its verdict, on a machine with much else to do.
pub const VERDICT: Duration = Duration::from_secs(30);
/// How long a change of a proxy may take to be seen: a reload or a restart, the reading of its
/// configuration, and the next connections.
pub const CHANGE: Duration = Duration::from_mins(1);

/// A running `hopsight run`.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub daemon: Daemon,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    events: PathBuf,
    /// Lines of the event file may be cut: its disk was full.
    cuts_lines: bool,
}

impl Agent {
    /// Starts the agent with its files in `dir` and waits until its programs are attached.
    ///
    /// # Errors
    /// When it does not become ready; the message carries its output.
    pub fn start(dir: &Path, http: SocketAddr, extra: &[&str]) -> anyhow::Result<Self> {
        Self::start_through(&[], dir, http, extra)
    }

    /// The same through another program, such as `setpriv` with its options, which becomes the
    /// agent.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_through(
        launcher: &[&str],
        dir: &Path,
        http: SocketAddr,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        let binary = binary()?;
        let [program, options @ ..] = launcher else {
            return Self::start_program(&binary, dir, http, extra);
        };
        let binary = crate::nginx::utf8(&binary)?;
        Self::start_with(Path::new(program), &[options, &[binary]].concat(), dir, http, extra)
    }

    /// The same with another program, such as a script that becomes the agent.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_program(
        program: &Path,
        dir: &Path,
        http: SocketAddr,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        Self::start_with(program, &[], dir, http, extra)
    }

    fn start_with(
        program: &Path,
        before: &[&str],
        dir: &Path,
        http: SocketAddr,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let events = dir.join("events.jsonl");
        let mut args: Vec<String> = ["run", "--http", &http.to_string(), "--events"]
            .into_iter()
            .map(str::to_owned)
            .collect();
        args.push(crate::nginx::utf8(&events)?.to_owned());
        args.extend(extra.iter().map(ToString::to_string));
        let before = before.iter().map(ToString::to_string);
        let daemon = Daemon::spawn(program, before.chain(args), &dir.join("agent.log"))?;
        let mut agent = Self { daemon, http, events, cuts_lines: false };
        wait_until("the agent to be ready", START, || {
            agent.daemon.ensure_running()?;
            Ok(agent.get("/readyz").ok().filter(|response| response.status == 200))
        })
        .with_context(|| format!("the agent wrote:\n{}", agent.daemon.log()))?;
        Ok(agent)
    }

    /// Expects lines of the event file that are no events: its disk is going to be full.
    #[must_use]
    pub const fn with_cut_lines(mut self) -> Self {
        self.cuts_lines = true;
        self
    }

    /// Starts an agent that watches the cgroup of a topology's proxies, with its files in the
    /// folder `name` of the topology's.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn watching(topology: &Topology, name: &str, extra: &[&str]) -> anyhow::Result<Self> {
        let options = [&topology.cgroup().options()?, extra].concat();
        Self::start(&topology.dir().join(name), topology.spare_address(), &options)
    }

    /// Starts an agent that watches every client of a topology.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn watching_clients(topology: &Topology) -> anyhow::Result<Self> {
        Self::watching_clients_with(topology, &[])
    }

    /// The same with more options.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn watching_clients_with(topology: &Topology, more: &[&str]) -> anyhow::Result<Self> {
        let cases: Vec<Case> = topology.hops.iter().map(|hop| hop.case).collect();
        let mut names = more.to_vec();
        for name in case::process_names(&cases) {
            names.extend(["--proxy", name]);
        }
        let agent = Self::watching(topology, "agent", &names)?;
        if topology.has_clients() {
            agent.wait_looked_into()?;
        }
        Ok(agent)
    }

    /// Waits until the agent has looked into the programs that run: those that are big take it
    /// seconds, in a build without optimization, and until then their handshakes are inferred.
    ///
    /// # Errors
    /// When it has not in the end.
    pub fn wait_looked_into(&self) -> anyhow::Result<()> {
        const SERIES: &str = "hopsight_library_processes{";
        wait_until("the agent to look into the proxies", START, || {
            let text = self.get("/metrics")?.body;
            let counts = text.lines().filter(|line| line.starts_with(SERIES));
            let known = counts.filter(|line| !line.ends_with(" 0")).count();
            Ok((known > 0).then_some(()))
        })
    }

    /// Fetches a page of the agent.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> anyhow::Result<Response> {
        http::get(self.http, path)
    }

    /// The agent's hop table.
    ///
    /// # Errors
    /// When `/hops` is not what the exporter writes.
    pub fn hops(&self) -> anyhow::Result<Snapshot> {
        serde_json::from_str(&self.get("/hops")?.body).context("read /hops")
    }

    /// Every report so far, in order; a connection may have several, the last one final.
    ///
    /// # Errors
    /// When a line of the event file is no report.
    pub fn reports(&self) -> anyhow::Result<Vec<ConnectionReport>> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        // The last line may not be complete yet.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let is_report = |line: &&str| !line.contains(r#""event":""#);
        complete
            .lines()
            .filter(is_report)
            .map(|line| serde_json::from_str(line).with_context(|| format!("read event {line}")))
            .collect()
    }

    /// The drift events so far, in order, without a line that is not complete yet.
    #[must_use]
    pub fn drifts(&self) -> Vec<serde_json::Value> {
        self.events_named("drift_")
    }

    /// The events so far whose name begins so, in order, without a line that is not complete yet.
    #[must_use]
    pub fn events_named(&self, beginning: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let is_named = |event: &serde_json::Value| {
            event["event"].as_str().is_some_and(|name| name.starts_with(beginning))
        };
        lines.filter(is_named).collect()
    }

    /// Final reports in the event file, also where a full disk cut lines.
    #[must_use]
    pub fn whole_finals(&self) -> Vec<ConnectionReport> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let reports = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        reports.filter(|report: &ConnectionReport| report.is_final).collect()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS")
    }

    /// The most resident memory that it ever had, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn peak(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.daemon.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("find {field}"))? * 1024)
    }

    /// The value of the first series in `/metrics` that begins with `name` and has all `labels`.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<Option<f64>> {
        let text = self.get("/metrics")?.body;
        let found = text
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        Ok(found.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
    }

    /// Waits until what lies on disk for the proxy of this label is not loaded, or is.
    ///
    /// # Errors
    /// When it is not so within [`CHANGE`].
    pub fn wait_pending(&self, proxy: &str, is_pending: bool) -> anyhow::Result<()> {
        let what = if is_pending { "a configuration to be pending" } else { "none to be pending" };
        let label = format!("proxy=\"{proxy}\"");
        let wanted = if is_pending { 1.0 } else { 0.0 };
        wait_until(what, CHANGE, || {
            let value = self.metric("hopsight_proxy_config_pending_reload{", &[&label])?;
            Ok((value == Some(wanted)).then_some(()))
        })
        .with_context(|| format!("the agent says:\n{}", self.daemon.log()))
    }

    /// The final reports of connections to `upstream`.
    ///
    /// # Errors
    /// When a line of the event file is no report.
    pub fn finals(&self, upstream: SocketAddr) -> anyhow::Result<Vec<ConnectionReport>> {
        let mut reports = self.reports()?;
        reports.retain(|report| report.is_final && is_address(&report.dst, upstream));
        Ok(reports)
    }

    /// Waits for `count` final reports of connections to `upstream`.
    ///
    /// # Errors
    /// When there are fewer within [`VERDICT`].
    pub fn wait_finals(
        &self,
        upstream: SocketAddr,
        count: usize,
    ) -> anyhow::Result<Vec<ConnectionReport>> {
        let what = format!("{count} final reports on {upstream}");
        wait_until(&what, VERDICT, || {
            Ok(Some(self.finals(upstream)?).filter(|reports| reports.len() >= count))
        })
    }
}

/// Every event has to be as its schema says.
impl Drop for Agent {
    fn drop(&mut self) {
        self.daemon.stop();
        // A pipe would be waited for.
        if !self.events.is_file() {
            return;
        }
        // It may be of before an agent that was killed, and end in half a line.
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let is_whole = |line: &&str| {
            !self.cuts_lines || serde_json::from_str::<serde_json::Value>(line).is_ok()
        };
        let lines = complete.lines().filter(is_whole);
        let problems: Vec<_> =
            lines.flat_map(|line| Document::Event.problems_of_text(line)).take(8).collect();
        // One panic at a time.
        assert!(problems.is_empty() || std::thread::panicking(), "{problems:#?}");
    }
}

/// Whether this `ip:port` is that address, IPv4-mapped or not.
#[must_use]
pub fn is_address(text: &str, address: SocketAddr) -> bool {
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    text.parse().is_ok_and(|parsed: SocketAddr| canonical(parsed) == canonical(address))
}

/// The agent's binary: `HOPSIGHT_BIN`, else the one of this package, which cargo builds with the
/// tests, so that it is never an old one.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("HOPSIGHT_BIN") {
        return Ok(path.into());
    }
    sibling("hopsight-agent")
}

/// An agent's HTTP side over made-up hops, without a kernel: `hopsight-page-demo`.
#[derive(Debug)]
pub struct MadeUp {
    /// The process.
    pub daemon: Daemon,
    /// Where it serves HTTP.
    pub http: SocketAddr,
}

impl MadeUp {
    /// Serves that many hops, the same in every run, on a free port.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(dir: &Path, hops: u64) -> anyhow::Result<Self> {
        let http = loopback::free_socket()?;
        let args = [hops.to_string(), http.to_string()];
        let demo = sibling("hopsight-page-demo")?;
        let mut daemon = Daemon::spawn(demo, args, &dir.join("page_demo.log"))?;
        daemon.wait_listening(http)?;
        Ok(Self { daemon, http })
    }
}

/// A binary of the same build as this one.
///
/// # Errors
/// When it has not been built.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("find our own executable")?;
    let mut dir = own.parent().context("find our own directory")?;
    if dir.ends_with("deps") {
        dir = dir.parent().context("find the build directory")?;
    }
    let path = dir.join(name);
    anyhow::ensure!(path.exists(), "{} is missing; run `cargo build`", path.display());
    Ok(path)
}

//! The live source: the kernel programs of this machine.

mod beginnings;
mod descent;
mod options;
mod order;

use std::{
    collections::HashMap,
    io::ErrorKind,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use self::{beginnings::Beginnings, descent::Noted};
use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, RingBuf},
};
use aya_log::EbpfLogger;
pub use options::{LiveOptions, running};
use order::{Untold, Waiting, is_readable, read};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use tracing::{debug, warn};

use super::{
    Source, SourceState,
    cgroup::{Cgroup, Presence, Scope},
    library::{LibraryProbes, LibraryStatuses, LibraryThread},
    loader,
    stats::{Received, StatsHandle, enable_statistics},
};
use crate::existing::{Adoption, Connections};
use hopsight_core::model::{ConnectionId, Event, Origin};
use hopsight_system::{
    foreign,
    heart::Heart,
    names::{self, Watched, comm_of, name_of},
};

/// Time for which records gather after the first one. The kernel wakes a reader that has caught up
/// for every single record, in the middle of the proxy's handshake; one that lags is left alone.
const COALESCE: Duration = Duration::from_millis(5);

/// Longest that the agent's start waits for the library probes: it serves HTTP only then.
const SETTLE: Duration = Duration::from_secs(2);

/// Most events that are kept until somebody polls; others stay in the ring buffers.
const MOST_EARLY: usize = 16_384;

/// Wakes a [`LiveSource`] that waits in [`Source::poll`], from any thread.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// The current or next `poll` returns at once.
    pub fn wake(&self) {
        // A full counter means that it is awake already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Events from this machine's kernel. Dropping it detaches everything.
pub struct LiveSource {
    ring: RingBuf<MapData>,
    library_ring: RingBuf<MapData>,
    untold: Untold,
    /// Events of `ring` that wait for those of `library_ring`.
    waiting: Waiting,
    /// What was read before anybody polled.
    early: Vec<Event>,
    done: BpfHashMap<MapData, u64, u8>,
    /// There once the source is started, if older connections are wanted.
    adoption: Option<Adoption>,
    watched_processes: BpfHashMap<MapData, u32, [u8; 16]>,
    processes: names::Processes,
    known_processes: HashMap<u32, String>,
    /// None where the first connections of a process may be missed.
    beginnings: Option<Beginnings<Noted>>,
    library: Option<LibraryThread>,
    /// Hands what the programs logged to the `log` crate.
    flush_kernel_log: Option<Box<dyn FnMut() + Send>>,
    options: LiveOptions,
    /// Where the watched processes are, if not all of the machine is watched.
    scope: Option<Scope>,
    next_scan: Instant,
    received: Arc<Received>,
    stats: StatsHandle,
    wake: OwnedFd,
    _statistics: Option<OwnedFd>,
    /// Owns the programs and their links, where no [`LibraryThread`] does.
    programs: Option<Ebpf>,
}

/// Kernel programs that are loaded and attached, and nothing that reads them yet.
///
/// What takes most privileges is done, in the calling thread and without another one.
pub struct Attached {
    source: LiveSource,
    scope: Scope,
    connections: Connections,
    probes: Option<LibraryProbes>,
    ebpf: Ebpf,
}

impl Attached {
    /// Whether each library probe is attached alone, which takes more privileges.
    #[must_use]
    pub fn attaches_probes_alone(&self) -> bool {
        self.probes.as_ref().is_some_and(LibraryProbes::attaches_alone)
    }

    /// Looks at the processes that run, and probes and adopts what belongs to watched ones.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn start(self) -> anyhow::Result<LiveSource> {
        let Self { mut source, scope, connections, probes, ebpf } = self;
        if source.options.adopt {
            let adoption = Adoption::start(scope, connections, Arc::clone(&source.received));
            source.adoption =
                Some(adoption.context("start the threads that adopt older connections")?);
        }
        match probes {
            Some(probes) => source.library = Some(LibraryThread::start(probes, ebpf)?),
            None => source.programs = Some(ebpf),
        }
        source.scan();
        // What runs already is probed before anybody relies on it, unless it is big.
        source.settle(SETTLE);
        Ok(source)
    }
}

impl LiveSource {
    /// Loads and attaches the kernel programs, starts, and waits for the library probes.
    ///
    /// # Errors
    /// As [`LiveSource::attach`] and [`Attached::start`].
    pub fn start(options: LiveOptions) -> anyhow::Result<Self> {
        let mut source = Self::attach(options)?.start()?;
        source.settle(Duration::MAX);
        Ok(source)
    }

    /// Waits until the processes that run were looked into, but no longer than this for each purpose.
    /// Meanwhile the ring buffers are emptied: on a busy machine they hold less than that takes.
    fn settle(&mut self, longest: Duration) {
        if let Some(adoption) = &mut self.adoption {
            adoption.settle(longest.min(SETTLE));
        }
        let Some(settled) = self.library.as_ref().and_then(LibraryThread::settling) else { return };
        let begin = Instant::now();
        while let Some(left) = longest.checked_sub(begin.elapsed())
            && let Err(RecvTimeoutError::Timeout) = settled.recv_timeout(left.min(COALESCE))
        {
            if self.early.len() < MOST_EARLY {
                let mut early = std::mem::take(&mut self.early);
                self.drain(&mut early);
                self.early = early;
            }
        }
    }

    /// Loads and attaches the kernel programs.
    ///
    /// # Errors
    /// There is no cgroup v2 hierarchy, or the kernel refuses something; the message says what to
    /// do about it.
    pub fn attach(options: LiveOptions) -> anyhow::Result<Attached> {
        let cgroup = Cgroup::open(options.cgroup.as_deref())?;
        let mut ebpf = loader::open(&options.load)?;
        let flush_kernel_log =
            options.load.kernel_log.then(|| kernel_log(&mut ebpf)).transpose()?;
        loader::attach(&mut ebpf, &cgroup)?;
        let follows = loader::follow_processes(&mut ebpf).inspect_err(|error| {
            let seconds = options.rescan.as_secs();
            warn!(
                "processes whose threads have other names are found within {seconds} s only, and sessions \
                 without a name are less often known: {error:#}"
            );
        });
        let follows = follows.is_ok() || options.load.watched == Watched::All;
        let received = Arc::<Received>::default();
        // Their programs may need all maps.
        let probes = options
            .library
            .then(|| LibraryProbes::load(&mut ebpf, options.library_sampling, options.rustls));
        let is_paused = probes.as_ref().map(LibraryProbes::is_paused).unwrap_or_default();
        let beginnings =
            follows.then(|| Noted::take(&mut ebpf).map(Beginnings::from_now)).transpose()?;
        let stats = StatsHandle::new(
            Arc::clone(&received),
            loader::take_map(&mut ebpf, "LOST")?,
            loader::take_map(&mut ebpf, "LIBRARY_COUNTS")?,
            &ebpf,
            probes.as_ref(),
            Presence::of(&cgroup)?,
        )?;
        let source = Self {
            ring: loader::take_map(&mut ebpf, "EVENTS")?,
            library_ring: loader::take_map(&mut ebpf, "LIBRARY_EVENTS")?,
            untold: Untold { lost: loader::take_map(&mut ebpf, "UNTOLD")?, is_paused },
            waiting: Waiting::default(),
            early: Vec::new(),
            done: loader::take_map(&mut ebpf, "DONE")?,
            adoption: None,
            watched_processes: loader::take_map(&mut ebpf, "PROCESSES")?,
            processes: names::Processes::default(),
            known_processes: HashMap::new(),
            beginnings,
            library: None,
            flush_kernel_log,
            scope: options.cgroup.is_some().then(|| Scope::new(&cgroup)),
            next_scan: Instant::now(),
            stats,
            received,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .context("create an eventfd")?,
            _statistics: options.program_statistics.then(enable_statistics).flatten(),
            programs: None,
            options,
        };
        let connections = loader::take_map(&mut ebpf, "SOCKETS")?;
        Ok(Attached { source, scope: Scope::new(&cgroup), connections, probes, ebpf })
    }

    /// Reads counts at any time, from any thread.
    #[must_use]
    pub fn stats(&self) -> StatsHandle {
        self.stats.clone()
    }

    /// Which watched processes give library evidence, at any time, from any thread.
    #[must_use]
    pub fn library_statuses(&self) -> LibraryStatuses {
        self.library.as_ref().map(LibraryThread::statuses).unwrap_or_default()
    }

    /// The hearts of the threads beside the one that polls, with their names.
    #[must_use]
    pub fn hearts(&self) -> Vec<(&'static str, Heart)> {
        let library = self.library.as_ref().map(|library| ("library", library.heart()));
        let adoption = self.adoption.iter().flat_map(Adoption::hearts);
        library.into_iter().chain(adoption.map(|heart| ("adoption", heart.clone()))).collect()
    }

    /// Something that ends a waiting [`Source::poll`].
    ///
    /// # Errors
    /// No more descriptors.
    pub fn waker(&self) -> anyhow::Result<Waker> {
        Ok(Waker(self.wake.try_clone().context("duplicate the eventfd")?))
    }

    /// Tells the kernel which processes are watched, and adopts the connections of new ones.
    fn scan(&mut self) {
        self.next_scan = Instant::now() + self.options.rescan;
        let first = self.known_processes.is_empty();
        if self.options.load.watched == Watched::All && !first {
            return;
        }
        let mut running = self.processes.running(&self.options.load.watched);
        running.retain(|pid, _| is_within(self.scope.as_ref(), *pid));
        for (pid, name) in &running {
            let is_new = self.known_processes.get(pid) != Some(name);
            if is_new && !self.is_watched(*pid) {
                self.beginnings.iter_mut().for_each(|all| all.found_late(*pid));
            }
            // Known or not: the kernel forgets a process that runs another program.
            if let Err(error) = self.watched_processes.insert(pid, comm_of(name), 0) {
                warn!(pid, name, %error, "cannot watch the process by its id");
            }
            if let Some(adoption) = &mut self.adoption
                && self.known_processes.get(pid) != Some(name)
            {
                adoption.begin(*pid, name);
            }
        }
        for pid in self.known_processes.keys().filter(|pid| !running.contains_key(pid)) {
            // It may never have been there.
            let _ = self.watched_processes.remove(pid);
        }
        if let Some(library) = &mut self.library {
            library.scan(&running);
        }
        self.known_processes = running;
    }

    /// Whether the kernel has watched a process from its beginning on: by the name of its first thread,
    /// or because it noted the process when that took another name.
    fn is_watched(&self, pid: u32) -> bool {
        let Watched::Named(names) = &self.options.load.watched else { return true };
        let comm = foreign::fact(pid, "comm").unwrap_or_default();
        let comm = String::from_utf8_lossy(&comm);
        names.iter().any(|name| comm_of(name) == comm_of(comm.trim_end()))
            || self.watched_processes.get(&pid, 0).is_ok()
    }

    /// Appends what was adopted and what is in the ring buffers; returns whether anything was read.
    fn drain(&mut self, out: &mut Vec<Event>) -> bool {
        let first = out.len();
        let new = self.waiting.events().len();
        // In this order: what a library showed before one of the first is found with the second.
        let mut started = Vec::new();
        let mut any = read(&mut self.ring, &self.received, self.waiting.events(), &mut started);
        any |= read(&mut self.library_ring, &self.received, out, &mut started);
        self.expect(&started);
        if let Some(library) = &mut self.library {
            notice(library, &self.waiting.events()[new..]);
        }
        self.waiting.release(|| is_readable(&self.library_ring), Instant::now(), out);
        // The ring buffer may hold segments of connections that were just adopted.
        let adopted = self.adoption.as_ref().map(Adoption::take).unwrap_or_default();
        any |= !adopted.is_empty();
        out.splice(first..first, adopted);
        // After the beginnings of their processes, and before who may offer what was lost.
        out.splice(first..first, self.untold.take());
        let beginnings = self.beginnings.as_mut().map(|all| all.of(&out[first..]));
        out.splice(first..first, beginnings.unwrap_or_default());
        any
    }

    /// Has watched processes looked into that run another program now.
    fn expect(&mut self, started: &[u32]) {
        let Some(library) = &mut self.library else { return };
        for pid in started.iter().filter(|pid| is_within(self.scope.as_ref(), **pid)) {
            // It may have ended, or run yet another program.
            if let Ok(name) = self.watched_processes.get(pid, 0) {
                library.expect(*pid, name_of(&name));
            }
        }
    }

    /// Waits until a ring buffer or the waker has something, or `timeout` is over.
    fn wait(&self, timeout: Duration) -> anyhow::Result<()> {
        let timeout = timeout.min(self.next_scan.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(timeout).context("use the poll timeout")?;
        let mut descriptors = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.ring.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.library_ring.as_fd(), PollFlags::IN),
        ];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the ring buffer"),
        }
        let [wake, rings @ ..] = &descriptors;
        if !wake.revents().is_empty() {
            let mut counter = [0; 8];
            if let Err(error) = rustix::io::read(&self.wake, &mut counter) {
                debug_assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
        }
        if rings.iter().any(|ring| !ring.revents().is_empty()) {
            std::thread::sleep(COALESCE);
        }
        Ok(())
    }
}

impl Source for LiveSource {
    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> anyhow::Result<SourceState> {
        if Instant::now() >= self.next_scan {
            self.scan();
        }
        let was_early = !self.early.is_empty();
        out.append(&mut self.early);
        if !self.drain(out) && !was_early {
            self.wait(timeout)?;
            self.drain(out);
        }
        if let Some(flush) = &mut self.flush_kernel_log {
            flush();
        }
        Ok(SourceState::Open)
    }

    fn done(&mut self, connection: ConnectionId) {
        if let Err(error) = self.done.insert(connection.0, 1, 0) {
            debug!(connection = connection.0, %error, "cannot tell the kernel that a connection is done");
        }
    }
}

/// Whether connections of the process would be seen.
fn is_within(scope: Option<&Scope>, pid: u32) -> bool {
    scope.is_none_or(|scope| scope.has(pid))
}

/// Has the TLS libraries of processes looked into that are new since the last scan.
fn notice(library: &mut LibraryThread, events: &[Event]) {
    for event in events {
        let Event::Opened { origin: Origin::Process(process), .. } = event else { continue };
        library.notice(process.pid, &process.name);
    }
}

fn kernel_log(ebpf: &mut Ebpf) -> anyhow::Result<Box<dyn FnMut() + Send>> {
    let mut log = EbpfLogger::init(ebpf).context("read the kernel programs' log")?;
    Ok(Box::new(move || log.flush()))
}

#[cfg(test)]
mod tests;

//! The probes at work on a thread of their own.
//!
//! To look at a new process its files are read and disassembled, which takes tenths of a second
//! for a big program: capture must not wait for that. What is lost meanwhile is the library's
//! evidence on the first handshakes of a process whose TLS library no watched process used
//! before; a library that is probed already is probed in every new process too.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::Context as _;
use aya::Ebpf;
use tracing::warn;

use super::{LibraryProbes, LibraryStatuses, ends::Waiter, expected::Expectations};
use hopsight_system::heart::Heart;

/// Processes that are remembered as handed over; when there are more, all are forgotten, and handed
/// over once more at their next connection.
const KNOWN: usize = 65_536;

/// Requests that may wait. One that finds no room is dropped: the next scan makes up for it.
const QUEUE: usize = 64;

enum Request {
    /// These watched processes run now.
    Scan(HashMap<u32, String>),
    /// This process opened a connection.
    Meet(u32, String),
    /// This watched process runs another program.
    Expect(u32, String),
    /// This process ended.
    End(u32),
    /// Answer when everything before is done.
    Settle(SyncSender<()>),
}

/// A handle to the thread. Dropping it detaches every program of the [`Ebpf`] it was given.
pub struct LibraryThread {
    requests: Option<SyncSender<Request>>,
    ends: Option<Waiter>,
    thread: Option<JoinHandle<()>>,
    /// Processes that the thread was told of.
    known: HashSet<u32>,
    statuses: LibraryStatuses,
    stop: Arc<AtomicBool>,
    heart: Heart,
}

impl LibraryThread {
    /// Starts the thread, which owns the programs from now on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(mut probes: LibraryProbes, mut ebpf: Ebpf) -> anyhow::Result<Self> {
        let (statuses, stop) = (probes.statuses(), probes.stop());
        let (requests, queue) = mpsc::sync_channel(QUEUE);
        let ended = requests.clone();
        // One that finds no room is found by the scan.
        let ends = probes.ends.wait(move |pid| drop(ended.try_send(Request::End(pid))));
        let ends = ends.inspect_err(|error| warn!("probes stay for some seconds: {error:#}")).ok();
        let heart = Heart::default();
        let own_heart = heart.clone();
        let thread = std::thread::Builder::new()
            .name("library".to_owned())
            .spawn(move || serve(&queue, &mut probes, &mut ebpf, &own_heart))
            .context("start the thread of the library probes")?;
        let known = HashSet::new();
        let requests = Some(requests);
        Ok(Self { requests, ends, thread: Some(thread), known, statuses, stop, heart })
    }

    /// Which processes give library evidence, and why the others do not.
    #[must_use]
    pub fn statuses(&self) -> LibraryStatuses {
        self.statuses.clone()
    }

    /// Whether the thread moves.
    #[must_use]
    pub fn heart(&self) -> Heart {
        self.heart.clone()
    }

    /// Hands over the watched processes that run now; see [`LibraryProbes::scan`].
    pub fn scan(&mut self, running: &HashMap<u32, String>) {
        if self.send(Request::Scan(running.clone())) {
            self.known = running.keys().copied().collect();
        }
    }

    /// Hands over a process that opened a connection, if it is new since the last scan.
    pub fn notice(&mut self, pid: u32, name: &str) {
        if !self.known.contains(&pid) && self.send(Request::Meet(pid, name.to_owned())) {
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            self.known.insert(pid);
        }
    }

    /// Hands over a watched process that runs another program now.
    pub fn expect(&mut self, pid: u32, name: String) {
        // The next scan makes up for it.
        let _ = self.send(Request::Expect(pid, name));
    }

    /// Answers once everything handed over so far is done; `None` where that cannot be asked.
    #[must_use]
    pub fn settling(&self) -> Option<Receiver<()>> {
        let (done, waiting) = mpsc::sync_channel(1);
        self.send(Request::Settle(done)).then_some(waiting)
    }

    fn send(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(request).is_ok())
    }
}

impl Drop for LibraryThread {
    fn drop(&mut self) {
        // It holds the queue open.
        self.ends = None;
        self.requests = None;
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic was printed.
            let _ = thread.join();
        }
    }
}

fn serve(queue: &Receiver<Request>, probes: &mut LibraryProbes, ebpf: &mut Ebpf, heart: &Heart) {
    let mut expectations = Expectations::default();
    loop {
        let request = match expectations.next() {
            Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => queue.recv().map_err(RecvTimeoutError::from),
        };
        heart.beat();
        match request {
            Ok(Request::Scan(running)) => probes.scan(ebpf, &running),
            Ok(Request::Meet(pid, name)) => probes.observe(ebpf, pid, &name),
            Ok(Request::Expect(pid, name)) => expectations.expect(pid, name, Instant::now()),
            Ok(Request::End(pid)) => probes.end(pid),
            Ok(Request::Settle(done)) => {
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some((pid, name)) = expectations.take_due(Instant::now()) {
            if probes.meet(ebpf, pid, &name) {
                expectations.forget(pid);
            }
        }
        heart.rest();
    }
}

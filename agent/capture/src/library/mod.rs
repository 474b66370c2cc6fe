//! Evidence from inside the TLS library of a proxy.
//!
//! In TLS 1.3 the messages that decide are encrypted on the wire, but a library has each of them in
//! the clear. Probes where it hashes them (OpenSSL), or hands them from one function of its own to
//! the next (Go, BoringSSL), deliver them whole and in order. [`placement`] says where the probes
//! go, `agent-ebpf/src/library` is what runs there.

mod as_compiled;
mod attach;
mod ceiling;
pub mod decode;
mod discovery;
pub mod elf;
mod ends;
mod evidence;
mod expected;
mod files;
mod inspect;
pub mod placement;
mod published;
mod quota;
mod raw;
mod sampling;
mod status;
mod thread;
mod together;
mod told;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::Ebpf;
use hopsight_system::{foreign::Lane, maps::Mapping, process::Stat};
use tracing::{debug, warn};

pub use attach::{finish, leave_to_exit, rehearse, rehearse_locked_down};
use ceiling::{Ceiling, Misfiring};
use discovery::{Absence, Candidate};
use ends::Ends;
use evidence::ProbeState;
pub use evidence::survey;
use files::ProbedFile;
use inspect::{FileKey, Role, Search};
pub use placement::Rustls;
pub use published::LibraryStatuses;
use quota::Quota;
pub use sampling::Sampling;
use sampling::Schedule;
pub use status::{LibraryEvidence, LibraryStatus, NoLibrary, ProbedLibrary};
pub use thread::LibraryThread;
use told::Told;

/// For how long probes that were hit too often stay away.
const TAKEN_OUT_FOR: Duration = Duration::from_mins(10);

/// Processes beyond which those that ended are looked for and forgotten: where every process of the
/// machine is watched, no scan says which still run.
const MANY_PROCESSES: usize = 16_384;

/// Files of which is remembered what they are while nobody uses them: to look into a big program
/// takes a second.
const REMEMBERED: usize = 1024;

/// Processes at whose end their files are looked after at once, between two scans: where programs come
/// and go all the time, probes would do nothing else.
const ENDS_BETWEEN_SCANS: u32 = 16;

/// Attaches probes to the TLS libraries of watched processes and keeps account of them.
pub struct LibraryProbes {
    files: HashMap<FileKey, ProbedFile>,
    /// What files are that nobody uses now.
    remembered: HashMap<FileKey, Role>,
    processes: HashMap<u32, WatchedProcess>,
    statuses: LibraryStatuses,
    schedule: Schedule,
    ceiling: Ceiling,
    search: Search,
    programs: attach::Programs,
    quota: Quota,
    ends: Ends,
    /// Of [`ENDS_BETWEEN_SCANS`].
    ends_left: u32,
    told: Told,
    /// Set before probes are taken away from processes that go on.
    is_paused: Arc<AtomicBool>,
    /// Probes are in place.
    open: bool,
}

struct WatchedProcess {
    name: String,
    /// Start time, which tells a process from a later one of the same id.
    started: u64,
    whose: Lane,
    files: Vec<FileKey>,
    evidence: LibraryEvidence,
    /// Of all files that it executes code from, as it was looked at last; `None` once something else
    /// about it has changed.
    mapped: Option<u64>,
}

impl WatchedProcess {
    const fn has_library(&self) -> bool {
        matches!(self.evidence, LibraryEvidence::Library(_))
    }
}

impl LibraryProbes {
    /// Gives the programs of the probes to the kernel. Nothing is attached yet. Where the kernel
    /// refuses, every process will say so; the rest of the agent works without.
    #[must_use]
    pub fn load(ebpf: &mut Ebpf, sampling: Sampling, rustls: Rustls) -> Self {
        let programs = attach::load(ebpf).unwrap_or_else(|error| {
            warn!("TLS 1.3 hops will be inferred, not seen inside their TLS library: {error:#}");
            attach::Programs::ByAya
        });
        Self {
            files: HashMap::new(),
            remembered: HashMap::new(),
            processes: HashMap::new(),
            statuses: LibraryStatuses::default(),
            schedule: Schedule::new(sampling),
            ceiling: Ceiling::new(ebpf),
            search: Search { rustls, ..Search::default() },
            programs,
            quota: Quota::default(),
            ends: Ends::default(),
            ends_left: ENDS_BETWEEN_SCANS,
            told: Told::default(),
            is_paused: Arc::default(),
            open: true,
        }
    }

    /// Whether probes were taken away from processes that go on; whoever reads it resets it.
    pub(crate) fn is_paused(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_paused)
    }

    /// Whether each probe is attached alone.
    pub(crate) const fn attaches_alone(&self) -> bool {
        !matches!(self.programs, attach::Programs::Together(_))
    }

    /// The programs of the probes that aya does not know, by their names.
    pub(crate) fn unknown_to_aya(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.programs.unknown_to_aya()
    }

    /// Takes the watched processes that run now (process id to name): attaches to the libraries of
    /// new ones, detaches from files that nobody uses any more, and follows the sampling mode.
    pub fn scan(&mut self, ebpf: &mut Ebpf, running: &HashMap<u32, String>) {
        self.follow_schedule(ebpf);
        self.keep_below_ceiling(ebpf);
        self.ends_left = ENDS_BETWEEN_SCANS;
        self.told.sum_up(Instant::now());
        for (pid, _) in self.processes.extract_if(|pid, _| !running.contains_key(pid)) {
            self.ends.forget(pid);
        }
        let files = self.files.values();
        self.quota.renew(files.map(|file| (file.whose, file.links(&self.programs))));
        // Big programs last: nobody waits for them.
        let mut in_turn: Vec<_> = running.iter().collect();
        in_turn.sort_by_cached_key(|(pid, _)| {
            let is_known = self.processes.contains_key(pid);
            if is_known { 0 } else { discovery::program_size(**pid) }
        });
        for (&pid, name) in in_turn {
            if self.search.stop.load(Ordering::Relaxed) {
                return;
            }
            self.look_at(ebpf, pid, name);
        }
        self.leave_unused(|_| true);
        self.publish();
    }

    /// Takes the probes off such files that no process uses any more.
    fn leave_unused(&mut self, such: impl Fn(&ProbedFile) -> bool) {
        let used: HashSet<FileKey> =
            self.processes.values().flat_map(|process| process.files.iter().copied()).collect();
        // At once: the kernel keeps the instructions that it replaced, and puts them into whatever is
        // at these places when the file is run again, also if it was written anew.
        for (key, file) in self.files.extract_if(|key, file| !used.contains(key) && such(file)) {
            if self.remembered.len() >= REMEMBERED {
                self.remembered.clear();
            }
            self.remembered.insert(key, file.role);
        }
    }

    /// A process ended, it is said, whose files are probed.
    fn end(&mut self, pid: u32) {
        // There may be another one of its id by now.
        if discovery::directory(pid).is_some() || self.ends_left == 0 {
            return;
        }
        self.ends_left -= 1;
        self.ends.forget(pid);
        self.processes.remove(&pid);
        // A library waits for the scan: of programs that run for a moment the next one may use it.
        self.leave_unused(|file| file.is_program);
        self.publish();
    }

    /// Takes out what is hit for nothing. Whoever shares a file with others does not speak for them,
    /// unless it is the system's own user: its hits cost itself.
    fn keep_below_ceiling(&mut self, ebpf: &mut Ebpf) {
        let mut any_is_back = false;
        for file in self.files.values_mut() {
            any_is_back |= file.put_back_after(TAKEN_OUT_FOR);
        }
        if any_is_back {
            attach::forget_connections(ebpf);
        }
        for Misfiring { pid, part, misfires } in self.ceiling.exceeded() {
            let Some(process) = self.processes.get(&pid) else { continue };
            let (whose, files) = (process.whose, process.files.clone());
            for key in files {
                let is_user = |user: &WatchedProcess| user.files.contains(&key);
                let Some(file) = self.files.get_mut(&key).filter(|file| file.has(part)) else {
                    continue;
                };
                let is_other = |user: &WatchedProcess| is_user(user) && user.whose != whose;
                if whose != Lane::User(0) && self.processes.values().any(is_other) {
                    continue;
                }
                if !file.is_attached() {
                    continue;
                }
                self.is_paused.store(true, Ordering::Relaxed);
                file.take_out(misfires);
                // Their evidence has changed.
                let users = self.processes.values_mut().filter(|user| is_user(user));
                users.for_each(|user| user.mapped = None);
            }
        }
    }

    fn follow_schedule(&mut self, ebpf: &mut Ebpf) {
        let open = self.schedule.is_open();
        if open == self.open {
            return;
        }
        self.open = open;
        if open {
            attach::forget_connections(ebpf);
        } else {
            self.is_paused.store(true, Ordering::Relaxed);
        }
        for file in self.files.values_mut() {
            if open {
                file.resume(ebpf, &self.programs, &mut self.quota);
            } else {
                file.pause();
            }
        }
        // Their evidence has changed.
        self.processes.values_mut().for_each(|process| process.mapped = None);
    }

    /// Looks at one watched process, for example at its first connection: between two scans it may
    /// have started.
    pub fn observe(&mut self, ebpf: &mut Ebpf, pid: u32, name: &str) {
        if self.processes.len() >= MANY_PROCESSES {
            self.processes.retain(|pid, _| discovery::directory(*pid).is_some());
        }
        self.look_at(ebpf, pid, name);
        self.publish();
    }

    fn look_at(&mut self, ebpf: &mut Ebpf, pid: u32, name: &str) {
        let started = start_time(pid).unwrap_or_default();
        let mappings = discovery::mappings(pid);
        let mapped = mappings.as_ref().ok().map(|mappings| discovery::fingerprint(mappings));
        let known = self.processes.get(&pid).filter(|known| known.started == started);
        // Whatever a process loads later is found, such as a second library.
        let is_same = |known: &WatchedProcess| mapped.is_some() && known.mapped == mapped;
        if known.is_some_and(|known| known.has_library() && is_same(known)) {
            return;
        }
        let is_new = known.is_none();
        let before = known.map(|known| known.evidence.clone());
        let whose = Lane::of_process(pid).unwrap_or(Lane::Namespaces);
        let found = mappings.and_then(|mappings| {
            let candidates = discovery::candidates(pid, &mappings)?;
            Ok((mappings, candidates))
        });
        let (files, evidence) = match found {
            Ok((mappings, candidates)) => self.probe(ebpf, whose, &mappings, &candidates),
            Err(absence) => (Vec::new(), absence.into()),
        };
        match before {
            Some(before) if before == evidence => {}
            // Comes and goes with every window.
            Some(before) if before.is_paused() || evidence.is_paused() => {
                debug!(pid, name, %evidence, "evidence of a watched process");
            }
            _ => self.told.tell(pid, name, &evidence),
        }
        if files.iter().any(|key| self.files.get(key).is_some_and(ProbedFile::wants_probes)) {
            self.ends.follow(pid, is_new);
        }
        let name = name.to_owned();
        let process = WatchedProcess { name, started, whose, files, evidence, mapped };
        self.processes.insert(pid, process);
    }

    /// Looks at a process that began just now; answers whether it needs no further look.
    fn meet(&mut self, ebpf: &mut Ebpf, pid: u32, name: &str) -> bool {
        if discovery::directory(pid).is_none() {
            return true;
        }
        // It may be a known one that runs another program.
        if let Some(known) = self.processes.get_mut(&pid) {
            known.mapped = None;
        }
        self.observe(ebpf, pid, name);
        self.processes.get(&pid).is_some_and(WatchedProcess::has_library)
    }

    /// What ends the search in a big program, once it is set.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.search.stop)
    }

    /// Which processes give library evidence, and why the others do not.
    #[must_use]
    pub fn statuses(&self) -> LibraryStatuses {
        self.statuses.clone()
    }

    fn publish(&self) {
        let processes = self.processes.iter();
        let statuses = processes.map(|(&pid, process)| LibraryStatus {
            pid,
            name: process.name.clone(),
            evidence: process.evidence.clone(),
        });
        self.statuses.publish(statuses, self.files.values().flat_map(ProbedFile::attached));
    }

    /// Attaches to the files of a process that want it; returns those and what it makes of them.
    fn probe(
        &mut self,
        ebpf: &mut Ebpf,
        whose: Lane,
        mappings: &[Mapping],
        candidates: &[Candidate],
    ) -> (Vec<FileKey>, LibraryEvidence) {
        let mut files = Vec::new();
        for candidate in candidates {
            if !self.files.contains_key(&candidate.key) {
                // It was touched or written meanwhile: the same inode is not probed twice.
                self.files.retain(|known, _| !known.is_same_inode(&candidate.key));
            }
            let file = match self.files.entry(candidate.key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(_) if !self.quota.admit_file(whose) => {
                    let detail = "its user has as many files looked into as one may".to_owned();
                    return (files, Absence { reason: NoLibrary::BeyondQuota, detail }.into());
                }
                Entry::Vacant(new) => {
                    let known = self.remembered.remove(&candidate.key);
                    match ProbedFile::new(candidate, whose, known, &self.search) {
                        Ok(file) => new.insert(file),
                        Err(error) => {
                            let absence = Absence::from_error(&error, &candidate.mapping.path);
                            return (files, absence.into());
                        }
                    }
                }
            };
            if self.open {
                file.resume(ebpf, &self.programs, &mut self.quota);
            }
            files.push(candidate.key);
        }
        let standing: Vec<_> = files
            .iter()
            .map(|key| (&self.files[key].role, ProbeState::from(&self.files[key].probes)))
            .collect();
        let evidence = evidence::of_files(mappings, candidates, &standing);
        (files, evidence)
    }
}

/// Start time in clock ticks since boot.
fn start_time(pid: u32) -> Option<u64> {
    Some(Stat::read(pid).ok()?.start_ticks)
}

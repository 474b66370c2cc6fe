//! Evidence from inside the TLS library of a proxy.
//!
//! In TLS 1.3 the messages that decide are encrypted on the wire, but a library hashes each of
//! them in the clear. Probes on OpenSSL's own calls of the hash function deliver them, whole and
//! in order ([`placement`] says where the probes go; `agent-ebpf/src/library` is what runs there).

mod attach;
pub mod decode;
mod discovery;
mod inspect;
mod maps;
pub mod placement;
mod status;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aya::Ebpf;
use tracing::{info, warn};

use attach::Attachment;
use discovery::{Absence, Candidate};
use inspect::{FileKey, Role};
pub use status::{LibraryEvidence, LibraryStatus, NoLibrary, ProbedLibrary};

/// A file keeps its probes for this long after its last process ended: a proxy that restarts is
/// probed from its first handshake on. Probes that no process maps cost nothing.
const LINGER: Duration = Duration::from_secs(60);

/// Looks at a process again until it has looked the same this many times.
const SETTLED: u32 = 4;

/// Attaches probes to the TLS libraries of watched processes and keeps account of them.
pub struct LibraryProbes {
    files: HashMap<FileKey, ProbedFile>,
    processes: HashMap<u32, Watched>,
    statuses: LibraryStatuses,
}

/// Reads the [`LibraryStatus`] of every watched process, from any thread.
#[derive(Clone, Debug, Default)]
pub struct LibraryStatuses(Arc<RwLock<Vec<LibraryStatus>>>);

impl LibraryStatuses {
    /// The statuses as of now, by process id.
    #[must_use]
    pub fn read(&self) -> Vec<LibraryStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct ProbedFile {
    role: Role,
    /// `None`: nothing to attach, or refused as `refusal` says.
    attachment: Option<Attachment>,
    refusal: Option<String>,
    last_used: Instant,
}

struct Watched {
    name: String,
    /// Start time, which tells a process from a later one of the same id.
    started: u64,
    files: Vec<FileKey>,
    evidence: LibraryEvidence,
    /// Looks in a row that showed the same files.
    unchanged: u32,
}

impl LibraryProbes {
    /// Gives the programs of the probes to the kernel. Nothing is attached yet.
    ///
    /// # Errors
    /// When the kernel refuses a program.
    pub fn load(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        attach::load(ebpf)?;
        let statuses = LibraryStatuses::default();
        Ok(Self { files: HashMap::new(), processes: HashMap::new(), statuses })
    }

    /// Takes the watched processes that run now (process id to name): attaches to the libraries of
    /// new ones, detaches from files that nobody uses any more.
    pub fn scan(&mut self, ebpf: &mut Ebpf, running: &HashMap<u32, String>) {
        self.processes.retain(|pid, _| running.contains_key(pid));
        for (&pid, name) in running {
            self.look_at(ebpf, pid, name);
        }
        self.publish();
        let used: HashSet<FileKey> =
            self.processes.values().flat_map(|process| process.files.iter().copied()).collect();
        let now = Instant::now();
        self.files.retain(|key, file| {
            if used.contains(key) {
                file.last_used = now;
            }
            now.duration_since(file.last_used) < LINGER
        });
    }

    /// Looks at one watched process, for example at its first connection: between two scans it may
    /// have started.
    pub fn observe(&mut self, ebpf: &mut Ebpf, pid: u32, name: &str) {
        self.look_at(ebpf, pid, name);
        self.publish();
    }

    fn look_at(&mut self, ebpf: &mut Ebpf, pid: u32, name: &str) {
        let started = start_time(pid).unwrap_or_default();
        let known = self.processes.get(&pid).filter(|known| known.started == started);
        let unchanged = known.map_or(0, |known| known.unchanged);
        let has_library =
            known.is_some_and(|known| matches!(known.evidence, LibraryEvidence::Library(_)));
        if has_library && unchanged >= SETTLED {
            return;
        }
        let (files, evidence) = match discovery::candidates(pid) {
            Ok((mappings, candidates)) => self.probe(ebpf, &mappings, &candidates),
            Err(absence) => (Vec::new(), inferred(absence)),
        };
        let before = known_evidence(&self.processes, pid, started);
        if before != Some(&evidence) {
            info!(pid, name, %evidence, "evidence of a watched process");
        }
        let same = self.processes.get(&pid).is_some_and(|known| known.files == files);
        let unchanged = if same { unchanged + 1 } else { 0 };
        let name = name.to_owned();
        self.processes.insert(pid, Watched { name, started, files, evidence, unchanged });
    }

    /// Whether the process has been looked at.
    #[must_use]
    pub fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Which processes give library evidence, and why the others do not.
    #[must_use]
    pub fn statuses(&self) -> LibraryStatuses {
        self.statuses.clone()
    }

    fn publish(&self) {
        let processes = self.processes.iter();
        let mut statuses: Vec<_> = processes
            .map(|(&pid, process)| LibraryStatus {
                pid,
                name: process.name.clone(),
                evidence: process.evidence.clone(),
            })
            .collect();
        statuses.sort_unstable_by_key(|status| status.pid);
        *self.statuses.0.write().unwrap_or_else(PoisonError::into_inner) = statuses;
    }

    /// Attaches to the files of a process that want it; returns those and what it makes of them.
    fn probe(
        &mut self,
        ebpf: &mut Ebpf,
        mappings: &[maps::Mapping],
        candidates: &[Candidate],
    ) -> (Vec<FileKey>, LibraryEvidence) {
        let mut files = Vec::new();
        let mut library = None;
        let mut refusal = None;
        let mut sees_enforcement = false;
        for candidate in candidates {
            let file =
                self.files.entry(candidate.key).or_insert_with(|| ProbedFile::new(ebpf, candidate));
            files.push(candidate.key);
            refusal = refusal.or_else(|| file.refusal.clone());
            match &file.role {
                Role::Library { placement, version, build_id } if file.attachment.is_some() => {
                    let path: PathBuf = candidate.mapping.path.clone();
                    let (version, build_id) = (version.clone(), build_id.clone());
                    library = Some(ProbedLibrary::new(path, version, build_id, placement));
                }
                Role::Application(_) => sees_enforcement |= file.attachment.is_some(),
                _ => {}
            }
        }
        let evidence = match (library, refusal) {
            (Some(library), _) => {
                LibraryEvidence::Library(ProbedLibrary { sees_enforcement, ..library })
            }
            (None, Some(detail)) => {
                LibraryEvidence::Inferred { reason: NoLibrary::AttachFailed, detail }
            }
            (None, None) => {
                let roles: Vec<_> = files.iter().map(|key| &self.files[key].role).collect();
                inferred(discovery::absence(mappings, candidates, &roles))
            }
        };
        (files, evidence)
    }
}

impl ProbedFile {
    fn new(ebpf: &mut Ebpf, candidate: &Candidate) -> Self {
        let role = inspect::role(&candidate.file).unwrap_or_else(|error| {
            warn!(path = %candidate.mapping.path.display(), %error, "cannot read a mapped file");
            Role::Other
        });
        let points = match &role {
            Role::Library { placement, .. } => placement.points.as_slice(),
            Role::Application(points) => points,
            Role::Unsupported(_) | Role::Other => &[],
        };
        let (attachment, refusal) = match attach::attach(ebpf, &candidate.file, points) {
            _ if points.is_empty() => (None, None),
            Ok(attachment) => (Some(attachment), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self { role, attachment, refusal, last_used: Instant::now() }
    }
}

fn inferred(Absence { reason, detail }: Absence) -> LibraryEvidence {
    LibraryEvidence::Inferred { reason, detail }
}

fn known_evidence(
    processes: &HashMap<u32, Watched>,
    pid: u32,
    started: u64,
) -> Option<&LibraryEvidence> {
    processes.get(&pid).filter(|known| known.started == started).map(|known| &known.evidence)
}

/// Start time in clock ticks since boot: field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(discovery::directory(pid).join("stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

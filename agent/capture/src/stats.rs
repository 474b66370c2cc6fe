//! What capture itself did: counts for metrics, readable from any thread.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use hopsight_abi::{Kind, LibraryCount, Lost};
use tracing::{error, warn};

use super::{cgroup::Presence, library::LibraryProbes};

/// Told once, not at every scrape: zeros in the metrics would otherwise pass for good news.
static UNREADABLE: Once = Once::new();

/// Counts since the source started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Records received from the kernel, by kind.
    pub received: Vec<(&'static str, u64)>,
    /// What the kernel programs could not deliver.
    pub lost: Vec<Loss>,
    /// Connections whose captured prefix was cut by a byte budget, counted per direction.
    pub budget_reached: u64,
    /// Records that made no sense.
    pub decode_errors: u64,
    /// Connections older than the agent that were adopted.
    pub adopted: u64,
    /// What the library probes saw and dropped (see [`LibraryCount`]).
    pub library: Vec<(&'static str, u64)>,
    /// The kernel programs whose numbers can be read.
    pub programs: Vec<ProgramStats>,
    /// The cgroup that they are attached to is gone, and with it their attachment.
    pub detached_from: Option<PathBuf>,
}

/// Records that the kernel programs could not deliver for one reason (see [`Lost`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Kind of the missing records, as in [`CaptureStats::received`].
    pub kind: &'static str,
    /// Why they are missing: `ring_full`, `unreadable` or `no_storage`.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

impl CaptureStats {
    /// Every count of the kernel programs under its name, and nothing else.
    #[must_use]
    pub fn counted(
        received: impl Fn(Kind) -> u64,
        lost: impl Fn(Lost) -> u64,
        library: impl Fn(LibraryCount) -> u64,
    ) -> Self {
        let is_loss = |lost: &Lost| *lost != Lost::BudgetReached;
        let entry =
            |what: Lost| Loss { kind: what.kind(), reason: what.reason(), count: lost(what) };
        Self {
            received: Kind::ALL.map(|kind| (kind.as_str(), received(kind))).to_vec(),
            lost: Lost::ALL.into_iter().filter(is_loss).map(entry).collect(),
            budget_reached: lost(Lost::BudgetReached),
            library: LibraryCount::ALL.map(|what| (what.as_str(), library(what))).to_vec(),
            ..Self::default()
        }
    }
}

/// One kernel program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub id: u32,
    /// Time spent in it; zero unless the kernel's BPF statistics are on.
    pub run_time: Duration,
    /// How often it ran; zero unless the kernel's BPF statistics are on.
    pub run_count: u64,
}

/// Counters of the reading side.
#[derive(Debug, Default)]
pub(super) struct Received {
    by_kind: [AtomicU64; Kind::ALL.len()],
    decode_errors: AtomicU64,
    adopted: AtomicU64,
}

impl Received {
    pub(super) fn record(&self, kind: u8) {
        if let Some(counter) = usize::from(kind).checked_sub(1).and_then(|i| self.by_kind.get(i)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn decode_error(&self) {
        self.decode_errors.fetch_add(1, Relaxed);
    }

    pub(super) fn adopted(&self, connections: u64) {
        self.adopted.fetch_add(connections, Relaxed);
    }
}

/// Reads [`CaptureStats`]: a few system calls, from any thread, at scrape time.
#[derive(Clone)]
pub struct StatsHandle(Arc<Sources>);

struct Sources {
    received: Arc<Received>,
    lost: PerCpuArray<MapData, u64>,
    library: PerCpuArray<MapData, u64>,
    programs: Vec<LoadedProgram>,
    cgroup: Presence,
}

impl StatsHandle {
    pub(super) fn new(
        received: Arc<Received>,
        lost: PerCpuArray<MapData, u64>,
        library: PerCpuArray<MapData, u64>,
        ebpf: &Ebpf,
        probes: Option<&LibraryProbes>,
        cgroup: Presence,
    ) -> anyhow::Result<Self> {
        let by_aya = ebpf
            .programs()
            .filter_map(|(name, program)| Some((name.to_owned(), program.fd().ok()?.as_fd())));
        let probes = probes.into_iter().flat_map(LibraryProbes::unknown_to_aya);
        let programs = by_aya
            .chain(probes.map(|(name, fd)| (name.to_owned(), fd)))
            .map(|(name, fd)| LoadedProgram::new(name, fd))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self(Arc::new(Sources { received, lost, library, programs, cgroup })))
    }

    /// The counts as of now.
    #[must_use]
    pub fn read(&self) -> CaptureStats {
        let Sources { received, lost, library, programs, .. } = &*self.0;
        let sum = |counts: &PerCpuArray<MapData, u64>, index: u32| -> u64 {
            match counts.get(&index, 0) {
                Ok(values) => values.iter().sum(),
                Err(error) => {
                    UNREADABLE.call_once(|| error!(%error, "the kernel's counts cannot be read"));
                    0
                }
            }
        };
        let count = |reason: Lost| sum(lost, reason as u32);
        let by_kind = |kind: Kind| {
            let index = usize::from(kind as u8).checked_sub(1);
            index.and_then(|index| received.by_kind.get(index)).map_or(0, |n| n.load(Relaxed))
        };
        CaptureStats {
            decode_errors: received.decode_errors.load(Relaxed),
            adopted: received.adopted.load(Relaxed),
            programs: programs.iter().filter_map(LoadedProgram::stats).collect(),
            detached_from: self.detached_from(),
            ..CaptureStats::counted(by_kind, count, |what| sum(library, what as u32))
        }
    }

    /// The cgroup that the programs were attached to, if it is gone.
    #[must_use]
    pub fn detached_from(&self) -> Option<PathBuf> {
        let cgroup = &self.0.cgroup;
        (!cgroup.is_there()).then(|| cgroup.path().to_owned())
    }
}

/// The kernel keeps BPF statistics as long as the descriptor is open.
pub(super) fn enable_statistics() -> Option<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime)
        .inspect_err(|error| warn!(%error, "no BPF statistics (they need CAP_SYS_ADMIN)"))
        .ok()
}

/// A program and the fdinfo of its descriptor, where the kernel shows its run time (Linux 5.1).
///
/// Opened while the agent may: as another user it could not any more. What is read is always as of
/// now.
struct LoadedProgram {
    name: String,
    fdinfo: File,
    /// Kept open: the fdinfo is of this descriptor.
    _fd: OwnedFd,
}

impl LoadedProgram {
    fn new(name: String, fd: BorrowedFd<'_>) -> anyhow::Result<Self> {
        let fd = fd.try_clone_to_owned().context("keep a kernel program's handle")?;
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let fdinfo = File::open(&path).with_context(|| format!("open {path}"))?;
        Ok(Self { name, fdinfo, _fd: fd })
    }

    fn stats(&self) -> Option<ProgramStats> {
        let mut text = [0; 4096];
        let length = self.fdinfo.read_at(&mut text, 0).ok()?;
        parse_fdinfo(&self.name, &String::from_utf8_lossy(&text[..length]))
    }
}

fn parse_fdinfo(name: &str, fdinfo: &str) -> Option<ProgramStats> {
    let value = |key: &str| -> Option<u64> {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line?.trim().parse().ok()
    };
    Some(ProgramStats {
        name: name.to_owned(),
        id: u32::try_from(value("prog_id")?).ok()?,
        run_time: Duration::from_nanos(value("run_time_ns")?),
        run_count: value("run_cnt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_of_a_program_is_read() {
        let fdinfo = "pos:\t0\nprog_type:\t8\nprog_id:\t9\nrun_time_ns:\t1234\nrun_cnt:\t56\n";
        let stats = parse_fdinfo("egress", fdinfo).expect("everything is there");
        assert_eq!((stats.id, stats.run_count), (9, 56));
        assert_eq!(stats.run_time, Duration::from_nanos(1234));
        assert_eq!(parse_fdinfo("egress", "pos:\t0\nflags:\t02\n"), None, "not zeros");
    }
}

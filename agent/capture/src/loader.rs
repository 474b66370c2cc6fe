//! Loads the kernel programs and attaches them to a cgroup.

use std::io;

use anyhow::{Context as _, anyhow, bail};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
        SockOps,
    },
    sys::SyscallError,
    util::{KernelVersion, online_cpus},
};
use hopsight_abi::{Config, config_flags};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::cgroup::Cgroup;
use hopsight_system::names::{Watched, comm_of};

/// The compiled kernel programs.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/hopsight"));

/// The network programs in the order they are attached: packets and socket states first, so that
/// a connection which `connect` creates finds every other program in place.
pub const NETWORK_PROGRAMS: [&str; 5] = ["egress", "ingress", "sock_ops", "connect4", "connect6"];

/// Programs that note watched processes whose threads take other names, and which program is of which
/// process since when and until when, and whether that makes others, with the tracepoint of each. The
/// agent does without them where the kernel refuses: it looks at the processes every few seconds.
pub const PROCESS_PROGRAMS: [(&str, &str); 4] = [
    ("task_rename", "task_rename"),
    ("process_exec", "sched_process_exec"),
    ("process_fork", "sched_process_fork"),
    ("process_exit", "sched_process_exit"),
];

/// What is fixed when the programs are loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Whose connections are watched.
    pub watched: Watched,
    /// Bytes per direction that leave the kernel of a connection that has shown no TLS.
    pub classify_budget: u32,
    /// Bytes per direction that leave the kernel once TLS began, beside the flights of the handshake:
    /// what a side says from its first record until the other side answers.
    pub handshake_budget: u32,
    /// Bytes per direction that leave the kernel up to the end of such a flight.
    pub flight_budget: u32,
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Let the programs log what they see (costs time in each of them).
    pub kernel_log: bool,
}

/// The ring buffer of library records has one of so many parts of the size of the other.
const LIBRARY_PART: u32 = 4;

/// Size of a ring buffer for this machine: 2 MiB for each processor, between 4 and 64 MiB.
///
/// A core makes some 400 proxied handshakes with new keys a second, each some 10 KB of events with
/// what the TLS library shows: 2 MiB are half a second in which nobody has to read.
#[must_use]
pub fn ring_bytes_for_this_machine() -> u32 {
    let processors = online_cpus().map_or(1, |online| online.len());
    let megabytes = 2 * u32::try_from(processors).unwrap_or(u32::MAX).clamp(2, 32);
    megabytes.next_power_of_two() << 20
}

/// Creates the maps and prepares the programs. Nothing is given to the verifier yet.
///
/// # Errors
/// The ring size is unusable, or the kernel refuses a map.
pub fn open(options: &LoadOptions) -> anyhow::Result<Ebpf> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    if !options.ring_bytes.is_power_of_two() || options.ring_bytes < page {
        bail!("the ring buffer must be a power of two of at least {page} bytes");
    }
    let config = Config {
        classify_budget: options.classify_budget,
        handshake_budget: options.handshake_budget,
        flight_budget: options.flight_budget.max(options.handshake_budget),
        flags: if options.watched == Watched::All { config_flags::WATCH_ALL } else { 0 },
    }
    .to_bytes();
    let log_level = if options.kernel_log { u8::MAX } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        // Nothing is relocated by the kernel's types: they take some megabytes.
        .btf(None)
        .override_global("CONFIG", config.as_slice(), true)
        .override_global("AYA_LOG_LEVEL", &log_level, true)
        .map_max_entries("EVENTS", options.ring_bytes)
        .map_max_entries("LIBRARY_EVENTS", (options.ring_bytes / LIBRARY_PART).max(page));
    if !options.kernel_log {
        loader.map_max_entries("AYA_LOGS", page);
    }
    raise_memlock();
    let mut ebpf = loader.load(OBJECT).map_err(explain_maps)?;
    if let Watched::Named(names) = &options.watched {
        let map = ebpf.map_mut("NAMES").context("find map NAMES")?;
        let mut map = aya::maps::HashMap::<_, [u8; 16], u8>::try_from(map)?;
        for name in names {
            map.insert(comm_of(name), 1, 0)
                .with_context(|| format!("watch the process name {name}"))?;
        }
    }
    Ok(ebpf)
}

/// Before Linux 5.11 maps count against `RLIMIT_MEMLOCK`, 64 KiB by default.
fn raise_memlock() {
    if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 11, 0)) {
        // Where this is not allowed, creating the maps fails, and that error is the one to show.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
}

/// Gives one of [`NETWORK_PROGRAMS`] or [`PROCESS_PROGRAMS`] to the verifier.
///
/// # Errors
/// The kernel refuses it; the message says why and what to do.
pub fn load(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<()> {
    let program = ebpf.program_mut(name).with_context(|| format!("find program {name}"))?;
    let loaded = match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        other => bail!("program {name} is of type {:?}", other.prog_type()),
    };
    loaded.map_err(explain).with_context(|| format!("load kernel program {name}"))
}

/// Loads and attaches all of [`NETWORK_PROGRAMS`]. They stay attached as long as `ebpf` lives.
///
/// # Errors
/// The kernel refuses a program or its attachment.
pub fn attach(ebpf: &mut Ebpf, cgroup: &Cgroup) -> anyhow::Result<()> {
    for name in NETWORK_PROGRAMS {
        load(ebpf, name)?;
    }
    attach_loaded(ebpf, cgroup)
}

/// Attaches all of [`NETWORK_PROGRAMS`], which must be loaded.
///
/// # Errors
/// The kernel refuses an attachment.
pub fn attach_loaded(ebpf: &mut Ebpf, cgroup: &Cgroup) -> anyhow::Result<()> {
    for name in NETWORK_PROGRAMS {
        attach_one(ebpf, name, cgroup).with_context(|| {
            format!("attach kernel program {name} to cgroup {}", cgroup.path.display())
        })?;
    }
    Ok(())
}

fn attach_one(ebpf: &mut Ebpf, name: &str, cgroup: &Cgroup) -> anyhow::Result<()> {
    // Links coexist with other programs by nature; "single" means no flags here.
    let mode = CgroupAttachMode::Single;
    let attached = match ebpf.program_mut(name).context("find the program")? {
        Program::CgroupSkb(program) => attach_skb(program, cgroup, mode),
        Program::CgroupSockAddr(program) => attach_sock_addr(program, cgroup, mode),
        Program::SockOps(program) => attach_sock_ops(program, cgroup, mode),
        other => bail!("unexpected program type {:?}", other.prog_type()),
    };
    attached.map_err(explain)
}

fn attach_skb(
    program: &mut CgroupSkb,
    cgroup: &Cgroup,
    mode: CgroupAttachMode,
) -> Result<(), ProgramError> {
    let kind = match program.expected_attach_type() {
        Some(CgroupSkbAttachType::Egress) => CgroupSkbAttachType::Egress,
        _ => CgroupSkbAttachType::Ingress,
    };
    program.attach(&cgroup.dir, kind, mode).map(drop)
}

fn attach_sock_addr(
    program: &mut CgroupSockAddr,
    cgroup: &Cgroup,
    mode: CgroupAttachMode,
) -> Result<(), ProgramError> {
    program.attach(&cgroup.dir, mode).map(drop)
}

fn attach_sock_ops(
    program: &mut SockOps,
    cgroup: &Cgroup,
    mode: CgroupAttachMode,
) -> Result<(), ProgramError> {
    program.attach(&cgroup.dir, mode).map(drop)
}

/// Loads and attaches [`PROCESS_PROGRAMS`].
///
/// # Errors
/// The kernel refuses a program or its attachment.
pub fn follow_processes(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    for (name, tracepoint) in PROCESS_PROGRAMS {
        load(ebpf, name)?;
        let Some(Program::RawTracePoint(program)) = ebpf.program_mut(name) else {
            bail!("program {name} is of another type");
        };
        let attached = program.attach(tracepoint).map(drop).map_err(explain);
        if attached.is_err() {
            program.unload()?;
        }
        attached.with_context(|| format!("attach kernel program {name}"))?;
    }
    Ok(())
}

/// Takes a map out of `ebpf`, with the type its user wants.
///
/// # Errors
/// There is no such map, or it is of another type.
pub fn take_map<M>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<M>
where
    M: TryFrom<Map, Error: std::error::Error + Send + Sync + 'static>,
{
    let map = ebpf.take_map(name).with_context(|| format!("find map {name}"))?;
    M::try_from(map).with_context(|| format!("use map {name}"))
}

/// What the kernel refused, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}{}", if advice.is_empty() { "" } else { "; " }, advice)]
pub struct Refused {
    /// What was refused, with the kernel's reason.
    pub what: String,
    /// What to do; empty where the reason has to speak for itself.
    pub advice: &'static str,
}

impl Refused {
    fn new(what: String, error: &io::Error) -> Self {
        Self { what, advice: advice(error) }
    }
}

fn explain_maps(error: EbpfError) -> anyhow::Error {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error, .. }) => {
            Refused::new(format!("the kernel refused to create map {name}: {io_error}"), &io_error)
                .into()
        }
        other => anyhow!(other).context("create the maps of the kernel programs"),
    }
}

/// A readable message from a refusal by the kernel: the end of the verifier's log, and what to do.
fn explain(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = shortened(&verifier_log.to_string());
            let what = if log.is_empty() {
                format!("the kernel refused the program: {io_error}")
            } else {
                format!("the kernel refused the program: {io_error} (verifier: {log})")
            };
            Refused::new(what, &io_error).into()
        }
        ProgramError::SyscallError(SyscallError { call, io_error }) => {
            Refused::new(format!("{call} failed: {io_error}"), &io_error).into()
        }
        other => anyhow!(other),
    }
}

/// What to do about an error number of `bpf(2)`.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "run as root, or give the agent CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; in a container \
             also allow the bpf(2) system call (seccomp profile)"
        }
        Some(libc::ENOSYS) => "use a kernel with CONFIG_BPF_SYSCALL",
        Some(libc::EINVAL) => {
            "use Linux 5.10 or later with CONFIG_CGROUP_BPF; a helper that the program \
             \"cannot use\" wants CAP_PERFMON"
        }
        Some(libc::ENOMEM) => "use a smaller ring buffer; the kernel has no memory for this one",
        _ => "",
    }
}

/// The last lines of a verifier log, which hold the reason; the rest is the program itself.
pub fn shortened(log: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.starts_with("verification time")
        })
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_log_keeps_its_reason() {
        let log = "0: (b7) r0 = 0\n1: (85) call x#1\n2: (79) r1 = 3\n3: (bf) r2 = 4\n\
                   R4 invalid zero-sized read\n\nprocessed 9 insns\n";
        let short = shortened(log);
        assert!(short.ends_with("R4 invalid zero-sized read"), "{short}");
        assert!(!short.contains("0: (b7)"), "{short}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (errno, word) in [
            (libc::EPERM, "CAP_BPF"),
            (libc::EINVAL, "5.10"),
            (libc::ENOMEM, "ring buffer"),
            (libc::ENOSYS, "CONFIG_BPF_SYSCALL"),
        ] {
            let io_error = io::Error::from_raw_os_error(errno);
            let call = "bpf_link_create";
            let error = explain(ProgramError::SyscallError(SyscallError { call, io_error }));
            let message = error.to_string();
            assert!(message.contains(call) && message.contains(word), "{message}");
        }
    }

    #[test]
    fn unusable_ring_sizes_are_refused() {
        for ring_bytes in [0, 1, 5000] {
            let options = LoadOptions {
                watched: Watched::All,
                classify_budget: 1,
                handshake_budget: 1,
                flight_budget: 1,
                ring_bytes,
                kernel_log: false,
            };
            let error = open(&options).expect_err("not a ring size");
            assert!(error.to_string().contains("power of two"), "{error}");
        }
    }
}

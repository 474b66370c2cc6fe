//! Whether this machine lets hopsight work: each requirement with its state and what to do.

mod names;
mod sessions;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
};

pub use names::check_names;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::privileges;
use hopsight_capture::{
    Cgroup, LibraryEvidence, LiveOptions, LoadOptions, Rustls, library,
    loader::{self, NETWORK_PROGRAMS, Refused},
};
use hopsight_core::vocabulary;
use hopsight_system::{
    kernel::{Version, parse_version, read},
    names::{Watched, summary},
};

/// The oldest kernel hopsight is made for.
const OLDEST: Version = (5, 10);
/// From here on BPF memory is not counted against `RLIMIT_MEMLOCK`.
const MEMLOCK_FREE: Version = (5, 11);
/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

// Capability numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

vocabulary! {
    /// How far a requirement is met.
    State {
        /// Met.
        Ok => "ok",
        /// hopsight works, with less to show.
        Degraded => "degraded",
        /// hopsight cannot watch live connections.
        Missing => "missing",
    }
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// What is required.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do; empty when nothing is to be done.
    pub advice: String,
}

impl Requirement {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), advice: String::new() }
    }

    fn unless(
        met: bool,
        name: &'static str,
        detail: impl Into<String>,
        (state, advice): (State, &str),
    ) -> Self {
        if met {
            return Self::ok(name, detail);
        }
        Self { name, state, detail: detail.into(), advice: advice.to_owned() }
    }

    fn from_result(name: &'static str, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(detail) => Self::ok(name, detail),
            Err(error) => {
                let (detail, advice) = match error.downcast_ref::<Refused>() {
                    Some(refused) => (refused.what.clone(), refused.advice.to_owned()),
                    None => (format!("{error:#}"), String::new()),
                };
                Self { name, state: State::Missing, detail, advice }
            }
        }
    }
}

impl Requirement {
    /// Something the agent does without, at a price that `advice` names.
    fn degraded(self, advice: &str) -> Self {
        match self.state {
            State::Missing => Self { state: State::Degraded, advice: advice.to_owned(), ..self },
            State::Ok | State::Degraded => self,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9}{:<20}{}", self.state, self.name, self.detail)?;
        if !self.advice.is_empty() {
            write!(f, "\n{:<29}-> {}", "", self.advice)?;
        }
        Ok(())
    }
}

/// Checks every requirement of watching with `options`. The kernel programs are really loaded and
/// attached, watching nobody, and detached again at once.
#[must_use]
pub fn check(options: &LiveOptions) -> Vec<Requirement> {
    let release = read("/proc/sys/kernel/osrelease");
    let version = parse_version(&release);
    let capabilities = effective_capabilities(&read("/proc/self/status"));
    let mut found = vec![kernel(&release, version)];
    found.extend(capabilities_met(capabilities));
    if version < Some(MEMLOCK_FREE) {
        found.push(locked_memory(capabilities));
    }
    found.push(pid_namespace());
    found.push(lockdown(&read("/sys/kernel/security/lockdown")));
    found.push(jit(&read("/proc/sys/net/core/bpf_jit_enable")));
    found.extend(confinement(&read("/proc/sys/kernel/seccomp/actions_avail")));
    let cgroup = Cgroup::open(options.cgroup.as_deref());
    found.push(match &cgroup {
        Ok(cgroup) => Requirement::ok("cgroup v2", cgroup.path.display().to_string()),
        Err(error) => Requirement::from_result("cgroup v2", Err(anyhow::anyhow!("{error:#}"))),
    });
    found.extend(kernel_programs(options, cgroup.as_ref().ok()));
    let running = hopsight_capture::running(options);
    found.push(watched_processes(&options.load.watched, &running));
    found.extend(sessions::check(&running));
    if options.library {
        found.extend(library_evidence(running, options.rustls));
    }
    found
}

/// Whether live connections can be watched, even if with less to show.
#[must_use]
pub fn is_ready(requirements: &[Requirement]) -> bool {
    requirements.iter().all(|requirement| requirement.state != State::Missing)
}

fn kernel(release: &str, version: Option<Version>) -> Requirement {
    let problem = (State::Degraded, "use Linux 5.10 or later: older kernels are not tested");
    Requirement::unless(version >= Some(OLDEST), "kernel", format!("Linux {release}"), problem)
}

/// The effective capabilities in the text of `/proc/PID/status`.
fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn has(capabilities: u64, capability: u32) -> bool {
    capabilities & (1 << capability) != 0
}

fn capabilities_met(capabilities: u64) -> [Requirement; 4] {
    use State::{Degraded, Missing};
    [
        (
            "CAP_BPF",
            CAP_BPF,
            Some(CAP_SYS_ADMIN),
            (Missing, "run as root, or add CAP_BPF: it loads the kernel programs"),
        ),
        (
            "CAP_NET_ADMIN",
            CAP_NET_ADMIN,
            Some(CAP_SYS_ADMIN),
            (Missing, "run as root, or add CAP_NET_ADMIN: it attaches the network programs"),
        ),
        (
            "CAP_PERFMON",
            CAP_PERFMON,
            Some(CAP_SYS_ADMIN),
            (
                Missing,
                "run as root, or add CAP_PERFMON: the programs read process names, and TLS 1.3 \
                 handshakes from the proxy's TLS library",
            ),
        ),
        (
            "CAP_SYS_PTRACE",
            CAP_SYS_PTRACE,
            None,
            (
                Degraded,
                "add CAP_SYS_PTRACE to adopt connections older than the agent and to find the \
                 proxy's TLS library",
            ),
        ),
    ]
    .map(|(name, capability, or, problem)| {
        let substitute = or.is_some_and(|or| has(capabilities, or));
        let (met, detail) = match (has(capabilities, capability), substitute) {
            (true, _) => (true, "effective"),
            (false, true) => (true, "included in CAP_SYS_ADMIN"),
            (false, false) => (false, "not effective"),
        };
        Requirement::unless(met, name, detail, problem)
    })
}

fn locked_memory(capabilities: u64) -> Requirement {
    let limit = getrlimit(Resource::Memlock).current;
    let met = limit.is_none() || has(capabilities, CAP_SYS_RESOURCE);
    let detail = limit.map_or("unlimited".to_owned(), |limit| format!("{limit} bytes"));
    let problem = (
        State::Missing,
        "raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity) or add CAP_SYS_RESOURCE",
    );
    Requirement::unless(met, "locked memory", detail, problem)
}

fn pid_namespace() -> Requirement {
    let namespace = fs::read_link("/proc/self/ns/pid");
    let met = namespace.is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE);
    let detail = if met { "the machine's own" } else { "a container's own" };
    let problem = (
        State::Degraded,
        "share the machine's pid namespace (Kubernetes: hostPID): process ids are those of the \
         machine, and neither older connections nor TLS libraries are found without it",
    );
    Requirement::unless(met, "pid namespace", detail, problem)
}

fn lockdown(text: &str) -> Requirement {
    let mode = text.split(['[', ']']).nth(1).unwrap_or("not shown (securityfs is not mounted)");
    // Confidentiality forbids reading kernel memory, which these programs never do.
    Requirement::ok("lockdown", mode)
}

fn jit(enabled: &str) -> Requirement {
    let problem = (State::Degraded, "set net.core.bpf_jit_enable=1: interpreted programs are slow");
    let detail = match enabled {
        "" => "not known",
        "0" => "off",
        _ => "on",
    };
    Requirement::unless(enabled != "0", "BPF JIT", detail, problem)
}

/// What the agent can confine itself with.
fn confinement(seccomp_actions: &str) -> [Requirement; 2] {
    let landlock = Requirement::unless(
        privileges::landlock_is_supported(),
        "landlock",
        if privileges::landlock_is_supported() { "on" } else { "not in this kernel, or off" },
        (
            State::Degraded,
            "use Linux 5.13 or later with landlock among lsm=: without it the threads that serve \
             and write are not kept from files",
        ),
    );
    let has_errno = seccomp_actions.split(' ').any(|action| action == "errno");
    let seccomp = Requirement::unless(
        has_errno,
        "seccomp",
        if has_errno { "on" } else { "not in this kernel" },
        (
            State::Degraded,
            "use a kernel with CONFIG_SECCOMP_FILTER: without it no system call is refused",
        ),
    );
    [landlock, seccomp]
}

fn watched_processes(watched: &Watched, running: &HashMap<u32, String>) -> Requirement {
    let problem = (State::Degraded, "none is running; connections are seen once one starts");
    let detail = match (running.len(), watched) {
        (0, Watched::Named(names)) => format!("none of {}", names.join(", ")),
        (count, _) => format!("{count} found: {}", summary(running.values())),
    };
    Requirement::unless(!running.is_empty(), "watched processes", detail, problem)
}

/// What the TLS libraries of the watched processes would show, like answers together.
fn library_evidence(running: HashMap<u32, String>, rustls: Rustls) -> Vec<Requirement> {
    let mut alike: BTreeMap<String, (LibraryEvidence, Vec<String>)> = BTreeMap::new();
    for (pid, name) in running {
        let evidence = library::survey(pid, rustls);
        let known = alike.entry(evidence.to_string());
        known.or_insert_with(|| (evidence, Vec::new())).1.push(format!("{name} {pid}"));
    }
    let problem = (State::Degraded, "TLS 1.3 verdicts about these rest on record lengths");
    let each = alike.into_iter().map(|(text, (evidence, mut processes))| {
        processes.sort_unstable();
        let met = matches!(evidence, LibraryEvidence::Library(_));
        let detail = format!("{text}: {}", processes.join(", "));
        Requirement::unless(met, "TLS library", detail, problem)
    });
    each.collect()
}

/// The maps, each program, and their attachment, tried for real.
fn kernel_programs(options: &LiveOptions, cgroup: Option<&Cgroup>) -> Vec<Requirement> {
    let watched = Watched::Named(Vec::new());
    let load = LoadOptions { watched, ..options.load.clone() };
    let mut ebpf = match loader::open(&load) {
        Ok(ebpf) => ebpf,
        Err(error) => return vec![Requirement::from_result("BPF maps", Err(error))],
    };
    let ring = format!("ring buffer of {} bytes, socket storage", load.ring_bytes);
    let mut found = vec![Requirement::ok("BPF maps", ring)];
    for name in NETWORK_PROGRAMS {
        let loaded = loader::load(&mut ebpf, name).map(|()| "loads".to_owned());
        found.push(Requirement::from_result(name, loaded));
    }
    if let (Some(cgroup), true) = (cgroup, is_ready(&found)) {
        let attached = loader::attach_loaded(&mut ebpf, cgroup)
            .map(|()| format!("works on {}", cgroup.path.display()));
        found.push(Requirement::from_result("attachment", attached));
    }
    if options.load.watched != Watched::All {
        let followed = loader::follow_processes(&mut ebpf).map(|()| "followed".to_owned());
        found.push(Requirement::from_result("names of processes", followed).degraded(
            "without it a process whose threads have other names, such as Envoy, is watched some \
             seconds after its start only; the kernel allows it to CAP_PERFMON",
        ));
    }
    if options.library {
        let rehearsal = library::rehearse(&mut ebpf).map(|()| "load and attach".to_owned());
        found.push(Requirement::from_result("library probes", rehearsal).degraded(
            "without them TLS 1.3 verdicts rest on record lengths; before Linux 6.6 the kernel allows \
             probes in user space to CAP_SYS_ADMIN only",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.18.44-fc-v782", State::Ok),
            ("5.10.0-32-amd64", State::Ok),
            ("5.9.16", State::Degraded),
            ("4.19.0", State::Degraded),
            ("10.1", State::Ok),
            ("", State::Degraded),
        ] {
            assert_eq!(kernel(release, parse_version(release)).state, expected, "{release}");
        }
    }

    #[test]
    fn capabilities_decide() {
        use State::{Degraded, Missing, Ok};
        let all = "Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        let none = "CapEff:\t0000000000000000\n";
        let admin_only = "CapEff:\t0000000000200000\n";
        let least = "CapEff:\t000000c000001000\n";
        for (name, status, expected) in [
            ("all", all, [Ok, Ok, Ok, Ok]),
            ("none", none, [Missing, Missing, Missing, Degraded]),
            ("CAP_SYS_ADMIN only", admin_only, [Ok, Ok, Ok, Degraded]),
            ("the least that works", least, [Ok, Ok, Ok, Degraded]),
            ("unreadable", "", [Missing, Missing, Missing, Degraded]),
        ] {
            let states = capabilities_met(effective_capabilities(status)).map(|met| met.state);
            assert_eq!(states, expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_met_says_what_to_do() {
        for requirement in capabilities_met(0) {
            assert!(!requirement.advice.is_empty(), "{requirement}");
            assert!(requirement.to_string().contains("-> "), "{requirement}");
        }
        assert!(!is_ready(&capabilities_met(0)));
        assert!(is_ready(&capabilities_met(1 << CAP_SYS_ADMIN)));
    }

    #[test]
    fn the_lockdown_mode_is_the_bracketed_one() {
        for (text, expected) in
            [("none [integrity] confidentiality", "integrity"), ("[none] integrity", "none")]
        {
            assert_eq!(lockdown(text).detail, expected);
        }
    }
}

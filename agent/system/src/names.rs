//! The processes of this machine and their names.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use crate::foreign;

/// Length of a kernel task name without its terminating zero (`TASK_COMM_LEN - 1`).
pub const NAME_LEN: usize = 15;

/// Length of what `/proc/PID/comm` holds at most: a worker of the kernel's says there what it works
/// at, too (`proc_task_name`, 64 bytes with the terminating zero).
const LONGEST_COMM: usize = 64;

/// Names of proxies' programs (stunnel's is `stunnel4` in Debian). Some call their processes and
/// threads otherwise, as Varnish (`cache-main`) and Traffic Server (`[TS_MAIN]`) do.
const WELL_KNOWN: [&str; 18] = [
    "nginx",
    "envoy",
    "haproxy",
    "traefik",
    "caddy",
    "httpd",
    "apache2",
    "angie",
    "cilium-envoy",
    "linkerd2-proxy",
    "openresty",
    "pgbouncer",
    "squid",
    "stunnel",
    "stunnel4",
    "traffic_server",
    "varnishd",
    "ztunnel",
];

/// Which processes are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Every process.
    All,
    /// Those that run programs, or have threads, of these names. Names are compared as the kernel keeps
    /// them: cut to [`NAME_LEN`] bytes.
    Named(Vec<String>),
}

impl Watched {
    /// The proxies hopsight knows by name.
    #[must_use]
    pub fn well_known() -> Self {
        Self::Named(WELL_KNOWN.map(str::to_owned).to_vec())
    }

    /// Whether a process of this name is watched.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|watched| comm_of(watched) == comm_of(name)),
        }
    }
}

/// A name as the kernel keeps it in 16 bytes.
#[must_use]
pub fn comm_of(name: &str) -> [u8; NAME_LEN + 1] {
    let mut comm = [0; NAME_LEN + 1];
    for (to, from) in comm.iter_mut().take(NAME_LEN).zip(name.bytes()) {
        *to = from;
    }
    comm
}

/// The name in the kernel's 16 bytes.
#[must_use]
pub fn name_of(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

/// The processes of this machine, by the names they are known under.
///
/// What a process is called takes three small files to find; it is remembered as long as the process
/// keeps the name of its main thread, which it loses when it runs another program.
#[derive(Debug, Default)]
pub struct Processes {
    seen: HashMap<u32, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    comm: String,
    /// The watched name it has.
    name: Option<String>,
}

impl Processes {
    /// The watched processes that are running: process id to name. Processes that end meanwhile are
    /// left out.
    ///
    /// A process has a name if its main thread has it, or the file that it runs, or its first
    /// argument (base names both), in this order.
    pub fn running(&mut self, watched: &Watched) -> HashMap<u32, String> {
        let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
        let mut seen = HashMap::new();
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let mut comm = [0; LONGEST_COMM];
            let Ok(comm) = comm_file(pid, &mut comm) else { continue };
            let known = self.seen.remove(&pid).filter(|known| known.comm == comm);
            seen.insert(pid, known.unwrap_or_else(|| Seen::of(pid, &comm, watched)));
        }
        self.seen = seen;
        let watched = self.seen.iter().filter_map(|(pid, seen)| Some((*pid, seen.name.clone()?)));
        watched.collect()
    }
}

impl Seen {
    fn of(pid: u32, comm: &str, watched: &Watched) -> Self {
        let name = if watched.includes(comm) {
            Some(comm.to_owned())
        } else {
            let other = [executable(pid), first_argument(pid)];
            other.into_iter().flatten().find(|name| watched.includes(name))
        };
        Self { comm: comm.to_owned(), name }
    }
}

/// What `/proc/PID/comm` says, by one read: every process is asked every few seconds.
fn comm_file(pid: u32, buffer: &mut [u8; LONGEST_COMM]) -> io::Result<Cow<'_, str>> {
    let length = File::open(format!("/proc/{pid}/comm"))?.read(buffer)?;
    let line = &buffer[..length];
    Ok(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)))
}

fn executable(pid: u32) -> Option<String> {
    base_name(&fs::read_link(format!("/proc/{pid}/exe")).ok()?)
}

fn first_argument(pid: u32) -> Option<String> {
    let arguments = foreign::fact(pid, "cmdline").ok()?;
    let first = arguments.split(|byte| *byte == 0).next()?;
    base_name(Path::new(std::str::from_utf8(first).ok()?))
}

fn base_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The names of processes that run and how many have each, for people: `nginx 5, envoy 1`, the most
/// first.
#[must_use]
pub fn summary<'a>(running: impl IntoIterator<Item = &'a String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in running {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown = counts.iter().take(MAX_NAMES).map(|(name, count)| format!("{name} {count}"));
    let more = counts.len().saturating_sub(MAX_NAMES);
    let more = (more > 0).then(|| format!("and {more} more names"));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

/// Names that are shown at most.
const MAX_NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_kernel_keeps_them() {
        let watched = Watched::Named(vec!["nginx".into(), "a-very-long-proxy-name".into()]);
        for (name, expected) in [
            ("nginx", true),
            ("nginx2", false),
            ("Nginx", false),
            ("a-very-long-pro", true),
            ("a-very-long-pr", false),
        ] {
            assert_eq!(watched.includes(name), expected, "{name}");
        }
        assert!(Watched::All.includes("anything"));
        assert_eq!(name_of(&comm_of("a-very-long-proxy-name")), "a-very-long-pro");
    }

    #[test]
    fn what_runs_is_said_by_name() {
        let said = |names: &[&str]| {
            summary(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let many: Vec<String> = (0..20).map(|number| format!("p{number:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (names, want) in [
            (&[][..], ""),
            (&["nginx"], "nginx 1"),
            (&["envoy", "nginx", "nginx"], "nginx 2, envoy 1"),
        ] {
            assert_eq!(said(names), want);
        }
        assert!(said(&many).ends_with("p15 1, and 4 more names"));
    }

    #[test]
    fn this_process_runs() {
        assert!(Processes::default().running(&Watched::All).contains_key(&std::process::id()));
    }
}

//! The processes of this machine and their names.

use std::{collections::HashMap, fs, path::Path};

use crate::foreign;

/// Length of a kernel task name without its terminating zero (`TASK_COMM_LEN - 1`).
pub const NAME_LEN: usize = 15;

/// Which processes are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Every process.
    All,
    /// Processes, or threads, of these names. Names are compared as the kernel keeps them: cut to
    /// [`NAME_LEN`] bytes.
    Named(Vec<String>),
}

impl Watched {
    /// The proxies hopsight knows by name.
    #[must_use]
    pub fn well_known() -> Self {
        Self::Named(
            ["nginx", "envoy", "haproxy", "traefik", "caddy", "httpd", "apache2"]
                .map(str::to_owned)
                .to_vec(),
        )
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
            let Ok(comm) = foreign::fact(pid, "comm") else { continue };
            let comm = String::from_utf8_lossy(&comm);
            let comm = comm.trim_end_matches('\n');
            let known = self.seen.remove(&pid).filter(|known| known.comm == comm);
            seen.insert(pid, known.unwrap_or_else(|| Seen::of(pid, comm, watched)));
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
    fn this_process_runs() {
        assert!(Processes::default().running(&Watched::All).contains_key(&std::process::id()));
    }
}

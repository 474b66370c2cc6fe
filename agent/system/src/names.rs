//! The processes of this machine and their names.

use std::{collections::HashMap, fs};

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

/// The watched processes that are running: process id to name. Processes that end meanwhile are
/// left out.
#[must_use]
pub fn running(watched: &Watched) -> HashMap<u32, String> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let name = name.trim_end_matches('\n');
            watched.includes(name).then(|| (pid, name.to_owned()))
        })
        .collect()
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
        assert!(running(&Watched::All).contains_key(&std::process::id()));
    }
}

//! What can be chosen of live capture.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use crate::{
    cgroup::{Cgroup, Scope},
    library::{Rustls, Sampling},
    loader::{self, LoadOptions},
};
use hopsight_system::names::{Processes, Watched};

/// How to watch.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// cgroup v2 directory whose processes are watched; the root of the hierarchy if absent.
    pub cgroup: Option<PathBuf>,
    /// What the kernel programs are loaded with.
    pub load: LoadOptions,
    /// Look into the TLS libraries of the watched processes.
    pub library: bool,
    /// How much of the time.
    pub library_sampling: Sampling,
    /// Whether rustls is among these libraries.
    pub rustls: Rustls,
    /// Adopt connections that are older than the agent.
    pub adopt: bool,
    /// Time between two looks for new processes whose threads have other names than the process.
    pub rescan: Duration,
    /// Switch the kernel's BPF statistics on while the source lives (`bpf_enable_stats`, all
    /// programs of the machine, some ten nanoseconds per run; needs CAP_SYS_ADMIN).
    pub program_statistics: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            cgroup: None,
            load: LoadOptions {
                watched: Watched::well_known(),
                classify_budget: 2 << 10,
                handshake_budget: 64 << 10,
                flight_budget: 512 << 10,
                ring_bytes: loader::ring_bytes_for_this_machine(),
                kernel_log: false,
            },
            library: true,
            library_sampling: Sampling::Always,
            rustls: Rustls::LeftAlone,
            adopt: true,
            rescan: Duration::from_secs(5),
            program_statistics: false,
        }
    }
}

/// The processes that would be watched now, by their ids, with the names they are known under. Of a
/// cgroup that is not there all of the machine.
#[must_use]
pub fn running(options: &LiveOptions) -> HashMap<u32, String> {
    let mut running = Processes::default().running(&options.load.watched);
    if let Some(path) = &options.cgroup
        && let Ok(cgroup) = Cgroup::open(Some(path))
    {
        let scope = Scope::new(&cgroup);
        running.retain(|pid, _| scope.has(*pid));
    }
    running
}

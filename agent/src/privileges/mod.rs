//! What the agent gives up once its kernel programs are loaded.
//!
//! Capabilities, Landlock domains and system call filters belong to threads and are inherited by
//! the threads these start. So the process gives up what no thread needs while it has one thread
//! ([`Privileges::drop_to`]), and each [`Duty`] what it does not need before its work begins
//! ([`Privileges::confined`]). The thread that listens to the network ends with nothing.
//!
//! This bounds what a bug can reach through the kernel. Threads share memory: it is no wall between
//! them.

mod capabilities;
mod files;
mod system_calls;
mod user;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use anyhow::{Context as _, ensure};
use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{CapabilitySet, clear_ambient_capability_set, set_no_new_privs},
};

pub use files::is_supported as landlock_is_supported;
pub use user::User;

use hopsight_core::health::ComponentState;

/// What metrics are read from: this process's own `/proc` (others are out of reach under Landlock),
/// and how many processors there are, which aya asks at every look into a per-CPU map.
const METRICS_FROM: [&str; 2] = ["/proc", "/sys/devices/system/cpu"];

/// What the agent may give up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct PrivilegeOptions {
    /// The user to switch to; if absent, the agent stays who it is.
    pub user: Option<User>,
    /// Keep only the capabilities that are still needed.
    pub drop_capabilities: bool,
    /// Confine file and network access of the threads that need neither (Landlock).
    pub landlock: bool,
    /// Refuse system calls that the agent never makes (seccomp).
    pub seccomp: bool,
    /// Whether memory, and with it captured bytes, may get into a core dump.
    pub core_dumps: bool,
}

impl Default for PrivilegeOptions {
    fn default() -> Self {
        Self {
            user: None,
            drop_capabilities: true,
            landlock: true,
            seccomp: true,
            core_dumps: false,
        }
    }
}

/// What the rest of the agent still has to do that takes privileges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Attach probes to libraries of processes that start later.
    pub library: bool,
    /// Each of these is attached alone, before Linux 6.6: by a perf event, and after a program was loaded
    /// that shows what the kernel knows.
    pub probes_alone: bool,
    /// Adopt connections that processes had before they were watched.
    pub adopt: bool,
    /// Directories whose files the server's thread reads again.
    pub served_from: Vec<PathBuf>,
    /// Directories whose files are opened again for writing.
    pub written_to: Vec<PathBuf>,
}

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Reads the kernel's events, adopts older connections.
    Capture,
    /// Attaches probes to TLS libraries.
    Probe,
    /// Reads the configuration of proxies through `/proc`.
    Inspect,
    /// Sends events and metrics to a collector.
    Send,
    /// Writes events to a file, which it may open anew.
    Write,
    /// Answers HTTP.
    Serve,
}

impl Duty {
    const ALL: [Self; 6] =
        [Self::Capture, Self::Probe, Self::Inspect, Self::Send, Self::Write, Self::Serve];

    const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Probe => "probe",
            Self::Inspect => "inspect",
            Self::Send => "send",
            Self::Write => "write",
            Self::Serve => "serve",
        }
    }
}

/// What was given up, and how the threads to be started are confined.
#[derive(Clone, Debug)]
pub struct Privileges(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PrivilegeOptions,
    needs: Needs,
    /// What the agent was given.
    permitted: CapabilitySet,
    /// Linux before 5.19 requires CAP_BPF for every use of a map.
    maps_need_capability: bool,
    bounding_set_is_empty: bool,
    refused_calls: Option<usize>,
    landlock: OnceLock<bool>,
}

impl Privileges {
    /// Gives up what no thread needs from here on. There must be no other thread yet.
    ///
    /// # Errors
    /// There are other threads; or the agent cannot switch to the user, which is not passed over in
    /// silence.
    pub fn drop_to(options: PrivilegeOptions, needs: Needs) -> anyhow::Result<Self> {
        let threads = fs::read_dir("/proc/self/task").context("count our threads")?.count();
        ensure!(
            threads == 1,
            "privileges are dropped among {threads} threads: a defect of hopsight"
        );
        let maps_need_capability =
            hopsight_system::kernel::running_kernel() < Some(capabilities::MAPS_BY_FD);
        let mut shared = Shared {
            options,
            needs,
            permitted: capabilities::permitted().context("read our capabilities")?,
            maps_need_capability,
            bounding_set_is_empty: false,
            refused_calls: None,
            landlock: OnceLock::new(),
        };
        if shared.options.drop_capabilities {
            shared.bounding_set_is_empty = capabilities::empty_bounding_set().is_ok();
            clear_ambient_capability_set().context("clear the ambient capabilities")?;
        }
        if let Some(user) = &shared.options.user {
            user.switch_to()?;
        }
        if shared.options.drop_capabilities {
            let needed = Duty::ALL
                .iter()
                .fold(CapabilitySet::empty(), |all, duty| all | shared.needs_of(*duty));
            capabilities::keep(needed).context("give up capabilities")?;
        }
        set_no_new_privs(true).context("set no_new_privs")?;
        if !shared.options.core_dumps {
            set_dumpable_behavior(DumpableBehavior::NotDumpable)
                .context("switch core dumps off")?;
        }
        if shared.options.seccomp {
            shared.refused_calls = system_calls::refuse(&shared.needs)
                .inspect_err(|error| tracing::warn!("no system call filter: {error:#}"))
                .ok();
        }
        Ok(Self(Arc::new(shared)))
    }

    /// Confines the calling thread, and those it will start, to a duty.
    ///
    /// # Errors
    /// The kernel refuses to take something away.
    pub fn confine(&self, duty: Duty) -> anyhow::Result<()> {
        let shared = &*self.0;
        if shared.options.drop_capabilities {
            capabilities::keep(shared.needs_of(duty)).context("give up capabilities")?;
        }
        if shared.refused_calls.is_some() && shared.needs.library && duty != Duty::Probe {
            system_calls::refuse_probing()?;
        }
        // Not where processes are looked into: Landlock forbids that to whoever it confines
        // (Linux, Documentation/userspace-api/landlock.rst, "Ptrace restrictions").
        if shared.options.landlock && matches!(duty, Duty::Write | Duty::Serve) {
            let served_from = shared.needs.served_from.iter().map(PathBuf::as_path);
            let written_to = shared.needs.written_to.iter().map(PathBuf::as_path);
            let (readable, writable): (Vec<&Path>, Vec<&Path>) = match duty {
                Duty::Serve => {
                    (served_from.chain(METRICS_FROM.map(Path::new)).collect(), Vec::new())
                }
                _ => (Vec::new(), written_to.collect()),
            };
            let is_enforced =
                files::confine(&readable, &writable).context("confine file access (landlock)")?;
            shared.landlock.get_or_init(|| is_enforced);
        }
        Ok(())
    }

    /// Runs `work` in a thread that is confined to `duty`: what it starts inherits that.
    ///
    /// # Errors
    /// As [`Privileges::confine`], or when there can be no further thread.
    pub fn confined<T: Send>(
        &self,
        duty: Duty,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let thread =
                thread::Builder::new().name(duty.name().to_owned()).spawn_scoped(scope, || {
                    self.confine(duty)?;
                    work()
                });
            let thread = thread.with_context(|| format!("start the {} thread", duty.name()))?;
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the {} thread panicked", duty.name())))
        })
    }

    /// What is in force, for `/readyz` and the log; degraded where something that was wanted is
    /// missing. Call it once the threads are confined.
    #[must_use]
    pub fn describe(&self) -> (ComponentState, String) {
        let shared = &*self.0;
        let options = &shared.options;
        let mut missing = false;
        let mut words = vec![format!("user {}", rustix::process::geteuid().as_raw())];
        if options.drop_capabilities {
            words.extend(Duty::ALL.iter().map(|duty| {
                format!("{}: {}", duty.name(), capabilities::names(shared.needs_of(*duty)))
            }));
            let bounding =
                if shared.bounding_set_is_empty { "empty" } else { "kept (CAP_SETPCAP)" };
            words.push(format!("bounding set {bounding}"));
        } else {
            words.push("capabilities kept".to_owned());
        }
        words.push(match (options.seccomp, shared.refused_calls) {
            (false, _) => "seccomp off".to_owned(),
            (true, Some(count)) => format!("seccomp refuses {count} system calls"),
            (true, None) => {
                missing = true;
                "no seccomp".to_owned()
            }
        });
        words.push(match (options.landlock, shared.landlock.get()) {
            (false, _) => "landlock off".to_owned(),
            (true, Some(true)) => "landlock on serve, write".to_owned(),
            (true, _) => {
                missing = true;
                "no landlock in this kernel".to_owned()
            }
        });
        words.push(format!("core dumps {}", if options.core_dumps { "allowed" } else { "off" }));
        let state = if missing { ComponentState::Degraded } else { ComponentState::Ready };
        (state, words.join("; "))
    }
}

impl Shared {
    fn needs_of(&self, duty: Duty) -> CapabilitySet {
        let needed = capabilities::needed(duty, &self.needs, self.maps_need_capability);
        capabilities::at_hand(needed, self.permitted)
    }
}

//! What is watched, what the kernel programs may deliver, and how far TLS libraries are looked into.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Config;
use hopsight_capture::{LiveOptions, LoadOptions, Rustls, Sampling, ring_bytes_for_this_machine};
use hopsight_system::names::Watched;

/// Which connections are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Names of proxy processes; the kernel keeps 15 bytes of a name.
    pub proxies: Vec<String>,
    /// Watch every process instead.
    pub all: bool,
    /// cgroup v2 directory to attach to; the root of the hierarchy if absent.
    pub cgroup: Option<PathBuf>,
    /// Adopt connections that are older than the agent.
    pub adopt_existing: bool,
    /// Seconds between scans for new proxy processes.
    pub rescan_seconds: u64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        let LiveOptions { load, cgroup, adopt, rescan, .. } = LiveOptions::default();
        let (proxies, all) = match load.watched {
            Watched::Named(names) => (names, false),
            Watched::All => (Vec::new(), true),
        };
        Self { proxies, all, cgroup, adopt_existing: adopt, rescan_seconds: rescan.as_secs() }
    }
}

/// What the kernel programs may deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Bytes per direction of a connection that has shown no TLS.
    pub classify_bytes: u32,
    /// Bytes per direction of a TLS connection, beside the flights of its handshake.
    pub handshake_bytes: u32,
    /// Bytes per direction up to the end of such a flight: certificates may be long.
    pub flight_bytes: u32,
    /// Bytes of the ring buffer between kernel and agent; 0: by the number of processors.
    pub ring_buffer_bytes: u32,
    /// Have the kernel keep statistics on program run time.
    pub program_statistics: bool,
}

impl Default for Capture {
    fn default() -> Self {
        let LiveOptions { load, program_statistics, .. } = LiveOptions::default();
        Self {
            classify_bytes: load.classify_budget,
            handshake_bytes: load.handshake_budget,
            flight_bytes: load.flight_budget,
            ring_buffer_bytes: 0,
            program_statistics,
        }
    }
}

/// Whether TLS libraries of watched processes are looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LibraryMode {
    /// Where it is possible.
    #[default]
    Auto,
    /// Never: TLS 1.3 verdicts rest on record lengths.
    Off,
}

/// Looking into TLS libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Library {
    /// Whether.
    pub mode: LibraryMode,
    /// Look into rustls, too.
    pub rustls: bool,
    /// Seconds with probes at the beginning of every `sample_every_seconds`; TLS 1.3 hops are
    /// inferred in between.
    pub sample_seconds: u64,
    /// Seconds from one sample to the next; 0: the probes are always in place, for a few
    /// percent of a handshake's processor time (`cargo xtask bench probes`).
    pub sample_every_seconds: u64,
}

impl Library {
    /// Whether rustls is looked into.
    #[must_use]
    pub const fn rustls(self) -> Rustls {
        if self.rustls { Rustls::LookedFor } else { Rustls::LeftAlone }
    }

    fn sampling(self) -> Sampling {
        if self.sample_every_seconds == 0 {
            return Sampling::Always;
        }
        Sampling::Interval {
            window: Duration::from_secs(self.sample_seconds),
            every: Duration::from_secs(self.sample_every_seconds),
        }
    }
}

impl Config {
    /// What the live source is started with.
    #[must_use]
    pub fn live_options(&self) -> LiveOptions {
        let Self { watch, capture, library, log, .. } = self;
        LiveOptions {
            cgroup: watch.cgroup.clone(),
            load: LoadOptions {
                watched: if watch.all {
                    Watched::All
                } else {
                    Watched::Named(watch.proxies.clone())
                },
                classify_budget: capture.classify_bytes,
                handshake_budget: capture.handshake_bytes,
                flight_budget: capture.flight_bytes,
                ring_bytes: match capture.ring_buffer_bytes {
                    0 => ring_bytes_for_this_machine(),
                    chosen => chosen,
                },
                kernel_log: log.kernel,
            },
            library: library.mode == LibraryMode::Auto,
            library_sampling: library.sampling(),
            rustls: library.rustls(),
            adopt: watch.adopt_existing,
            rescan: Duration::from_secs(watch.rescan_seconds),
            program_statistics: capture.program_statistics,
        }
    }
}

/// What must hold of these sections, and what to say where it does not.
pub(super) fn rules(config: &Config) -> [(bool, &'static str); 8] {
    let Config { watch, capture, library, .. } = config;
    let names_fit = watch.proxies.iter().all(|name| !name.is_empty() && !name.contains('\0'));
    [
        (
            watch.all || !watch.proxies.is_empty(),
            "watch.proxies is empty and watch.all is false: nothing would be watched",
        ),
        (names_fit, "watch.proxies: a process name must not be empty or contain a zero byte"),
        (watch.rescan_seconds >= 1, "watch.rescan_seconds must be at least 1"),
        (
            (64..=65_536).contains(&capture.classify_bytes),
            "capture.classify_bytes must be between 64 and 65536",
        ),
        (
            (4_096..=1 << 20).contains(&capture.handshake_bytes),
            "capture.handshake_bytes must be between 4096 and 1048576",
        ),
        (
            (capture.handshake_bytes..=1 << 20).contains(&capture.flight_bytes),
            "capture.flight_bytes must be between capture.handshake_bytes and 1048576",
        ),
        (
            capture.ring_buffer_bytes == 0
                || capture.ring_buffer_bytes.is_power_of_two()
                    && (1 << 16..=1 << 30).contains(&capture.ring_buffer_bytes),
            "capture.ring_buffer_bytes must be 0 or a power of two between 65536 and 1073741824",
        ),
        (
            library.sample_every_seconds == 0
                || (1..library.sample_every_seconds).contains(&library.sample_seconds),
            "library.sample_seconds must be at least 1 and less than sample_every_seconds",
        ),
    ]
}

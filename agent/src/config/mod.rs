//! The configuration file: TOML, every key with a default, unknown keys refused.
//!
//! `default.toml` beside this file documents each key and is what `hopsight config` prints; a test
//! keeps it equal to the defaults here.

mod agent;
mod capture;
mod files;
mod kubernetes;
mod listen;
mod otlp;
mod policy;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use agent::Agent;
use anyhow::Context as _;
pub use capture::{Capture, Library, LibraryMode, WatchConfig};
pub use kubernetes::Cri;
pub use listen::listen_address;
pub use otlp::Otlp;
pub use policy::PolicyConfig;
use serde::{Deserialize, Serialize};

use crate::{
    compliance::ComplianceOptions,
    privileges::{PrivilegeOptions, User},
};
use hopsight_core::pipeline::Limits;
use hopsight_export::http::{DEFAULT_ADDRESS, HttpLimits, tls::TlsFiles};
use hopsight_identity::kubernetes::KubernetesOptions;
use hopsight_posture::hops::{table::HopLimits, witness::Witness};

/// The documented configuration file with every key at its default.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the agent is called.
    pub agent: Agent,
    /// Which connections are watched.
    pub watch: WatchConfig,
    /// What the kernel programs may deliver.
    pub capture: Capture,
    /// How connections are followed.
    pub connections: Connections,
    /// Looking into TLS libraries.
    pub library: Library,
    /// The hop table.
    pub hops: Hops,
    /// What connections are evaluated against.
    pub policy: PolicyConfig,
    /// Names of pods and services from the Kubernetes API.
    pub kubernetes: KubernetesOptions,
    /// Names of pods from the container runtime.
    pub cri: Cri,
    /// The HTTP server.
    pub http: Http,
    /// Connection events.
    pub events: Events,
    /// What the agent gives up once it runs.
    pub privileges: Privileges,
    /// Export to an OpenTelemetry collector.
    pub otlp: Otlp,
    /// The agent's own log.
    pub log: Log,
}

/// How connections are followed; see [`Limits`] for what each bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// Connections followed at the same time.
    pub max_connections: usize,
    /// Bytes held for the streams of all connections.
    pub max_stream_bytes: usize,
    /// Bytes held per direction after a gap, until the missing ones arrive.
    pub reorder_window_bytes: usize,
    /// Seconds a handshake may take.
    pub handshake_timeout_seconds: u64,
    /// Milliseconds a decided verdict waits for its outcome and for the TLS library.
    pub settle_grace_milliseconds: u64,
    /// Full handshakes remembered for the sessions that resume them.
    pub max_sessions: usize,
    /// Seconds for which a full handshake speaks for the sessions that resume it.
    pub session_max_age_seconds: u64,
    /// Library handshakes waiting for their connection.
    pub max_transcripts: usize,
    /// Seconds a library handshake waits for its connection.
    pub transcript_max_age_seconds: u64,
}

impl Default for Connections {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_connections: limits.max_connections,
            max_stream_bytes: limits.max_stream_bytes,
            reorder_window_bytes: limits.reorder_window,
            handshake_timeout_seconds: limits.handshake_timeout.as_secs(),
            settle_grace_milliseconds: limits.settle_grace.as_secs() * 1000,
            max_sessions: limits.max_sessions,
            session_max_age_seconds: limits.session_max_age.as_secs(),
            max_transcripts: limits.max_transcripts,
            transcript_max_age_seconds: limits.transcript_max_age.as_secs(),
        }
    }
}

/// The hop table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hops {
    /// Hops kept apart; further upstreams are counted as `~other`.
    pub max_hops: usize,
    /// Seconds of silence after which a hop and its series are forgotten.
    pub expiry_seconds: u64,
    /// Seconds after which a treatment that nobody has seen is out of use.
    pub treatment_seconds: u64,
}

impl Default for Hops {
    fn default() -> Self {
        let HopLimits { max_hops, idle_expiry, treatment_stands_for } = HopLimits::default();
        Self {
            max_hops,
            expiry_seconds: idle_expiry.as_secs(),
            treatment_seconds: treatment_stands_for.as_secs(),
        }
    }
}

impl Hops {
    /// The same, in the table's words.
    #[must_use]
    pub const fn limits(self) -> HopLimits {
        HopLimits {
            max_hops: self.max_hops,
            idle_expiry: Duration::from_secs(self.expiry_seconds),
            treatment_stands_for: Duration::from_secs(self.treatment_seconds),
        }
    }
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens.
    #[serde(deserialize_with = "listen::address")]
    pub address: SocketAddr,
    /// Where it answers only `/livez` and `/readyz`, in the clear.
    #[serde(deserialize_with = "listen::optional_address")]
    pub health_address: Option<SocketAddr>,
    /// Names that lead to it, beside addresses, names without a dot and private ones.
    pub hosts: Vec<String>,
    /// Certificates.
    pub tls: TlsFiles,
    /// Its bounds.
    pub limits: HttpLimits,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS,
            health_address: None,
            hosts: Vec::new(),
            tls: TlsFiles::default(),
            limits: HttpLimits::default(),
        }
    }
}

/// Connection events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// File that gets a line of JSON per connection report (appended to); `-` is standard output.
    pub file: Option<PathBuf>,
}

/// What the agent gives up once its kernel programs are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration file")]
pub struct Privileges {
    /// The user to switch to.
    pub user: Option<User>,
    /// Keep only the capabilities that are still needed.
    pub drop_capabilities: bool,
    /// Confine threads that need no files.
    pub landlock: bool,
    /// Refuse system calls that are never made.
    pub seccomp: bool,
    /// Whether memory may get into a core dump.
    pub core_dumps: bool,
}

impl Default for Privileges {
    fn default() -> Self {
        let PrivilegeOptions { user, drop_capabilities, landlock, seccomp, core_dumps } =
            PrivilegeOptions::default();
        Self { user, drop_capabilities, landlock, seccomp, core_dumps }
    }
}

impl Privileges {
    /// The same, in the words of who drops them.
    #[must_use]
    pub fn options(&self) -> PrivilegeOptions {
        let Self { user, drop_capabilities, landlock, seccomp, core_dumps } = self.clone();
        PrivilegeOptions { user, drop_capabilities, landlock, seccomp, core_dumps }
    }
}

/// The agent's own log, on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// One JSON object per line.
    pub json: bool,
    /// Show what the kernel programs log.
    pub kernel: bool,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read; it is not TOML, has an unknown key or a value of the wrong type
    /// (with line and column); or a value is out of its range (with its key).
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read configuration file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("configuration file {}", path.display()))
    }

    /// Reads configuration from text; see [`Config::read`].
    ///
    /// # Errors
    /// As for [`Config::read`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// The limits of the pipeline.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let connections = self.connections;
        Limits {
            max_connections: connections.max_connections,
            max_stream_bytes: connections.max_stream_bytes,
            bytes_per_direction: u64::from(self.capture.flight_bytes)
                + u64::from(self.capture.handshake_bytes),
            reorder_window: connections.reorder_window_bytes,
            handshake_timeout: Duration::from_secs(connections.handshake_timeout_seconds),
            settle_grace: Duration::from_millis(connections.settle_grace_milliseconds),
            max_sessions: connections.max_sessions,
            session_max_age: Duration::from_secs(connections.session_max_age_seconds),
            max_transcripts: connections.max_transcripts,
            transcript_max_age: Duration::from_secs(connections.transcript_max_age_seconds),
        }
    }

    /// What the agent is called in `/hops` and events.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.agent.witness(self.kubernetes.node.as_deref())
    }

    /// What connections are evaluated against, and where names come from.
    #[must_use]
    pub fn compliance(&self) -> ComplianceOptions {
        let sources = kubernetes::sources(&self.kubernetes, &self.cri);
        ComplianceOptions { sources, ..self.policy.options(self.hops) }
    }

    /// Checks the ranges of values, wherever they came from.
    ///
    /// # Errors
    /// Names the first key that is out of range, and the range.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { connections, hops, http, policy, cri, .. } = self;
        let rules = [
            (
                (1..=4_000_000).contains(&connections.max_connections),
                "connections.max_connections must be between 1 and 4000000",
            ),
            (
                connections.max_stream_bytes >= 1 << 20,
                "connections.max_stream_bytes must be at least 1048576",
            ),
            (
                (1_024..=1 << 20).contains(&connections.reorder_window_bytes),
                "connections.reorder_window_bytes must be between 1024 and 1048576",
            ),
            (
                connections.handshake_timeout_seconds >= 1,
                "connections.handshake_timeout_seconds must be at least 1",
            ),
            (
                connections.settle_grace_milliseconds <= 60_000,
                "connections.settle_grace_milliseconds must be at most 60000",
            ),
            (connections.max_sessions >= 1, "connections.max_sessions must be at least 1"),
            (connections.max_transcripts >= 1, "connections.max_transcripts must be at least 1"),
            (
                connections.transcript_max_age_seconds >= 1,
                "connections.transcript_max_age_seconds must be at least 1",
            ),
            ((1..=100_000).contains(&hops.max_hops), "hops.max_hops must be between 1 and 100000"),
            (hops.expiry_seconds >= 60, "hops.expiry_seconds must be at least 60"),
            (
                hops.treatment_seconds >= policy.settle_seconds,
                "hops.treatment_seconds must not be less than policy.settle_seconds",
            ),
            (
                hops.expiry_seconds >= hops.treatment_seconds,
                "hops.expiry_seconds must not be less than hops.treatment_seconds",
            ),
            (
                http.tls.certificate.is_some() == http.tls.key.is_some(),
                "http.tls.certificate and http.tls.key go together",
            ),
            (
                http.tls.client_ca.is_none() || http.tls.certificate.is_some(),
                "http.tls.client_ca needs http.tls.certificate and http.tls.key",
            ),
            (http.limits.max_connections >= 1, "http.limits.max_connections must be at least 1"),
            (
                http.limits.header_timeout_seconds >= 1,
                "http.limits.header_timeout_seconds must be at least 1",
            ),
            (
                http.limits.write_timeout_seconds >= 1,
                "http.limits.write_timeout_seconds must be at least 1",
            ),
        ];
        let names = policy.rules().into_iter().chain(kubernetes::rules(&self.kubernetes, cri));
        let names = names.chain(self.agent.rules());
        let mut all = capture::rules(self).into_iter().chain(rules).chain(names);
        if let Some((_, message)) = all.find(|(holds, _)| !holds) {
            anyhow::bail!("{message}");
        }
        self.otlp.check()
    }
}

#[cfg(test)]
mod tests;

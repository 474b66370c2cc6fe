//! The configuration file: TOML, every key with a default, unknown keys refused.
//!
//! `default.toml` beside this file documents each key and is what `hopsight config` prints; a test
//! keeps it equal to the defaults here.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::export::{
    hops::HopLimits,
    http::{DEFAULT_ADDRESS, HttpLimits},
};

/// The documented configuration file with every key at its default.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Process names of the proxies watched unless told otherwise.
pub const DEFAULT_PROXIES: [&str; 7] =
    ["nginx", "envoy", "haproxy", "traefik", "caddy", "httpd", "apache2"];

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which connections are watched.
    pub watch: Watch,
    /// What the kernel programs may deliver.
    pub capture: Capture,
    /// How connections are followed.
    pub flows: Flows,
    /// Looking into TLS libraries.
    pub library: Library,
    /// The hop table.
    pub hops: Hops,
    /// The HTTP server.
    pub http: Http,
    /// Connection events.
    pub events: Events,
    /// The agent's own log.
    pub log: Log,
}

/// Which connections are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// Names of proxy processes; the kernel keeps 15 bytes of a name.
    pub proxies: Vec<String>,
    /// Watch every process instead.
    pub all: bool,
    /// cgroup v2 directory to attach to; the root of the hierarchy if absent.
    pub cgroup: Option<PathBuf>,
    /// Take in connections that are older than the agent.
    pub take_in_existing: bool,
    /// Seconds between two looks for new proxy processes.
    pub rescan_seconds: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            proxies: DEFAULT_PROXIES.map(str::to_owned).to_vec(),
            all: false,
            cgroup: None,
            take_in_existing: true,
            rescan_seconds: 5,
        }
    }
}

/// What the kernel programs may deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Bytes per direction of a connection that has shown no TLS.
    pub classify_bytes: u32,
    /// Bytes per direction of a TLS connection.
    pub handshake_bytes: u32,
    /// Bytes of the ring buffer between kernel and agent.
    pub ring_buffer_bytes: u32,
    /// Keep the kernel's statistics on program run time.
    pub program_statistics: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            classify_bytes: 2 * 1024,
            handshake_bytes: 64 * 1024,
            ring_buffer_bytes: 16 * 1024 * 1024,
            program_statistics: false,
        }
    }
}

/// How connections are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flows {
    /// Connections whose handshake is followed at once.
    pub max_flows: usize,
    /// Bytes kept per direction while earlier ones are missing.
    pub max_buffered_bytes: usize,
    /// Seconds to wait for missing bytes.
    pub gap_timeout_seconds: u64,
    /// Seconds a handshake may take.
    pub handshake_timeout_seconds: u64,
    /// Seconds for which a full handshake speaks for the sessions that resume it.
    pub carried_max_age_seconds: u64,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            max_flows: 65_536,
            max_buffered_bytes: 128 * 1024,
            gap_timeout_seconds: 2,
            handshake_timeout_seconds: 60,
            carried_max_age_seconds: 86_400,
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
}

/// The hop table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hops {
    /// Hops kept apart; further upstreams are counted as `~other`.
    pub max_hops: usize,
    /// Seconds after which a silent hop and its series are forgotten.
    pub expiry_seconds: u64,
}

impl Default for Hops {
    fn default() -> Self {
        let HopLimits { max_hops, idle_expiry } = HopLimits::default();
        Self { max_hops, expiry_seconds: idle_expiry.as_secs() }
    }
}

impl Hops {
    /// The same, in the table's words.
    #[must_use]
    pub const fn limits(self) -> HopLimits {
        HopLimits { max_hops: self.max_hops, idle_expiry: Duration::from_secs(self.expiry_seconds) }
    }
}

/// The HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its bounds.
    pub limits: HttpLimits,
}

impl Default for Http {
    fn default() -> Self {
        Self { address: DEFAULT_ADDRESS, limits: HttpLimits::default() }
    }
}

/// Connection events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// File that gets a line of JSON per connection report (appended to); `-` is standard output.
    pub file: Option<PathBuf>,
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

    /// Checks the ranges of values, wherever they came from.
    ///
    /// # Errors
    /// Names the first key that is out of range, and the range.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { watch, capture, flows, hops, http, .. } = self;
        let names_fit = watch.proxies.iter().all(|name| !name.is_empty() && !name.contains('\0'));
        let rules = [
            (
                watch.all || !watch.proxies.is_empty(),
                "watch.proxies is empty and watch.all is false: nothing would be watched",
            ),
            (names_fit, "watch.proxies: a process name is not empty and has no zero byte"),
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
                capture.ring_buffer_bytes.is_power_of_two()
                    && (1 << 16..=1 << 30).contains(&capture.ring_buffer_bytes),
                "capture.ring_buffer_bytes must be a power of two between 65536 and 1073741824",
            ),
            (flows.max_flows >= 1, "flows.max_flows must be at least 1"),
            (flows.max_buffered_bytes >= 1_024, "flows.max_buffered_bytes must be at least 1024"),
            (flows.gap_timeout_seconds >= 1, "flows.gap_timeout_seconds must be at least 1"),
            (
                flows.handshake_timeout_seconds >= 1,
                "flows.handshake_timeout_seconds must be at least 1",
            ),
            ((1..=100_000).contains(&hops.max_hops), "hops.max_hops must be between 1 and 100000"),
            (hops.expiry_seconds >= 60, "hops.expiry_seconds must be at least 60"),
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
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, message)) => anyhow::bail!("{message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_the_default() {
        assert_eq!(Config::parse(DEFAULT_FILE).expect("valid"), Config::default());
        // Every key is there, also those that are absent by default (as comments).
        let table: toml::Table = toml::from_str(DEFAULT_FILE).expect("valid");
        for (name, section) in toml::Table::try_from(Config::default()).expect("a table").iter() {
            let documented = &table[name];
            assert_eq!(documented, section, "[{name}]");
        }
        for key in ["# cgroup = ", "# file = "] {
            assert!(DEFAULT_FILE.contains(key), "{key}");
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("").expect("valid"), Config::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wants) in [
            (
                "[watch]\nproxy = [\"nginx\"]\n",
                &["line 2", "unknown field `proxy`", "`proxies`"][..],
            ),
            ("[wach]\n", &["line 1", "unknown field `wach`"]),
            ("[http]\naddress = \"localhost\"\n", &["line 2", "invalid socket address"]),
            ("[http]\naddress = 9464\n", &["line 2", "invalid type"]),
            ("[hops]\nmax_hops = 0\n", &["hops.max_hops must be between 1 and 100000"]),
            ("[hops]\nmax_hops = -1\n", &["line 2", "invalid value"]),
            ("[capture]\nring_buffer_bytes = 100000\n", &["power of two"]),
            ("[watch]\nproxies = []\n", &["nothing would be watched"]),
            ("[library]\nmode = \"maybe\"\n", &["line 2", "unknown variant `maybe`", "`auto`"]),
            ("[hops\n", &["line 1"]),
            ("[hops]\nmax_hops = 1\nmax_hops = 2\n", &["line 3", "duplicate key"]),
        ] {
            let error = Config::parse(text).expect_err(text).to_string();
            for want in wants {
                assert!(error.contains(want), "{text:?}: {want:?} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::read(Path::new("/nonexistent/hopsight.toml")).expect_err("missing");
        assert!(format!("{error:#}").starts_with("read configuration file /nonexistent"));
    }
}

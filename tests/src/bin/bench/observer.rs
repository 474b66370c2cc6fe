//! Who watches the proxies: nobody, hopsight, or another program.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use hopsight_tests::{
    agent, http, loopback::Loopback, nginx::utf8, process::Daemon, process::find, wait::wait_until,
};

use crate::{processor, prometheus};

const START: Duration = Duration::from_secs(30);

/// Kinds of observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nobody: what the others are compared with.
    Off,
    /// hopsight with its default configuration, but without library probes.
    Wire,
    /// hopsight with its default configuration.
    Library,
    /// `tcpdump -s 0 -w /dev/null`, on the upstream's port.
    Tcpdump,
    /// bpftrace with probes on entry and return of OpenSSL's handshake, read and write functions,
    /// as sslsniff has them; prints the first bytes of each.
    Bpftrace,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Off, Self::Wire, Self::Library, Self::Tcpdump, Self::Bpftrace];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Wire => "hopsight, no library",
            Self::Library => "hopsight",
            Self::Tcpdump => "tcpdump",
            Self::Bpftrace => "bpftrace on libssl",
        }
    }

    /// Whether its program is installed.
    pub fn is_possible(self) -> bool {
        match self {
            Self::Off | Self::Wire | Self::Library => true,
            Self::Tcpdump => find("tcpdump").is_some(),
            Self::Bpftrace => find("bpftrace").is_some() && libssl().is_some(),
        }
    }

    /// Starts it; it observes when this returns.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(self, dir: &Path, upstream: SocketAddr) -> anyhow::Result<Observer> {
        let log = dir.join(format!("{self:?}.log").to_lowercase());
        let daemon = match self {
            Self::Off => None,
            Self::Wire => return Observer::hopsight(&log, &["--no-library"]),
            Self::Library => return Observer::hopsight(&log, &[]),
            Self::Tcpdump => {
                let port = upstream.port().to_string();
                let args = ["-i", "lo", "-s", "0", "-U", "-w", "/dev/null", "tcp", "port", &port];
                Some(Daemon::spawn("tcpdump", args, &log)?)
            }
            Self::Bpftrace => {
                let script = dir.join("libssl.bt");
                fs::write(&script, sslsniff(&libssl().context("find libssl.so.3")?)?)
                    .context("write the bpftrace script")?;
                let output = dir.join("bpftrace.out");
                let args = ["-o", utf8(&output)?, utf8(&script)?];
                Some(Daemon::spawn("bpftrace", args, &log)?)
            }
        };
        let mut observer = Observer { daemon, http: None };
        let ready = match self {
            Self::Tcpdump => "listening on",
            Self::Bpftrace => "Attaching",
            Self::Off | Self::Wire | Self::Library => return Ok(observer),
        };
        observer.wait_for_log(ready, &dir.join("bpftrace.out"))?;
        Ok(observer)
    }
}

/// A running observer.
#[derive(Debug)]
pub struct Observer {
    daemon: Option<Daemon>,
    http: Option<SocketAddr>,
}

impl Observer {
    /// hopsight with its defaults and these options.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn hopsight(log: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let address = Loopback::reserve()?.socket(1, 9464);
        let http = address.to_string();
        let args: Vec<&str> =
            ["run", "--http", &http].into_iter().chain(options.iter().copied()).collect();
        let mut daemon = Daemon::spawn(agent::binary()?, args, log)?;
        wait_until("hopsight to be ready", START, || {
            daemon.ensure_running()?;
            Ok(http::get(address, "/readyz").ok().filter(|response| response.status == 200))
        })
        .with_context(|| format!("hopsight wrote:\n{}", daemon.log()))?;
        Ok(Self { daemon: Some(daemon), http: Some(address) })
    }

    fn wait_for_log(&mut self, text: &str, other: &Path) -> anyhow::Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        wait_until(&format!("{text:?} in the observer's log"), START, || {
            daemon.ensure_running()?;
            let written = daemon.log() + &fs::read_to_string(other).unwrap_or_default();
            Ok(written.contains(text).then_some(()))
        })
    }

    /// Its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.daemon.as_ref().map(|daemon| processor::family(daemon.pid())).unwrap_or_default()
    }

    /// Its metrics, if it is hopsight.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> anyhow::Result<Option<String>> {
        self.http.map(|address| Ok(http::get(address, "/metrics")?.body)).transpose()
    }

    /// Events it has lost; `None` if it is not hopsight.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn lost(&self) -> anyhow::Result<Option<f64>> {
        let metrics = self.metrics()?;
        Ok(metrics.map(|text| prometheus::sum(&text, "hopsight_events_lost_total", &[])))
    }
}

fn libssl() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
    folders.map(|folder| Path::new(folder).join("libssl.so.3")).into_iter().find(|f| f.exists())
}

/// What sslsniff does, as a bpftrace script.
fn sslsniff(library: &Path) -> anyhow::Result<String> {
    let library = utf8(library)?;
    let mut script = String::new();
    for function in ["SSL_read", "SSL_write"] {
        script += &format!(
            "uprobe:{library}:{function} /comm == \"nginx\"/ \
             {{ @buffer[tid] = arg1; @start[tid] = nsecs; }}\n\
             uretprobe:{library}:{function} /@buffer[tid]/ {{ \
             if ((int32)retval > 0) {{ printf(\"{function} %d %d %r\\n\", pid, \
             nsecs - @start[tid], buf(@buffer[tid], retval > 64 ? 64 : retval)); }} \
             delete(@buffer[tid]); delete(@start[tid]); }}\n"
        );
    }
    script += &format!(
        "uprobe:{library}:SSL_do_handshake /comm == \"nginx\"/ {{ @handshake[tid] = nsecs; }}\n\
         uretprobe:{library}:SSL_do_handshake /@handshake[tid]/ {{ \
         printf(\"handshake %d %d %d\\n\", pid, nsecs - @handshake[tid], (int32)retval); \
         delete(@handshake[tid]); }}\n"
    );
    Ok(script)
}

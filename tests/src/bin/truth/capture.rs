//! Packets of the loopback interface into a file.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{process::Daemon, wait::wait_until};

/// How long tcpdump may take to begin, and to have written what it saw.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks without another packet after which there is none to come.
const CALM: u32 = 20;
/// Bytes of a capture without packets.
const HEADER: u64 = 24;

/// A tcpdump that runs.
pub struct Capture {
    tcpdump: Daemon,
    file: std::path::PathBuf,
}

impl Capture {
    /// Captures what goes to and from these 256 addresses.
    pub fn start(file: &Path, [a, b, c, _]: [u8; 4]) -> anyhow::Result<Self> {
        let net = format!("{}/24", Ipv4Addr::new(a, b, c, 0));
        let path = file.to_str().context("use the file's path")?;
        let args = ["-i", "lo", "--immediate-mode", "-U", "-s", "0", "-Z", "root", "-w", path];
        let args = args.into_iter().chain(["net", &net]);
        let mut tcpdump = Daemon::spawn("tcpdump", args, &file.with_extension("log"))?;
        wait_until("tcpdump to listen", PATIENCE, || {
            tcpdump.ensure_running()?;
            Ok(tcpdump.log().contains("listening on").then_some(()))
        })?;
        Ok(Self { tcpdump, file: file.to_owned() })
    }

    /// Ends it once nothing is added any more.
    pub fn end(mut self) -> anyhow::Result<()> {
        let mut before = 0;
        let mut calm = 0;
        wait_until("the capture to be complete", PATIENCE, || {
            let now = fs::metadata(&self.file).context("look at the capture")?.len();
            calm = if now == before { calm + 1 } else { 0 };
            before = now;
            Ok((calm >= CALM && now > HEADER).then_some(()))
        })?;
        self.tcpdump.terminate()?;
        fs::remove_file(self.file.with_extension("log")).context("remove the log of tcpdump")
    }
}

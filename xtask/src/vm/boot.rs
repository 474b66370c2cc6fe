//! One boot under qemu.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{Row, kernel::Kernel, results};
use crate::command::installed;

/// An emulated machine may hang on a loaded one: Linux 7.2 did once before it printed anything, 5.10
/// twice in the first of the tests. Nothing else is silent for so long, and what hangs says where
/// after less ([`super::initramfs`]).
const SILENCE: Duration = Duration::from_mins(5);

/// Most lines that are printed of what a machine that hung said.
const LAST: usize = 150;

/// Boots until it powers off, within `limit`, and returns what was said on the console, which also
/// stays in `log`.
///
/// # Errors
/// When qemu is missing or it does not power off in time.
pub fn boot(
    kernel: &Kernel,
    initrd: &Path,
    row: &Row,
    log: &Path,
    limit: Duration,
) -> anyhow::Result<String> {
    let program = row.arch.qemu();
    anyhow::ensure!(installed(program), "{program} is missing: `cargo xtask setup` installs it");
    fs::write(log, "").with_context(|| format!("write {}", log.display()))?;
    let mut qemu = Command::new(program);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        // No KVM: the machines that run this are guests themselves.
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048"])
        .args(row.arch.machine())
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initrd)
        .arg("-append")
        .arg(format!("console={} quiet panic=-1 {}", row.arch.console(), row.parameters))
        .stdin(Stdio::null());
    let start = Instant::now();
    loop {
        let end = run(&mut qemu, log, limit.saturating_sub(start.elapsed()))?;
        let console = fs::read(log).with_context(|| format!("read {}", log.display()))?;
        let console = String::from_utf8_lossy(&console).into_owned();
        if end == End::PoweredOff && !results::is_hung(&console) {
            return Ok(console);
        }
        let kept = keep(log, &console)?;
        println!("   it hung; its console, of which these were the last lines: {}", kept.display());
        anyhow::ensure!(start.elapsed() < limit, "it did not end within {limit:?}");
        println!("   it is started again");
    }
}

/// Prints the last lines of a console, and copies it to where the next run leaves it.
fn keep(log: &Path, console: &str) -> anyhow::Result<PathBuf> {
    let lines: Vec<&str> = console.lines().collect();
    for line in &lines[lines.len().saturating_sub(LAST)..] {
        println!("   {line}");
    }
    let kept = log.with_extension("hung.log");
    fs::copy(log, &kept).with_context(|| format!("write {}", kept.display()))?;
    Ok(kept)
}

/// How a run of qemu ended.
#[derive(PartialEq, Eq)]
enum End {
    PoweredOff,
    /// Nothing came to the console for [`SILENCE`], or its time is over.
    Hung,
}

fn run(qemu: &mut Command, log: &Path, limit: Duration) -> anyhow::Result<End> {
    let mut child = qemu.spawn().context("start qemu")?;
    let start = Instant::now();
    let mut said = (0, start);
    loop {
        if let Some(status) = child.try_wait().context("wait for qemu")? {
            anyhow::ensure!(status.success(), "qemu ended with {status}");
            return Ok(End::PoweredOff);
        }
        let length = fs::metadata(log).map_or(0, |log| log.len());
        if length != said.0 {
            said = (length, Instant::now());
        }
        if start.elapsed() > limit || said.1.elapsed() > SILENCE {
            child.kill().and_then(|()| child.wait().map(drop)).context("end qemu")?;
            return Ok(End::Hung);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

//! One boot under qemu.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{Row, kernel::Kernel};
use crate::command::installed;

/// An emulated kernel may hang before it prints anything, which otherwise takes less than a minute
/// (Linux 7.2 hung once, on a loaded machine).
const SILENCE: Duration = Duration::from_mins(3);

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
        match run(&mut qemu, log, limit.saturating_sub(start.elapsed()))? {
            End::PoweredOff => break,
            End::Silent if start.elapsed() < limit => {
                println!("   nothing on the console for {SILENCE:?}: it is started again");
            }
            End::Silent | End::TimedOut => {
                anyhow::bail!("it did not power off within {limit:?}; console in {}", log.display())
            }
        }
    }
    let console = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&console).into_owned())
}

/// How a run of qemu ended.
enum End {
    PoweredOff,
    /// The kernel said nothing for [`SILENCE`].
    Silent,
    TimedOut,
}

fn run(qemu: &mut Command, log: &Path, limit: Duration) -> anyhow::Result<End> {
    let mut child = qemu.spawn().context("start qemu")?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for qemu")? {
            anyhow::ensure!(status.success(), "qemu ended with {status}");
            return Ok(End::PoweredOff);
        }
        let silent = || fs::metadata(log).is_ok_and(|log| log.len() == 0);
        let end = if start.elapsed() > limit {
            End::TimedOut
        } else if start.elapsed() > SILENCE && silent() {
            End::Silent
        } else {
            thread::sleep(Duration::from_millis(200));
            continue;
        };
        child.kill().and_then(|()| child.wait().map(drop)).context("end qemu")?;
        return Ok(end);
    }
}

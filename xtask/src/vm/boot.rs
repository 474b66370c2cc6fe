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
    let mut child = qemu.spawn().context("start qemu")?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for qemu")? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().and_then(|()| child.wait().map(drop)).context("end qemu")?;
            anyhow::bail!("it did not power off within {limit:?}; console in {}", log.display());
        }
        thread::sleep(Duration::from_millis(200));
    };
    anyhow::ensure!(status.success(), "qemu ended with {status}");
    let console = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&console).into_owned())
}

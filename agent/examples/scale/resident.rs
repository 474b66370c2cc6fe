//! Our own memory.

use std::fs;

use anyhow::Context as _;

/// Resident bytes of this process (`VmRSS`), or most so far (`VmHWM`).
pub fn resident(field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .with_context(|| format!("find {field} in /proc/self/status"))?;
    Ok(kilobytes * 1024)
}

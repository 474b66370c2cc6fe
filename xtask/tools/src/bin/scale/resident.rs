//! Our own memory and processor time.

use std::fs;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// Resident bytes of this process (`VmRSS`), or most so far (`VmHWM`).
pub fn resident(field: &str) -> anyhow::Result<u64> {
    Ok(number("/proc/self/status", field)? * 1024)
}

/// How often this thread has gone to sleep: for a lock, where it does nothing else.
pub fn sleeps() -> anyhow::Result<u64> {
    number("/proc/thread-self/status", "voluntary_ctxt_switches")
}

fn number(file: &str, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("find {field} in {file}"))
}

/// Seconds of processor time this thread has had. On a busy machine others have most of the time.
pub fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let [seconds, nanoseconds] = [time.tv_sec as f64, time.tv_nsec as f64];
    seconds + nanoseconds / 1e9
}

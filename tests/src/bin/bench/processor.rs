//! Processor time and memory of other processes.

use std::fs;

/// A process and those it started.
pub fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|word| word.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}

/// Seconds on a processor of all threads of these processes (`schedstat`, first field: ns).
pub fn seconds(pids: &[u32]) -> f64 {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let nanoseconds: u64 = threads
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
    let seconds = nanoseconds as f64 / 1e9;
    seconds
}

/// Resident megabytes of these processes.
pub fn resident_megabytes(pids: &[u32]) -> f64 {
    let kilobytes = pids.iter().filter_map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    kilobytes.sum::<f64>() / 1024.0
}

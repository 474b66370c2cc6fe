//! What the agent itself uses, read from `/proc/self` at scrape time.

use std::fs;

use super::samples::Samples;
use crate::metrics::catalogue::{
    PROCESS_CPU_SECONDS, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY,
    PROCESS_START_TIME, PROCESS_THREADS, PROCESS_VIRTUAL_MEMORY,
};

/// Adds the process metrics; those that cannot be read (no `/proc`) are left out.
pub fn collect(samples: &mut Samples) {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let page_size = rustix::param::page_size() as u64;
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|s| Stat::parse(&s)) {
        let seconds = |ticks: u64| to_f64(ticks) / to_f64(ticks_per_second);
        samples.set(PROCESS_CPU_SECONDS, [], seconds(stat.user_ticks + stat.system_ticks));
        samples.count(PROCESS_THREADS, [], stat.threads);
        samples.count(PROCESS_VIRTUAL_MEMORY, [], stat.virtual_bytes);
        samples.count(PROCESS_RESIDENT_MEMORY, [], stat.resident_pages * page_size);
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().and_then(|s| boot_time(&s)) {
            samples.set(PROCESS_START_TIME, [], to_f64(boot) + seconds(stat.start_ticks));
        }
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        samples.count(PROCESS_OPEN_FDS, [], fds.count() as u64);
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        samples.count(PROCESS_MAX_FDS, [], limit);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus samples are f64")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

/// The fields of `/proc/PID/stat` (`proc_pid_stat(5)`) that are shown.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The command name is in parentheses and may itself contain any character.
        let after_name = stat.rsplit_once(") ")?.1;
        let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
        // Field numbers of the manual page start at 1 with the pid; `state`, the first one here,
        // is number 3.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            user_ticks: field(14)?,
            system_ticks: field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The `btime` line of `/proc/stat`: boot time, seconds since the Unix epoch.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let line = "7 (a) b) (c) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 5 0 333 4444 55 \
                    18446744073709551615 1 1";
        let want = Stat {
            user_ticks: 11,
            system_ticks: 22,
            threads: 5,
            start_ticks: 333,
            virtual_bytes: 4444,
            resident_pages: 55,
        };
        assert_eq!(Stat::parse(line), Some(want));
        assert_eq!(Stat::parse("7 (short) S 1 7"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
    }
}

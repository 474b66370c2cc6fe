//! The workers that a main process has started.

use std::fs;

use anyhow::Context as _;
use hopsight_system::process::{ProcessKey, Stat};

/// When the newest child of a main process started of which `is_worker` holds, in clock ticks after boot;
/// if there is none, the main process itself.
///
/// # Errors
/// When the main process is gone: it is called by `name`.
pub fn newest_start(
    name: &str,
    main: ProcessKey,
    is_worker: impl Fn(u32) -> bool,
) -> anyhow::Result<u64> {
    let stat = Stat::read(main.pid)?;
    anyhow::ensure!(stat.start_ticks == main.start_ticks, "{name} {} is gone", main.pid);
    let workers = fs::read_dir("/proc").context("list processes")?.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = Stat::read(pid).ok().filter(|stat| stat.parent == main.pid)?;
        is_worker(pid).then_some(stat.start_ticks)
    });
    Ok(workers.max().unwrap_or(stat.start_ticks))
}

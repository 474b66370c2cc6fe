//! Runs a capture file through the very same pipeline as live traffic.

use std::{path::Path, time::Duration};

use crate::{
    Source as _, SourceState,
    replay::{ReplayCounts, ReplaySource},
};
use hopsight_core::{
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
};

/// Limits for replay: nobody waits for the clock of a file, and some files have odd ones.
#[must_use]
pub fn limits() -> Limits {
    Limits { handshake_timeout: Duration::MAX, settle_grace: Duration::MAX, ..Limits::default() }
}

/// Replays `path` and hands every connection's final report to `sink`, in order of decision.
///
/// # Errors
/// If the file cannot be opened or is no capture. Damage further in ends the replay and is told
/// in the counts.
pub fn replay(
    path: &Path,
    limits: Limits,
    sink: &mut dyn FnMut(ConnectionReport) -> anyhow::Result<()>,
) -> anyhow::Result<ReplayCounts> {
    replay_with_progress(path, limits, &mut |_| {}, sink)
}

/// The same, telling `progress` now and then how many bytes of the file were read.
///
/// # Errors
/// As [`replay`].
pub fn replay_with_progress(
    path: &Path,
    limits: Limits,
    progress: &mut dyn FnMut(u64),
    sink: &mut dyn FnMut(ConnectionReport) -> anyhow::Result<()>,
) -> anyhow::Result<ReplayCounts> {
    replay_source(ReplaySource::open(path)?, limits, progress, sink)
}

/// The same, of a source that is open already.
///
/// # Errors
/// As [`replay`].
pub fn replay_source(
    mut source: ReplaySource,
    limits: Limits,
    progress: &mut dyn FnMut(u64),
    sink: &mut dyn FnMut(ConnectionReport) -> anyhow::Result<()>,
) -> anyhow::Result<ReplayCounts> {
    let mut pipeline = Pipeline::new(limits);
    let mut events = Vec::new();
    let mut updates = Vec::new();
    loop {
        let state = source.poll(Duration::ZERO, &mut events)?;
        for event in events.drain(..) {
            pipeline.handle(event, &mut updates);
        }
        progress(source.bytes_read());
        let now = source.now();
        pipeline.tick(now, &mut updates);
        if state == SourceState::Ended {
            pipeline.finish(now, &mut updates);
        }
        for update in updates.drain(..) {
            match update {
                Update::Done(connection) => source.done(connection),
                Update::Report { report, .. } if report.is_final => sink(*report)?,
                Update::Report { .. } => {}
            }
        }
        if state == SourceState::Ended {
            return Ok(source.counts());
        }
    }
}

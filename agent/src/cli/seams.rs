//! Where the command line meets the pipeline.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{config::Config, export::Exporter, report::ConnectionReport};

/// Says when to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches this machine until `stop`, reporting to `exporter`. Blocks.
pub fn observe(_config: &Config, _exporter: &Exporter, _stop: &Stop) -> anyhow::Result<()> {
    anyhow::bail!("the live pipeline is not part of this build")
}

/// Sends a report of every connection in a capture file to `sink`; `progress` is told the number
/// of bytes read so far.
pub fn replay(
    _path: &Path,
    _progress: &mut dyn FnMut(u64),
    _sink: &mut dyn FnMut(ConnectionReport) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    anyhow::bail!("replay is not part of this build")
}

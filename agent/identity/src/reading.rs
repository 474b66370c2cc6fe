//! What was read of a proxy's configuration.

use std::time::Duration;

use hopsight_posture::policy::{
    intent::{Fault, Intent},
    time::UnixTime,
};

/// By how much the start of a process and the change of a file may differ and still mean the same
/// moment: both clocks advance in ticks.
const TICKS: Duration = Duration::from_millis(20);

/// What an instance's configuration says, and whether the instance is running it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the files say.
    pub intent: Result<Intent, Fault>,
    /// When the newest of the files was changed; `None` where they could not be read.
    pub changed_at: Option<UnixTime>,
    /// When the newest worker started: the last (re)load, unless a worker had crashed since.
    pub loaded_at: UnixTime,
    /// The same in clock ticks after boot, of what is read from files.
    pub newest: Option<u64>,
    /// Where that is from.
    pub from: ReadFrom,
}

/// Where a configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Files: what they say need not be in force.
    Files,
    /// The running proxy itself: that is in force.
    Proxy {
        /// There is more that is not in force yet.
        is_pending: bool,
    },
}

impl Reading {
    /// Whether the files were changed after they were loaded, so that what they say is not yet what
    /// the proxy does. That a file was removed from an included directory does not show.
    #[must_use]
    pub fn pending_reload(&self) -> bool {
        match self.from {
            ReadFrom::Files => {
                self.changed_at.is_some_and(|changed| is_newer(changed, self.loaded_at))
            }
            ReadFrom::Proxy { is_pending } => is_pending,
        }
    }
}

/// Whether a file changed after a configuration was loaded, as far as both clocks can tell.
#[must_use]
pub fn is_newer(changed_at: UnixTime, loaded_at: UnixTime) -> bool {
    changed_at > loaded_at + TICKS
}

//! Where events come from: the live kernel, a packet capture or a recorded event file.

mod cgroup;
mod decode;
mod existing;
pub mod library;
pub mod live;
pub mod loader;
pub mod record;
pub mod replay;
mod stats;

pub use cgroup::{Cgroup, Scope};
pub use library::{
    LibraryEvidence, LibraryStatus, LibraryStatuses, NoLibrary, Rustls, Sampling,
    finish as finish_removing_probes, leave_to_exit as leave_probes_to_exit,
};
pub use live::{Attached, LiveOptions, LiveSource, Waker, running};
pub use loader::{LoadOptions, ring_bytes_for_this_machine};
pub use stats::{CaptureStats, Loss, ProgramStats, StatsHandle};

use std::time::Duration;

use hopsight_core::model::{ConnectionId, Event};

/// What a source has to say about the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// More events may come.
    Open,
    /// There will be no more events.
    Ended,
}

/// A stream of events. Live and replay differ only here; every line after it is shared.
pub trait Source {
    /// Waits at most `timeout` and appends what has arrived to `out`, in order.
    /// May return early, also without events.
    ///
    /// # Errors
    /// When the source itself broke; a malformed item within it is an event or is counted.
    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> anyhow::Result<SourceState>;

    /// No more bytes of `connection` are wanted. A source that can stop producing them does.
    fn done(&mut self, connection: ConnectionId);
}

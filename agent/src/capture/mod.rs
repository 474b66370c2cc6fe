//! Where events come from: the live kernel, a packet capture or a recorded event file.

mod cgroup;
pub mod library;
pub mod live;
pub(crate) mod loader;
pub(crate) mod processes;
pub mod record;
pub mod replay;
mod ring;
mod stats;
mod take_in;

pub use cgroup::Cgroup;
pub use library::{LibraryEvidence, LibraryStatus, LibraryStatuses, NoLibrary, Sampling};
pub use live::{Attached, LiveOptions, LiveSource, Waker};
pub use loader::{LoadOptions, ring_bytes_for_this_machine};
pub use processes::Watched;
pub use stats::{CaptureStats, ProgramStats, StatsHandle};

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Event, FlowId, Timestamp};

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

    /// No more bytes of `flow` are wanted. A source that can stop producing them does.
    fn done(&mut self, flow: FlowId);
}

/// Now on the clock of the kernel programs (`bpf_ktime_get_ns`).
pub(crate) fn monotonic_now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp(seconds * 1_000_000_000 + nanoseconds)
}

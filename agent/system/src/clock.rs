//! The clocks of this machine.

use std::time::SystemTime;

use hopsight_core::{
    hops::moment::{Moment, unix_seconds},
    model::Timestamp,
};
use rustix::time::{ClockId, clock_gettime};

/// The time on the clock of the kernel programs (`bpf_ktime_get_ns`).
#[must_use]
pub fn monotonic_now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp(seconds * 1_000_000_000 + nanoseconds)
}

/// This moment, on the wall clock and on the monotonic one.
#[must_use]
pub fn now() -> Moment {
    Moment { unix_seconds: unix_seconds(SystemTime::now()), monotonic: monotonic_now() }
}

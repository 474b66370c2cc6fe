//! Moments on two clocks: the one that is shown and the one that ages are reckoned in.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// A moment on two clocks. The wall clock is set now and then; what is as old as a limit allows
/// must not depend on that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// By the wall clock, seconds since the Unix epoch: what is shown.
    pub unix_seconds: f64,
    /// By the monotonic clock: what ages are reckoned in.
    pub monotonic: Timestamp,
}

/// Seconds since the Unix epoch; negative before it.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

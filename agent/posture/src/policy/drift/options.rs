//! Limits and patience of drift.

use std::time::Duration;

/// Limits and patience of a [`DriftTracker`](super::DriftTracker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long no offending connection may come before a drift counts as mended. While a proxy
    /// reloads, its old and new workers open connections side by side.
    pub settle: Duration,
    /// How long a drift stays open whose cause may still be there: good connections came, and nothing
    /// says that the bad ones are over. As long as a treatment stays in use that nobody sees.
    pub stands_for: Duration,
    /// How long only resumed sessions may be seen before that becomes a drift of its own.
    pub resumed_unseen_after: Duration,
    /// After how long without any connection an open drift is given up.
    pub forget_after: Duration,
    /// Hops that are tracked at most; connections of further hops are counted as dropped.
    pub max_hops: usize,
    /// Closed drifts that are kept at most, the newest.
    pub max_closed: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            stands_for: Duration::from_hours(2),
            resumed_unseen_after: Duration::from_mins(15),
            forget_after: Duration::from_hours(7 * 24),
            max_hops: 10_000,
            max_closed: 1_000,
        }
    }
}

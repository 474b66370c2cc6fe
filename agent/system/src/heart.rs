//! Whether a thread moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::monotonic_now;
use hopsight_core::model::Timestamp;

/// At rest: nothing is expected of the thread.
const REST: u64 = 0;

/// Beats whenever a thread moves; whoever has a clone can tell for how long it has not.
///
/// A thread that waits for work rests, and so does one that has not begun.
#[derive(Clone, Debug, Default)]
pub struct Heart(Arc<AtomicU64>);

impl Heart {
    /// The thread moves, and is busy from here on.
    pub fn beat(&self) {
        self.beat_at(monotonic_now());
    }

    /// It did at this moment.
    pub fn beat_at(&self, now: Timestamp) {
        self.0.store(now.0.max(1), Ordering::Relaxed);
    }

    /// The thread has nothing to do, and may be silent for as long as it likes.
    pub fn rest(&self) {
        self.0.store(REST, Ordering::Relaxed);
    }

    /// How long it has been busy without a beat; zero at rest.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            REST => Duration::ZERO,
            last => monotonic_now().since(Timestamp(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_busy_can_be_silent() {
        let heart = Heart::default();
        assert_eq!(heart.silent_for(), Duration::ZERO, "not begun");
        heart.beat();
        let before = heart.silent_for();
        while heart.silent_for() <= before {
            std::hint::spin_loop();
        }
        heart.rest();
        assert_eq!(heart.silent_for(), Duration::ZERO, "at rest");
    }
}

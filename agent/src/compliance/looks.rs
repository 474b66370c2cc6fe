//! When the files of a proxy are looked at.

use std::time::{Duration, Instant};

use super::look::Look;
use hopsight_system::readers::Answer;

/// So many times as long as a look took nobody looks again, unless a worker has started.
const PACE: u32 = 10;

/// Number of a look at an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookNumber(pub(super) u64);

/// The looks at an instance, one at a time.
#[derive(Debug)]
pub(super) struct Looks {
    /// The one that is being taken.
    pub(super) taken: Option<Answer<anyhow::Result<Look>>>,
    /// The newest that was begun, and whether another is wanted after it.
    pub(super) begun: LookNumber,
    pub(super) wanted: bool,
    /// The newest that is over.
    pub(super) over: LookNumber,
    pub(super) began_at: Instant,
    ended_at: Instant,
    /// How long the last one took to those who read.
    took: Duration,
}

impl Looks {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            taken: None,
            begun: LookNumber::default(),
            wanted: false,
            over: LookNumber::default(),
            began_at: now,
            ended_at: now,
            took: Duration::ZERO,
        }
    }

    /// Whether enough time has passed for another one that nobody waits for, `pause` at least.
    pub(super) fn is_due(&self, pause: Duration) -> bool {
        self.taken.is_none() && self.ended_at.elapsed() >= pause.max(self.took * PACE)
    }

    /// The one that was being taken is over. It took so long without the wait until somebody asked;
    /// `None` where nobody says.
    pub(super) fn end(&mut self, took: Option<Duration>) {
        self.taken = None;
        self.over = self.begun;
        self.ended_at = Instant::now();
        self.took = took.unwrap_or_else(|| self.began_at.elapsed());
    }
}

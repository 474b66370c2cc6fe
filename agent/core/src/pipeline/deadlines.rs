//! What has to be over by a certain time.

use std::{collections::VecDeque, time::Duration};

use crate::model::{ConnectionId, Timestamp};

/// Connections with the time by which something of theirs is given up. All have the same delay, so
/// that they come due in the order in which they were set.
#[derive(Debug)]
pub struct Deadlines {
    delay: Duration,
    queue: VecDeque<(Timestamp, ConnectionId)>,
}

impl Deadlines {
    /// Deadlines `delay` after they are set; [`Duration::MAX`]: none.
    pub const fn after(delay: Duration) -> Self {
        Self { delay, queue: VecDeque::new() }
    }

    /// Sets the deadline of a connection, at `at`.
    pub fn set(&mut self, at: Timestamp, id: ConnectionId) {
        if self.delay != Duration::MAX {
            self.queue.push_back((Timestamp(at.0.saturating_add(nanoseconds(self.delay))), id));
        }
    }

    /// Takes out a connection whose deadline has passed.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<ConnectionId> {
        self.queue.pop_front_if(|(deadline, _)| *deadline <= now).map(|(_, id)| id)
    }

    /// When the next one is over, if any is set.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.front().map(|(deadline, _)| *deadline)
    }
}

/// A duration in nanoseconds, as far as they go.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

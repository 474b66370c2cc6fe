//! Reports on their way to be recorded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hopsight_core::{model::ConnectionId, report::ConnectionReport};
use hopsight_export::metrics::arrivals::Arrival;
use hopsight_system::foreign::Lane;

/// Longest that a report waits for what is read of its process.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most reports that may wait for that, and of them most on the processes of one user.
const MAX_WAITING: usize = 16_384;
const MAX_OF_ONE: usize = 8_192;

/// A report on its way.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) report: Box<ConnectionReport>,
    /// When the connection was opened.
    pub(super) opened_at: Instant,
    /// When the report came.
    pub(super) arrival: Arrival,
}

impl Submitted {
    /// Whether it may still wait.
    pub(super) fn may_wait(&self) -> bool {
        self.arrival.age() < PATIENCE
    }
}

/// The reports on processes of which something is being read, in their order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    reports: Vec<(Submitted, Lane)>,
    /// How many of each user.
    of: HashMap<Lane, usize>,
}

impl Waiting {
    /// Whether none waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Whether there is room for one more on a process of this user.
    pub(super) fn has_room(&self, of: Lane) -> bool {
        self.reports.len() < MAX_WAITING
            && self.of.get(&of).is_none_or(|&waiting| waiting < MAX_OF_ONE)
    }

    /// Lets one wait.
    pub(super) fn push(&mut self, submitted: Submitted, of: Lane) {
        *self.of.entry(of).or_default() += 1;
        self.reports.push((submitted, of));
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<Submitted> {
        self.of.clear();
        std::mem::take(&mut self.reports).into_iter().map(|(submitted, _)| submitted).collect()
    }

    /// Drops what waits of a connection of which the last word goes on at once: nothing is said of a
    /// connection after that.
    pub(super) fn supersede(&mut self, connection: ConnectionId) {
        self.reports.retain(|(submitted, of)| {
            let is_kept = submitted.report.connection != connection;
            if !is_kept && let Some(waiting) = self.of.get_mut(of) {
                *waiting -= 1;
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::model::Security;
    use hopsight_export::metrics::arrivals::Arrivals;
    use hopsight_posture::hops::testing::report;

    fn submitted(arrivals: &Arrivals) -> Submitted {
        Submitted {
            report: Box::new(report(1, Security::Plaintext)),
            opened_at: Instant::now(),
            arrival: arrivals.enter(),
        }
    }

    #[test]
    fn nobody_fills_the_room_of_others() {
        let (arrivals, mut waiting) = (Arrivals::default(), Waiting::default());
        let (stranger, nginx) = (Lane::User(1_000), Lane::User(0));
        let mut count = 0;
        while waiting.has_room(stranger) {
            waiting.push(submitted(&arrivals), stranger);
            count += 1;
        }
        assert_eq!(count, MAX_OF_ONE);
        assert!(waiting.has_room(nginx));
        assert_eq!(waiting.take().len(), MAX_OF_ONE);
        assert!(waiting.is_empty() && waiting.has_room(stranger));
    }

    #[test]
    fn what_was_said_before_the_last_word_is_dropped() {
        let (arrivals, mut waiting) = (Arrivals::default(), Waiting::default());
        let nginx = Lane::User(0);
        let numbered = |number: u64| {
            let mut submitted = submitted(&arrivals);
            submitted.report.connection = ConnectionId(number);
            submitted
        };
        for number in [1, 2, 1] {
            waiting.push(numbered(number), nginx);
        }
        waiting.supersede(ConnectionId(1));
        assert_eq!(waiting.of[&nginx], 1);
        let left: Vec<_> = waiting.take().iter().map(|one| one.report.connection).collect();
        assert_eq!(left, [ConnectionId(2)]);
    }
}

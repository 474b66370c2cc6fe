//! What the log says of watched processes.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tracing::{debug, info};

use super::status::LibraryEvidence;

/// For how long what was said is not said again.
const SAID_FOR: Duration = Duration::from_mins(10);

/// Most lines in that time: processes of a proxy's name may come and go all day, each with a file of
/// its own.
const MOST: usize = 64;

/// What was said lately.
pub struct Told {
    since: Instant,
    /// Names with what was said of one process of each.
    said: HashSet<(String, String)>,
    /// Processes of which nothing was said.
    untold: u64,
}

impl Default for Told {
    fn default() -> Self {
        Self { since: Instant::now(), said: HashSet::new(), untold: 0 }
    }
}

impl Told {
    /// Says what evidence a process gives, unless the like was said of another one of its name.
    pub fn tell(&mut self, pid: u32, name: &str, evidence: &LibraryEvidence) {
        if self.admit(name, &likeness(evidence)) {
            info!(pid, name, %evidence, "evidence of a watched process");
        } else {
            debug!(pid, name, %evidence, "evidence of a watched process");
        }
    }

    /// Says of how many processes nothing was said, from time to time.
    pub fn sum_up(&mut self, now: Instant) {
        if now.duration_since(self.since) < SAID_FOR {
            return;
        }
        if self.untold > 0 {
            info!(processes = self.untold, "evidence of further watched processes, as said before");
        }
        *self = Self { since: now, ..Self::default() };
    }

    fn admit(&mut self, name: &str, what: &str) -> bool {
        let admitted =
            self.said.len() < MOST && self.said.insert((name.to_owned(), what.to_owned()));
        self.untold += u64::from(!admitted);
        admitted
    }
}

/// What is the same of processes that are alike: details may name the process.
fn likeness(evidence: &LibraryEvidence) -> String {
    match evidence {
        LibraryEvidence::Library(_) => evidence.to_string(),
        LibraryEvidence::Inferred { reason, .. } => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_counted_and_not_said_again() {
        let mut told = Told::default();
        let said =
            [("nginx", "gone"), ("nginx", "gone"), ("nginx", "static_tls"), ("envoy", "gone")]
                .map(|(name, what)| told.admit(name, what));
        assert_eq!(said, [true, false, true, true]);
        let lines = (0..1_000).filter(|number| told.admit("nginx", &number.to_string())).count();
        assert_eq!((lines, told.untold), (MOST - 3, 1 + 1_000 - lines as u64));
        told.sum_up(told.since + SAID_FOR / 2);
        assert!(told.untold > 0);
        told.sum_up(told.since + SAID_FOR);
        assert_eq!(told.untold, 0);
        assert!(told.admit("nginx", "gone"), "after a while it is said again");
    }
}

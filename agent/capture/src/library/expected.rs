//! Processes that began just now, and when to look at each.
//!
//! A program is looked into as soon as it runs, so that its first handshake is seen: a session that
//! began before has no certificates for as long as the proxy goes on with it. Its libraries are mapped
//! by the dynamic loader, some milliseconds later.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// When a process is looked at, from when it is known to have begun.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(200),
];

/// Most processes that are waited for. Others are looked at at their first connection.
const MOST: usize = 64;

struct Expected {
    pid: u32,
    name: String,
    began: Instant,
    looks: usize,
}

/// Processes that began just now.
#[derive(Default)]
pub struct Expectations(VecDeque<Expected>);

impl Expectations {
    /// This process began now.
    pub fn expect(&mut self, pid: u32, name: String, began: Instant) {
        self.0.retain(|expected| expected.pid != pid);
        if self.0.len() < MOST {
            self.0.push_back(Expected { pid, name, began, looks: 0 });
        }
    }

    /// When the next is to be looked at.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(Expected::due).min()
    }

    /// A process that is to be looked at by now. It comes again later, unless it is [`Self::forget`].
    pub fn take_due(&mut self, now: Instant) -> Option<(u32, String)> {
        let at = self.0.iter().position(|expected| expected.due() <= now)?;
        let mut expected = self.0.remove(at)?;
        let due = (expected.pid, expected.name.clone());
        // Where the last look took long, those that were due meanwhile are one.
        while expected.looks < LOOKS.len() && expected.due() <= now {
            expected.looks += 1;
        }
        if expected.looks < LOOKS.len() {
            self.0.push_back(expected);
        }
        Some(due)
    }

    /// This process needs no further look.
    pub fn forget(&mut self, pid: u32) {
        self.0.retain(|expected| expected.pid != pid);
    }
}

impl Expected {
    fn due(&self) -> Instant {
        self.began + LOOKS[self.looks.min(LOOKS.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_process_is_looked_at_a_few_times() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut expectations = Expectations::default();
        expectations.expect(1, "one".into(), start);
        expectations.expect(2, "two".into(), at(5));
        let mut seen = Vec::new();
        for now in [0, 2, 7, 15, 39, 40, 300] {
            while let Some((pid, _)) = expectations.take_due(at(now)) {
                seen.push((now, pid));
                if (now, pid) == (15, 2) {
                    expectations.forget(2);
                }
            }
        }
        assert_eq!(seen, [(2, 1), (7, 2), (15, 1), (15, 2), (40, 1), (300, 1)]);
        assert_eq!(expectations.next(), None);
    }

    #[test]
    fn no_more_than_a_few_are_waited_for() {
        let mut expectations = Expectations::default();
        (0..1_000).for_each(|pid| expectations.expect(pid, String::new(), Instant::now()));
        assert_eq!(expectations.0.len(), MOST);
    }
}

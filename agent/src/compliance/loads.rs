//! Whether a worker of nginx or Apache was started because its files were loaded.
//!
//! A master starts workers for two reasons: it has loaded its files, or a worker has died, which it
//! replaces by one with the configuration that it loaded long ago. Both look the same but for this: a
//! master that loads its files reads them, and otherwise it reads nothing. The kernel counts what it
//! has read. What was read is loaded once: Apache starts more workers in the seconds after a load,
//! and they run what the first ones do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use hopsight_system::process::ticks_of;

/// How long a master may take from the last byte that it has read until its workers begin.
const FROM_READING: Duration = Duration::from_secs(5);
/// So many times at which a master had read are remembered, the newest.
const MAX_READINGS: usize = 4;

/// What was seen of a master at all looks so far. Times are clock ticks after boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loads {
    /// Start of the newest worker.
    newest: u64,
    /// Start of the newest one that was started because the files were loaded.
    loaded: u64,
    /// How many bytes the master had read; `None` where nobody says.
    read: Option<u64>,
    /// When that was looked at.
    looked_at: u64,
    /// Between which looks it has read, and no worker is known to have been started by that.
    readings: Vec<(u64, u64)>,
}

/// Why the newest worker was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Began {
    /// It is the one that was known.
    Before,
    /// Files were loaded.
    ByLoad,
    /// Another one had died: nothing was loaded.
    Again,
    /// Nobody knows.
    Unknown,
}

impl Loads {
    /// After the first look, at `now`: what workers run that are there is taken for loaded.
    pub(super) fn first(newest: u64, read: Option<u64>, now: u64) -> Self {
        Self { newest, loaded: newest, read, looked_at: now, readings: Vec::new() }
    }

    /// The master was looked at, at `now`, and has read so many bytes.
    pub(super) fn note_read(&mut self, read: Option<u64>, now: u64) {
        if read.zip(self.read).is_some_and(|(now, before)| now > before) {
            self.readings.truncate(MAX_READINGS - 1);
            self.readings.insert(0, (self.looked_at, now));
        }
        (self.read, self.looked_at) = (read, now);
    }

    /// So were its workers, when it had read no more than that: the newest began at `newest`.
    pub(super) fn note_newest(&mut self, newest: u64) -> Began {
        if newest <= self.newest {
            return Began::Before;
        }
        self.newest = newest;
        let from = newest.saturating_sub(ticks_of(FROM_READING));
        let was_then = |(since, until): &(u64, u64)| *since <= newest && *until >= from;
        if self.read.is_none() {
            self.loaded = newest;
            Began::Unknown
        } else if self.readings.iter().any(was_then) {
            self.loaded = newest;
            self.readings.clear();
            Began::ByLoad
        } else {
            Began::Again
        }
    }

    /// Start of the worker that was started when the files were last loaded.
    pub(super) const fn loaded(&self) -> u64 {
        self.loaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to a master, in order.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// It reads its files.
        Reads,
        /// It starts a worker.
        Starts,
        /// So many seconds pass.
        Passes(u64),
        /// It is looked at, and its workers perhaps.
        Look,
        LookAtWorkers(Began),
        /// The kernel does not say any more what it has read.
        Unsaid,
    }

    #[test]
    fn only_what_was_read_is_loaded() {
        use Began::{Again, Before, ByLoad, Unknown};
        use Step::{Look, LookAtWorkers, Passes, Reads, Starts, Unsaid};
        for (case, steps) in [
            ("nothing happens", &[Passes(9), LookAtWorkers(Before)][..]),
            ("a reload", &[Passes(9), Look, Reads, Starts, Passes(1), LookAtWorkers(ByLoad)]),
            (
                "read, and looked at before it started",
                &[Passes(9), Look, Reads, Look, Passes(2), Starts, Look, LookAtWorkers(ByLoad)],
            ),
            (
                "nobody looked at the workers for long",
                &[Passes(9), Look, Reads, Starts, Look, Passes(99), Look, LookAtWorkers(ByLoad)],
            ),
            ("a worker died", &[Passes(9), Look, Starts, Passes(1), LookAtWorkers(Again)]),
            (
                "refused, then a worker died",
                &[Passes(9), Look, Reads, Look, Passes(9), Look, Starts, LookAtWorkers(Again)],
            ),
            (
                "a worker died, then refused",
                &[
                    Passes(9),
                    Starts,
                    Passes(1),
                    Look,
                    Passes(9),
                    Look,
                    Reads,
                    Look,
                    LookAtWorkers(Again),
                ],
            ),
            (
                "a worker died, then a reload",
                &[
                    Passes(9),
                    Look,
                    Starts,
                    LookAtWorkers(Again),
                    Passes(9),
                    Look,
                    Reads,
                    Starts,
                    Look,
                    LookAtWorkers(ByLoad),
                ],
            ),
            (
                "spare ones after a reload",
                &[Look, Reads, Starts, LookAtWorkers(ByLoad), Starts, LookAtWorkers(Again)],
            ),
            (
                "a worker died, then nothing",
                &[Passes(9), Look, Starts, LookAtWorkers(Again), Passes(9), LookAtWorkers(Before)],
            ),
            ("nobody says", &[Unsaid, Passes(9), Starts, LookAtWorkers(Unknown)]),
        ] {
            let second = ticks_of(Duration::from_secs(1));
            let (mut now, mut read, mut newest) = (1_000, Some(50), 900);
            let mut loads = Loads::first(newest, read, now);
            for step in steps {
                now += 1;
                match *step {
                    Reads => read = read.map(|read| read + 400),
                    Starts => newest = now,
                    Passes(seconds) => now += seconds * second,
                    Look => loads.note_read(read, now),
                    Unsaid => read = None,
                    LookAtWorkers(expected) => {
                        loads.note_read(read, now);
                        let loaded = loads.loaded();
                        assert_eq!(loads.note_newest(newest), expected, "{case}");
                        let is_newer = matches!(expected, ByLoad | Unknown);
                        assert_eq!(
                            loads.loaded() == newest,
                            is_newer || loaded == newest,
                            "{case}"
                        );
                    }
                }
            }
            assert!(loads.readings.len() <= MAX_READINGS);
        }
    }
}

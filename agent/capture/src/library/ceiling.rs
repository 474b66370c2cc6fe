//! Probes that are hit for nothing.
//!
//! A place that was chosen rightly shows what it was chosen for at every hit, however many handshakes,
//! refusals or tickets somebody makes: that costs less than what the library does itself. One that was
//! not may lie on the way of every byte, and a program may ask at every request of its own clients. The
//! kernel programs count such hits per process and [`Part`], and the agent takes the probes out of the
//! file in question: they would cost the proxy time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
};
use hopsight_abi::Part;

use crate::loader;

/// Misfires per second that cost nobody anything, about a thousandth of a processor.
const HARMLESS_PER_SECOND: u64 = 1_000;
/// Time over which they are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// A part of a process's files that misfires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfiring {
    /// The process.
    pub pid: u32,
    /// Of its files those that have such places.
    pub part: Part,
    /// Misfires since the last look.
    pub misfires: u64,
}

/// Watches how often probes are hit for nothing.
pub struct Ceiling {
    counts: Option<BpfHashMap<MapData, u64, u64>>,
    since: Instant,
    before: HashMap<u64, u64>,
}

impl Ceiling {
    /// Takes the counts of the kernel programs.
    pub fn new(ebpf: &mut Ebpf) -> Self {
        let counts = loader::take_map(ebpf, "MISFIRES").ok();
        Self { counts, since: Instant::now(), before: HashMap::new() }
    }

    /// What misfired too often since the last look.
    pub fn exceeded(&mut self) -> Vec<Misfiring> {
        let passed = self.since.elapsed();
        if passed < WINDOW {
            return Vec::new();
        }
        self.since = Instant::now();
        let counts = self.counts.iter().flat_map(|counts| counts.iter().filter_map(Result::ok));
        let now: HashMap<u64, u64> = counts.collect();
        let exceeded = exceeded(&self.before, &now, passed);
        self.before = now;
        exceeded
    }
}

/// What has grown too fast between two looks at the counts by [`Part::key`]. A count that has become
/// less began anew.
fn exceeded(
    before: &HashMap<u64, u64>,
    now: &HashMap<u64, u64>,
    passed: Duration,
) -> Vec<Misfiring> {
    let harmless = HARMLESS_PER_SECOND.saturating_mul(passed.as_secs().max(1));
    let mut exceeded = Vec::new();
    for (&key, &count) in now {
        let known = before.get(&key).copied().filter(|known| *known <= count).unwrap_or_default();
        let misfires = count - known;
        if misfires > harmless
            && let Some((pid, part)) = Part::of_key(key)
        {
            exceeded.push(Misfiring { pid, part, misfires });
        }
    }
    exceeded
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_abi::Stack;

    #[test]
    fn only_many_misfires_are_too_much() {
        let part = Part::Library(Stack::Go);
        for (name, before, now, seconds, expected) in [
            ("none", None, None, 5, None),
            ("few", None, Some(4_000), 5, None),
            ("every record", None, Some(1_000_000), 5, Some(1_000_000)),
            ("long ago", Some(1_000_000), Some(1_000_100), 5, None),
            ("again", Some(1_000_000), Some(1_006_000), 5, Some(6_000)),
            ("counted anew", Some(1_000_000), Some(6_000), 5, Some(6_000)),
        ] {
            let counts = |count: Option<u64>| count.map(|count| (part.key(7), count));
            let [before, now] = [before, now].map(|count| counts(count).into_iter().collect());
            let found = exceeded(&before, &now, Duration::from_secs(seconds));
            let expected = expected.map(|misfires| Misfiring { pid: 7, part, misfires });
            assert_eq!(found, Vec::from_iter(expected), "{name}");
        }
    }
}

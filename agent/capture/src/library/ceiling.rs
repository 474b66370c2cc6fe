//! Probes that are hit far more often than handshakes happen.
//!
//! A place that was chosen rightly is hit some ten times for each handshake. One that is not may
//! lie on the way of every byte: its probes are taken out, for they would cost the proxy time.

use std::time::{Duration, Instant};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use hopsight_abi::{Stack, StackCount};

use crate::loader;

/// Hits per handshake that nothing explains: four times as many as the longest handshake shows.
const PER_HANDSHAKE: u64 = 100;
/// Hits per second that cost nobody anything, about a thousandth of a processor.
const HARMLESS_PER_SECOND: u64 = 1_000;
/// Time over which hits are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Hits and handshakes of one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hits of its probes.
    pub hits: u64,
    /// Handshakes that began.
    pub hellos: u64,
}

/// Watches how often probes are hit.
pub struct Ceiling {
    counts: Option<PerCpuArray<MapData, u64>>,
    since: Instant,
    before: [Counts; Stack::ALL.len()],
}

impl Ceiling {
    /// Takes the counts of the kernel programs.
    pub fn new(ebpf: &mut Ebpf) -> Self {
        let counts = loader::take_map(ebpf, "STACK_COUNTS").ok();
        Self { counts, since: Instant::now(), before: Default::default() }
    }

    /// The stacks whose probes were hit too often since the last look, with what was counted.
    pub fn exceeded(&mut self) -> Vec<(Stack, Counts)> {
        let passed = self.since.elapsed();
        if passed < WINDOW {
            return Vec::new();
        }
        self.since = Instant::now();
        let mut exceeded = Vec::new();
        for (stack, before) in Stack::ALL.into_iter().zip(&mut self.before) {
            let read = |count| read(self.counts.as_ref(), stack, count);
            let now = Counts { hits: read(StackCount::Hit), hellos: read(StackCount::Hello) };
            let new = Counts {
                hits: now.hits.saturating_sub(before.hits),
                hellos: now.hellos.saturating_sub(before.hellos),
            };
            *before = now;
            if is_exceeded(new, passed) {
                exceeded.push((stack, new));
            }
        }
        exceeded
    }
}

fn read(counts: Option<&PerCpuArray<MapData, u64>>, stack: Stack, count: StackCount) -> u64 {
    let values = counts.and_then(|counts| counts.get(&stack.index(count), 0).ok());
    values.map_or(0, |values| values.iter().sum())
}

fn is_exceeded(counts: Counts, passed: Duration) -> bool {
    let harmless = HARMLESS_PER_SECOND.saturating_mul(passed.as_secs().max(1));
    counts.hits > harmless.saturating_add(PER_HANDSHAKE.saturating_mul(counts.hellos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_handshakes_explain_is_too_much() {
        for (name, hits, hellos, seconds, expected) in [
            ("nothing", 0, 0, 5, false),
            ("a busy proxy", 60_000, 5_000, 5, false),
            ("tickets of idle connections", 4_000, 0, 5, false),
            ("every record", 1_000_000, 5_000, 5, true),
            ("not TLS at all", 6_000, 0, 5, true),
        ] {
            let exceeded = is_exceeded(Counts { hits, hellos }, Duration::from_secs(seconds));
            assert_eq!(exceeded, expected, "{name}");
        }
    }
}

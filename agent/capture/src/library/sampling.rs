//! When the probes are in place.

use std::time::{Duration, Instant};

/// How much of the time handshakes are seen from inside the library. What pauses is detached: a
/// probe that is in place costs its hit even where the program does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// Always.
    #[default]
    Always,
    /// For `window` at the beginning of every `every`; TLS 1.3 hops are inferred in between. Both
    /// are kept to the precision of the scans for processes.
    Interval {
        /// Time with probes.
        window: Duration,
        /// Time from one window to the next.
        every: Duration,
    },
}

impl Sampling {
    /// Whether probes are wanted this long after the start.
    #[must_use]
    pub fn wants(self, since_start: Duration) -> bool {
        match self {
            Self::Always => true,
            Self::Interval { window, every } => {
                let period = every.as_nanos().max(1);
                since_start.as_nanos() % period < window.as_nanos()
            }
        }
    }
}

/// A sampling mode at work.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    sampling: Sampling,
    started: Instant,
}

impl Schedule {
    /// Starts with a window.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, started: Instant::now() }
    }

    /// Whether probes are to be in place now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.sampling.wants(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_repeat() {
        let seconds = Duration::from_secs;
        let interval = Sampling::Interval { window: seconds(10), every: seconds(60) };
        for (at, expected) in
            [(0, true), (9, true), (10, false), (59, false), (60, true), (70, false)]
        {
            assert_eq!(interval.wants(seconds(at)), expected, "{at} s");
            assert!(Sampling::Always.wants(seconds(at)));
        }
        let nothing = Sampling::Interval { window: seconds(0), every: seconds(0) };
        assert!(!nothing.wants(seconds(1)));
    }
}

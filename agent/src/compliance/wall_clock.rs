//! The wall clock, and when it is set.

use std::time::{Duration, Instant, SystemTime};

use hopsight_posture::policy::time::{Step, UnixTime};

/// From here on a difference between the clocks is a step; time daemons slew what is smaller, at
/// half a millisecond per second at most (adjtimex(2)).
const SMALLEST_STEP: Duration = Duration::from_secs(1);

/// Reads the wall clock and compares what passed on it with what passed on the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    wall: UnixTime,
    monotonic: Instant,
}

impl WallClock {
    pub(super) fn new() -> Self {
        Self { wall: SystemTime::now().into(), monotonic: Instant::now() }
    }

    /// Now, and the step since the last look.
    pub(super) fn read(&mut self) -> (UnixTime, Option<Step>) {
        let now = SystemTime::now().into();
        (now, self.advance(now, Instant::now()))
    }

    fn advance(&mut self, wall: UnixTime, monotonic: Instant) -> Option<Step> {
        let expected = self.wall + monotonic.saturating_duration_since(self.monotonic);
        *self = Self { wall, monotonic };
        let step = if wall > expected {
            Step::Forward(wall.since(expected))
        } else {
            Step::Back(expected.since(wall))
        };
        let (Step::Forward(by) | Step::Back(by)) = step;
        (by >= SMALLEST_STEP).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_the_passing_of_time() {
        let day = Duration::from_hours(24);
        let second = Duration::from_secs(1);
        let mut wall = UnixTime::from_secs(1_800_000_000);
        let mut monotonic = Instant::now();
        let mut clock = WallClock { wall, monotonic };
        for (name, passed, set, want) in [
            ("time passes", second, None, None),
            ("much of it", day, None, None),
            ("slewed", second, Some(Step::Forward(Duration::from_micros(500))), None),
            ("set forward", second, Some(Step::Forward(day)), Some(Step::Forward(day))),
            ("goes on from there", second, None, None),
            ("set back", second, Some(Step::Back(day * 2)), Some(Step::Back(day * 2))),
            ("goes on from there again", second, None, None),
        ] {
            monotonic += passed;
            wall = match set {
                None => wall + passed,
                Some(Step::Forward(by)) => wall + passed + by,
                Some(Step::Back(by)) => wall + passed - by,
            };
            assert_eq!(clock.advance(wall, monotonic), want, "{name}");
        }
    }
}

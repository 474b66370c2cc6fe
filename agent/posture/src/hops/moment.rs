//! Moments on two clocks: the one that is shown and the one that ages are reckoned in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hopsight_core::model::Timestamp;

/// A moment on two clocks. The wall clock is set now and then; what is as old as a limit allows
/// must not depend on that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// By the wall clock, seconds since the Unix epoch: what is shown.
    pub unix_seconds: f64,
    /// By the monotonic clock: what ages are reckoned in.
    pub monotonic: Timestamp,
}

impl Moment {
    /// What the wall clock showed, or will show, at another moment of the monotonic one, unless it is
    /// set between the two: seconds since the Unix epoch.
    #[must_use]
    pub fn wall(self, at: Timestamp) -> f64 {
        if at <= self.monotonic {
            self.unix_seconds - self.monotonic.since(at).as_secs_f64()
        } else {
            self.unix_seconds + at.since(self.monotonic).as_secs_f64()
        }
    }
}

/// Seconds since the Unix epoch, to the microsecond; negative before it.
///
/// Of a time of our centuries so many digits are whole in a JSON number: what is kept in a file is
/// read as what it was.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 microseconds, the year 2255")]
    let seconds = |span: Duration| span.as_micros() as f64 / 1e6;
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::time::UnixTime;

    #[test]
    fn times_are_the_same_after_json() {
        let base = UNIX_EPOCH + Duration::from_secs(1_795_952_350);
        for micros in (0..1_000_000).step_by(997) {
            let time = base + Duration::from_micros(micros);
            for seconds in [unix_seconds(time), UnixTime::from(time).as_secs_f64()] {
                let json = serde_json::to_string(&seconds).expect("JSON");
                let back: f64 = serde_json::from_str(&json).expect("a number");
                assert_eq!(back.to_bits(), seconds.to_bits(), "{json}");
            }
        }
    }
}

//! Points in time that mean the same after a restart.

use std::{
    ops::{Add, Sub},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 00:00 UTC.
///
/// Drift is measured on this clock and not on [`hopsight_core::model::Timestamp`], because its age has to
/// outlive the agent and the machine's uptime.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This many whole seconds after 1970.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds after 1970.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds after 1970 with their fraction, for people and for JSON.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The time so many seconds after 1970, to the microsecond: what [`UnixTime::as_secs_f64`] gives
    /// of any time of our centuries comes back as it was. Before 1970 it is 1970.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e6).round() as u64)
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// By how much the wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To a later time.
    Forward(Duration),
    /// To an earlier time.
    Back(Duration),
}

impl Step {
    /// What a time that was read before the step is after it.
    pub(super) fn apply(self, time: &mut UnixTime) {
        *time = match self {
            Self::Forward(by) => *time + by,
            Self::Back(by) => *time - by,
        };
    }
}

impl From<SystemTime> for UnixTime {
    /// A time before 1970 becomes 1970.
    fn from(time: SystemTime) -> Self {
        Self::default() + time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    /// Saturates at 1970.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    /// Saturates at the end of the representable time, half a million years from now.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_a_fraction_come_back() {
        for micros in [0, 1, 999_999, 1_790_000_000_123_456, 1_790_000_000_999_999] {
            let time = UnixTime(micros);
            assert_eq!(UnixTime::from_secs_f64(time.as_secs_f64()), time);
        }
        assert_eq!(UnixTime::from_secs_f64(-1.0), UnixTime(0));
        assert_eq!(UnixTime::from_secs_f64(f64::NAN), UnixTime(0));
    }
}

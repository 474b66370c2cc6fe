//! The clocks of this machine.

use std::time::{Duration, SystemTime};

use hopsight_core::model::Timestamp;
use hopsight_posture::hops::moment::{Moment, unix_seconds};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The time on the clock of the kernel programs (`bpf_ktime_get_ns`).
#[must_use]
pub fn monotonic_now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp(seconds * 1_000_000_000 + nanoseconds)
}

/// One boot of the machine, and when it was by the wall clock as that is set now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// A random number of this boot (`/proc/sys/kernel/random/boot_id`); empty where it cannot be
    /// read.
    id: String,
    /// Seconds since the Unix epoch.
    at: f64,
}

impl Boot {
    /// This boot.
    #[must_use]
    pub fn this() -> Self {
        let id = super::kernel::read("/proc/sys/kernel/random/boot_id");
        let up = clock_gettime(ClockId::Boottime);
        let up = Duration::new(
            u64::try_from(up.tv_sec).unwrap_or_default(),
            u32::try_from(up.tv_nsec).unwrap_or_default(),
        );
        Self { id, at: unix_seconds(SystemTime::now()) - up.as_secs_f64() }
    }

    /// Whether processes of `other` may run on: it is the same boot.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        !self.id.is_empty() && self.id == other.id
    }

    /// By how many seconds the wall clock was set since it showed `earlier`; zero if that was another
    /// boot, of which nothing runs any more.
    #[must_use]
    pub fn set_since(&self, earlier: &Self) -> f64 {
        let by = self.at - earlier.at;
        let is_step = self.is(earlier) && by.abs() >= SMALLEST_STEP;
        if is_step { by } else { 0.0 }
    }
}

/// From here on, in seconds, a difference is a step: what is read from two clocks differs by how
/// long the reading takes.
const SMALLEST_STEP: f64 = 0.5;

/// This moment, on the wall clock and on the monotonic one.
#[must_use]
pub fn now() -> Moment {
    Moment { unix_seconds: unix_seconds(SystemTime::now()), monotonic: monotonic_now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_clock_is_told_within_one_boot() {
        let boot = |id: &str, at| Boot { id: id.to_owned(), at };
        for (name, now, by) in [
            ("as it was", boot("a", 100.0), 0.0),
            ("read a little later", boot("a", 100.2), 0.0),
            ("set forward", boot("a", 3_700.0), 3_600.0),
            ("set back", boot("a", -3_500.0), -3_600.0),
            ("another boot", boot("b", 3_700.0), 0.0),
        ] {
            let found = now.set_since(&boot("a", 100.0));
            assert!((found - by).abs() < 1e-6, "{name}: {found}");
        }
        assert!(boot("", 9.0).set_since(&boot("", 1.0)).abs() < 1e-6, "no id is no boot");
        let this = Boot::this();
        assert!(!this.id.is_empty() && this.at < unix_seconds(SystemTime::now()), "{this:?}");
        assert!(Boot::this().set_since(&this).abs() < 1e-6);
    }
}

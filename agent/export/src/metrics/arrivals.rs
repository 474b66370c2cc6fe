//! How long reports on connections wait until they are recorded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    catalogue::REPORT_WAITING,
    samples::{Collect, Samples},
};

/// When the reports came that are not recorded yet.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<Mutex<Numbered>>);

#[derive(Debug, Default)]
struct Numbered {
    next: u64,
    came: BTreeMap<u64, Instant>,
}

impl Arrivals {
    fn numbered(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report came, and is not recorded before what this returns is dropped.
    #[must_use]
    pub fn enter(&self) -> Arrival {
        let mut numbered = self.numbered();
        let (number, at) = (numbered.next, Instant::now());
        numbered.next += 1;
        numbered.came.insert(number, at);
        Arrival { at, number, among: self.clone() }
    }

    /// Age of the oldest report that is not recorded yet; zero where there is none.
    fn oldest(&self) -> Duration {
        self.numbered().came.first_key_value().map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }
}

impl Collect for Arrivals {
    fn collect(&self, samples: &mut Samples) {
        samples.set(REPORT_WAITING, [], self.oldest().as_secs_f64());
    }
}

/// One report that is not recorded yet.
#[derive(Debug)]
pub struct Arrival {
    at: Instant,
    number: u64,
    among: Arrivals,
}

impl Arrival {
    /// How long ago it came.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.among.numbered().came.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_not_recorded_is_told() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.oldest(), Duration::ZERO);
        let (first, second) = (arrivals.enter(), arrivals.enter());
        assert!(arrivals.oldest() <= first.age());
        drop(first);
        assert!(arrivals.oldest() <= second.age());
        drop(second);
        assert_eq!(arrivals.oldest(), Duration::ZERO);
    }
}

//! Requests one after the other from a few threads, each of them counted.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::topology::Hop;

/// What came of the requests.
#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicU64,
    failures: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Load {
    /// Requests answered as the hop's case says.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that were not, in words.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends requests through every hop, `threads` at a time each, while `work` runs.
    pub fn during<T>(&self, hops: &[&Hop], threads: usize, work: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            for hop in hops {
                for _ in 0..threads {
                    scope.spawn(|| self.send(hop));
                }
            }
            // Also when `work` panics, or the scope would never end.
            let _stop = Stop(&self.stop);
            work()
        })
    }

    fn send(&self, hop: &Hop) {
        while !self.stop.load(Ordering::Relaxed) {
            match hop.request_once() {
                Ok(()) => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

/// Stops the load when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

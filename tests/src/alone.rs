//! Tests that keep the machine busy.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds back the other tests of this binary that ask for it. An agent sees every nginx of the
/// machine: the load of one test would be counted, or lost, by the agent of another.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

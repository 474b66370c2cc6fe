//! Tests that drive proxies as fast as they go. A binary of its own, because an agent sees every
//! nginx of the machine, and cargo runs one binary at a time.

mod drift;
mod traffic;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// For the same reason one of these tests at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Waiting for a condition, always with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::interrupt;

/// Pause between checks of the condition.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns a value.
///
/// # Errors
/// When `probe` fails, `within` has passed or the user interrupts; `what` names the condition.
pub fn wait_until<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        interrupt::check()?;
        if let Some(value) = probe()? {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        thread::sleep(INTERVAL);
    }
}

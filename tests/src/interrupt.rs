//! Ctrl-C as an error, so that guards still run and nothing is left behind.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP no longer end the process; [`check`] reports them.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn install() -> anyhow::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("install signal handler")?;
    }
    Ok(())
}

/// Whether an interrupt has arrived since [`install`].
#[must_use]
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Waits for `time`, or until an interrupt.
pub fn sleep(time: Duration) {
    let deadline = Instant::now() + time;
    while !requested() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
}

/// # Errors
/// When an interrupt has arrived since [`install`].
pub fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!requested(), "interrupted");
    Ok(())
}

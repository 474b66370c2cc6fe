//! The end of the agent, which waits for nobody for long.

use std::{
    process,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// Time for the threads to finish what they have begun, and to save what is kept. A service manager
/// may wait a few seconds only before it kills.
const PATIENCE: Duration = Duration::from_secs(4);

/// A thread that ends the process when the others do not: one of them may be in the middle of a file
/// that somebody made slow, or write to a pipe that nobody reads. The kernel programs end with the
/// process all the same. Dropping this calls it off.
#[derive(Debug)]
pub struct Deadline(Sender<()>);

impl Deadline {
    /// Starts it, while there is a thread to be had.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> anyhow::Result<Self> {
        let (begin, beginning) = channel();
        thread::Builder::new()
            .name("deadline".to_owned())
            .spawn(move || {
                if is_missed(&beginning, PATIENCE) {
                    tracing::warn!(
                        "not every thread has ended within {} s: ending without them, and without \
                         what they had still to write",
                        PATIENCE.as_secs()
                    );
                    process::exit(1);
                }
            })
            .context("start the deadline thread")?;
        Ok(Self(begin))
    }

    /// The agent is to end: the time runs.
    pub fn begin(&self) {
        // The thread waits for this as long as `self` is there.
        let _ = self.0.send(());
    }
}

/// Waits until it begins, and then until it is called off; whether that takes too long.
fn is_missed(beginning: &Receiver<()>, patience: Duration) -> bool {
    beginning.recv().is_ok() && beginning.recv_timeout(patience) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_takes_too_long_is_missed() {
        let (begin, beginning) = channel();
        begin.send(()).unwrap();
        assert!(is_missed(&beginning, Duration::from_millis(1)), "begun, never over");
        drop(begin);
        assert!(!is_missed(&beginning, Duration::from_millis(1)), "called off before it began");
        let (begin, beginning) = channel();
        begin.send(()).unwrap();
        drop(begin);
        assert!(!is_missed(&beginning, PATIENCE), "over in time");
    }
}

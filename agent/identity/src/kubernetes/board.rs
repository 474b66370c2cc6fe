//! The state of all the watches, as one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::source_state::NameSourceState;

/// After this long without an error a watch counts as working again: the longest back-off, the
/// longest wait for a connection, and some.
const RECOVERED_AFTER: Duration = Duration::from_secs(90);

/// The state of one watch.
#[derive(Debug)]
struct Progress {
    what: &'static str,
    listed: bool,
    error: Option<(String, Instant)>,
    /// What is not known of it although it was listed.
    left_out: Option<String>,
}

/// The state of all of them.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Progress>>>);

impl Board {
    fn update(&self, what: &'static str, change: impl FnOnce(&mut Progress)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|one| one.what == what).unwrap_or_else(|| {
            all.push(Progress { what, listed: false, error: None, left_out: None });
            all.len() - 1
        });
        change(&mut all[at]);
    }

    /// This watch begins.
    pub fn starts(&self, what: &'static str) {
        self.update(what, |_| {});
    }

    /// This watch is over and no longer counts.
    pub fn forget(&self, what: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.what != what);
    }

    /// This watch has all its objects, and gets their changes.
    pub fn works(&self, what: &'static str) {
        self.update(what, |one| {
            one.listed = true;
            if one.error.take().is_some() {
                tracing::info!(what, "the Kubernetes API answers again");
            }
        });
    }

    /// This watch got an error.
    pub fn fails(&self, what: &'static str, error: String) {
        self.update(what, |one| {
            if one.error.as_ref().is_none_or(|(known, _)| *known != error) {
                tracing::warn!(what, "Kubernetes API: {error}");
            }
            one.error = Some((error, Instant::now()));
        });
    }

    /// What this watch cannot take of its objects, if anything.
    pub fn leaves_out(&self, what: &'static str, left_out: Option<String>) {
        self.update(what, |one| {
            if let Some(words) = left_out.as_ref().filter(|_| one.left_out.is_none()) {
                tracing::warn!(what, "Kubernetes API: {words}");
            }
            one.left_out = left_out;
        });
    }

    /// The state of the whole.
    pub fn state(&self, now: Instant) -> NameSourceState {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: Instant| now.saturating_duration_since(at) < RECOVERED_AFTER;
        let problems: Vec<_> = all
            .iter()
            .filter_map(|one| match &one.error {
                // A watch that never completed a listing has nothing to show, whatever it says now.
                Some((error, at)) if recent(*at) || !one.listed => {
                    Some(format!("{}: {error}", one.what))
                }
                _ => one.left_out.as_ref().map(|words| format!("{}: {words}", one.what)),
            })
            .collect();
        if !problems.is_empty() {
            return NameSourceState::Degraded(problems.join("; "));
        }
        if all.is_empty() || all.iter().any(|one| !one.listed) {
            return NameSourceState::Starting;
        }
        let kinds: Vec<_> = all.iter().map(|one| one.what).collect();
        NameSourceState::Ready(format!("watching {}", kinds.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_until_it_is_not() {
        let board = Board::default();
        board.starts("servers");
        board.works("servers");
        let ready = NameSourceState::Ready("watching servers".to_owned());
        assert_eq!(board.state(Instant::now()), ready);
        board.leaves_out("servers", Some("one cannot be read".to_owned()));
        let told = NameSourceState::Degraded("servers: one cannot be read".to_owned());
        assert_eq!(board.state(Instant::now()), told);
        board.leaves_out("servers", None);
        assert_eq!(board.state(Instant::now()), ready);
    }
}

//! Upstreams that were taken out of a configuration.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long workers of an older configuration may go on opening connections.
const RETIRE_AFTER: Duration = Duration::from_mins(1);

/// Labels of upstreams that a newer configuration no longer has, and since when.
#[derive(Debug, Default)]
pub(super) struct Retired(Vec<(Arc<str>, Instant)>);

impl Retired {
    /// A configuration with these labels was replaced by one with those.
    pub(super) fn replace(
        &mut self,
        before: &HashSet<Arc<str>>,
        labels: &HashSet<Arc<str>>,
        now: Instant,
    ) {
        self.0.retain(|(label, _)| !labels.contains(label));
        self.0.extend(before.difference(labels).map(|gone| (gone.clone(), now)));
    }

    /// The labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(label, _)| label)
    }

    /// Those that are gone for so long, and that workers which nobody has seen have had time to leave;
    /// each once.
    pub(super) fn take_over(&mut self, gone_for: Duration) -> Vec<Arc<str>> {
        let gone_for = gone_for.max(RETIRE_AFTER);
        let over = self.0.extract_if(.., |(_, since)| since.elapsed() >= gone_for);
        over.map(|(label, _)| label).collect()
    }
}

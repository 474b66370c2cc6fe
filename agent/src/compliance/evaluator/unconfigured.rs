//! Upstreams that a configuration no longer has.

use std::collections::BTreeSet;

use super::Evaluator;
use crate::compliance::users::HopKey;
use hopsight_posture::policy::{drift::DriftEvent, time::UnixTime};

/// Hops to upstreams that are gone from a configuration, and may still be used: by another proxy of
/// the same label, or by workers that go on with what was loaded before.
#[derive(Debug, Default)]
pub(super) struct Unconfigured(BTreeSet<HopKey>);

impl Unconfigured {
    /// Goes on with those that were kept.
    pub(super) fn new(kept: Vec<HopKey>) -> Self {
        Self(kept.into_iter().collect())
    }

    /// What outlives the agent.
    pub(super) fn keep(&self) -> Vec<HopKey> {
        self.0.iter().cloned().collect()
    }

    pub(super) fn add(&mut self, hop: HopKey) {
        self.0.insert(hop);
    }

    /// Those that are over, each once: no configuration has them, and nobody uses them. One that a
    /// configuration has is none of these any more.
    fn take_over(
        &mut self,
        is_configured: impl Fn(&HopKey) -> bool,
        is_unused: impl Fn(&HopKey) -> bool,
    ) -> Vec<HopKey> {
        self.0.retain(|hop| !is_configured(hop));
        self.0.extract_if(.., |hop| is_unused(hop)).collect()
    }
}

impl Evaluator {
    /// Forgets the hops to upstreams that no proxy of their label has in its configuration, once they
    /// were silent for as long as a treatment counts that nobody sees.
    pub(super) fn forget_unconfigured(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let Self { proxies, exporter, stands_for, unconfigured, .. } = self;
        let is_configured =
            |(proxy, upstream): &HopKey| proxies.configured(proxy, upstream).next().is_some();
        // After a restart the configuration of who has used it may not be known yet.
        let knows_users = |hop: &HopKey| proxies.knows_users(hop);
        let monotonic = hopsight_system::clock::now().monotonic;
        let is_silent = |(proxy, upstream): &HopKey| {
            exporter.hop(proxy, upstream).is_none_or(|hop| hop.is_silent(monotonic, *stands_for))
        };
        let is_unused = |hop: &HopKey| is_silent(hop) && knows_users(hop);
        let over = unconfigured.take_over(is_configured, is_unused);
        let mut events = Vec::new();
        for hop in &over {
            events.extend(self.forget(hop, now));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_forgotten_when_nobody_has_it_and_it_is_silent() {
        let hop = |upstream: &str| -> HopKey { ("nginx".into(), upstream.into()) };
        for (name, is_configured, is_silent, is_over, is_kept) in [
            ("nobody has it, and it is silent", false, true, true, false),
            ("old workers still use it", false, false, false, true),
            ("another proxy of the label has it", true, true, false, false),
        ] {
            let mut unconfigured = Unconfigured::default();
            unconfigured.add(hop("payments"));
            let over = unconfigured.take_over(|_| is_configured, |_| is_silent);
            assert_eq!(over, if is_over { vec![hop("payments")] } else { vec![] }, "{name}");
            let later = unconfigured.take_over(|_| false, |_| true);
            assert_eq!(!later.is_empty(), is_kept, "{name}: later");
        }
    }
}

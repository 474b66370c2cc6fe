//! Proxies that no longer run here: their pods moved to another node, or they were taken away, or
//! another process took their place whose upstreams are others.

use std::{collections::BTreeSet, time::Duration};

use super::Evaluator;
use crate::compliance::{proxies::Proxy, users::HopKey};
use hopsight_posture::policy::{
    drift::{Assessment, DriftEvent, OpenDrift},
    observation::Observation,
    time::UnixTime,
};
use hopsight_system::process::ProcessKey;

impl Evaluator {
    /// Ends the drift of proxies that no longer run here. After a start nobody knows for a while
    /// who does: a proxy is known by its connections.
    pub(super) fn give_up_gone(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        if !self.knows_all() {
            return Vec::new();
        }
        let running = self.proxies.running();
        let runs = |drift: &OpenDrift| {
            let key = (drift.proxy.clone(), drift.upstream.clone());
            running.contains(&drift.proxy)
                && self.offenders.get(&key).is_none_or(ProcessKey::is_running)
        };
        let gone = hops(self.tracker.open(), runs, self.stands_for, now);
        let open: BTreeSet<_> =
            self.tracker.open().map(|one| (&one.proxy, &one.upstream)).collect();
        self.offenders.retain(|(proxy, upstream), _| open.contains(&(proxy, upstream)));
        let gone = gone.into_iter();
        gone.flat_map(|(proxy, upstream)| self.tracker.give_up(&proxy, &upstream, now)).collect()
    }

    /// Remembers who opened an offending connection, if no configuration says what it will do.
    pub(super) fn note_offender(
        &mut self,
        hop: &HopKey,
        proxy: &Proxy,
        seen: &Observation<'_>,
        assessment: &Assessment,
    ) {
        if seen.configured_at.is_none() && assessment.violations().next().is_some() {
            self.offenders.insert(hop.clone(), proxy.key);
        }
    }
}

/// The hops with open drift whose proxy does not run and was silent for as long as a treatment counts
/// without being seen: what they violated is configured nowhere on this node any more, and nobody will
/// show that it is mended.
fn hops<'d>(
    open: impl Iterator<Item = &'d OpenDrift>,
    runs: impl Fn(&OpenDrift) -> bool,
    silent_for: Duration,
    now: UnixTime,
) -> BTreeSet<HopKey> {
    let mut gone = BTreeSet::new();
    let mut heard = BTreeSet::new();
    for drift in open {
        let key = (drift.proxy.clone(), drift.upstream.clone());
        let is_silent = now.since(drift.last_offending) >= silent_for;
        let hops = if is_silent && !runs(drift) { &mut gone } else { &mut heard };
        hops.insert(key);
    }
    &gone - &heard
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_posture::policy::drift::{Rule, Violation};

    #[test]
    fn only_who_does_not_run_and_was_silent_is_gone() {
        let at = UnixTime::from_secs;
        let open = |proxy: &str, upstream: &str, last: u64| OpenDrift {
            proxy: proxy.into(),
            upstream: upstream.into(),
            name: None,
            server: ([10, 0, 0, 1], 80).into(),
            rule: Rule::Plaintext,
            violation: Violation { detail: String::new(), place: None, certificate: None },
            since: at(0),
            detected_at: at(0),
            changed_at: None,
            last_offending: at(last),
            connections: 1,
            preexisting: false,
        };
        let drifts = [
            open("runs", "quiet", 0),
            open("moved", "quiet", 0),
            open("moved", "a moment ago", 9_000),
            // Of two drifts of a hop one is new.
            open("moved", "mixed", 0),
            open("moved", "mixed", 9_000),
        ];
        let runs = |drift: &OpenDrift| &*drift.proxy == "runs";
        let gone = hops(drifts.iter(), runs, Duration::from_hours(2), at(9_001));
        let want: BTreeSet<HopKey> = BTreeSet::from([("moved".into(), "quiet".into())]);
        assert_eq!(gone, want);
    }
}

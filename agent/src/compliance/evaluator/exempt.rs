//! Exemptions that no longer count, because they ended or are no longer in the policy file.

use std::collections::HashSet;

use super::{Evaluator, HopKey, policy_view};
use hopsight_posture::policy::{
    drift::{DriftEvent, OpenDrift},
    exempt::PolicyDocument,
    time::UnixTime,
};

impl Evaluator {
    /// Opens the drift of what was exempt until now, also where nobody uses the hop.
    pub(super) fn end_exemptions(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        policy_view::end_exemptions(&self.exporter, self.policies.in_force(), now);
        let (exporter, exemptions) = (&self.exporter, &self.policies.in_force().exemptions);
        let is_exempt = |drift: &OpenDrift| {
            let Some(hop) = exporter.hop(&drift.proxy, &drift.upstream) else { return true };
            // What stands for many has no name to look for.
            let subject = hop.subject_at(drift.server);
            subject.is_none_or(|hop| exemptions.find(&hop, drift.rule, now).is_some())
        };
        self.tracker.end_exemptions(now, is_exempt)
    }

    /// The policy file was another one `before`: where that asks for something else, what was exempt
    /// may be as it should be, which is known when it is seen.
    pub(super) fn reconsider(&mut self, before: &PolicyDocument) {
        let after = self.policies.in_force();
        let hops = self.exporter.snapshot().hops;
        let others = hops.iter().filter(|hop| policy_view::is_another(hop, before, after));
        let others: HashSet<HopKey> =
            others.map(|hop| (hop.proxy.clone(), hop.upstream.clone())).collect();
        let is_meant = |proxy: &_, upstream: &_| {
            others.contains(&(Clone::clone(proxy), Clone::clone(upstream)))
        };
        self.exporter.reconsider(|hop| is_meant(&hop.proxy, &hop.upstream));
        self.tracker.reconsider(|drift| is_meant(&drift.proxy, &drift.upstream));
        let exporter = &self.exporter;
        self.tracker.relax(|drift| {
            let hop = exporter.hop(&drift.proxy, &drift.upstream);
            hop.is_some_and(|hop| policy_view::asks_for_less(&hop, drift, before, after))
        });
        self.state.note_change();
    }
}

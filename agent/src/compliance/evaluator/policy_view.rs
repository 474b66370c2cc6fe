//! What the policy file means for the hops there are: which policies match something, and what is
//! exempt.

use std::collections::HashMap;

use crate::compliance::policy_file::PolicyFile;
use hopsight_export::{
    Exporter,
    metrics::policy::{ExemptHop, PolicyView},
};
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopContext},
        hop::Hop,
    },
    policy::{
        drift::{self, OpenDrift},
        exempt::PolicyDocument,
        time::UnixTime,
    },
};

/// What scrapes show.
pub(super) fn of(exporter: &Exporter, file: &PolicyFile) -> PolicyView {
    let in_force = file.in_force();
    let hops = exporter.snapshot().hops;
    let evaluated = || hops.iter().filter_map(|hop| Some((hop, hop.context.compliance.as_ref()?)));
    let mut matched: HashMap<&str, u64> = HashMap::new();
    for (_, compliance) in evaluated() {
        *matched.entry(&compliance.policy).or_default() += 1;
    }
    let own = in_force.policies.own().map(|policy| {
        let hops = matched.get(policy.name.as_str()).copied().unwrap_or_default();
        (policy.name.as_str().into(), hops)
    });
    let exempt = evaluated().filter_map(|(hop, compliance)| {
        let exemption = compliance.exemption.clone()?;
        Some(ExemptHop { proxy: hop.proxy.clone(), upstream: hop.upstream.clone(), exemption })
    });
    PolicyView {
        sha256: file.sha256(),
        matched: own.collect(),
        exemptions: in_force.exemptions.iter().cloned().collect(),
        exempt: exempt.collect(),
    }
}

/// Whether another policy applies to a hop, or one that asks for something else; of a hop that stands
/// for many nobody knows.
pub(super) fn is_another(hop: &Hop, before: &PolicyDocument, after: &PolicyDocument) -> bool {
    hop.is_overflow()
        || hop.subjects().any(|subject| {
            let [before, after] = [before, after].map(|all| all.policies.find(&subject));
            !before.says_the_same(after)
        })
}

/// Whether policy asks for less than `before` of what a drift is about.
pub(super) fn asks_for_less(
    hop: &Hop,
    drift: &OpenDrift,
    before: &PolicyDocument,
    after: &PolicyDocument,
) -> bool {
    hop.subject_at(drift.server).is_some_and(|subject| {
        let [before, after] = [before, after].map(|all| all.policies.find(&subject));
        drift::asks_for_less(drift.rule, before, after)
    })
}

/// Takes exemptions from the hops for which they no longer count, because they ended or are no
/// longer in the file: what was exempt is a violation.
pub(super) fn end_exemptions(exporter: &Exporter, in_force: &PolicyDocument, now: UnixTime) {
    let counts = |compliance: &HopCompliance| {
        compliance.exemption.as_ref().is_none_or(|exemption| {
            !exemption.has_ended(now)
                && in_force.exemptions.iter().any(|one| one.says_the_same(exemption))
        })
    };
    for hop in exporter.snapshot().hops {
        if hop.context.compliance.as_ref().is_none_or(counts) {
            continue;
        }
        exporter.describe(&hop.proxy, &hop.upstream, |known| {
            let compliance = known.compliance.clone();
            let compliance = compliance.map(|known| HopCompliance { exemption: None, ..known });
            HopContext { compliance, ..known.clone() }
        });
    }
}

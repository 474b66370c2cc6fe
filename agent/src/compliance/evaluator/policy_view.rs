//! What the policy file means for the hops there are: which policies match something, and what is
//! exempt.

use std::collections::HashMap;

use super::{HopKey, Newest};
use hopsight_core::policy::{drift::Compliance, exempt::PolicyDocument, time::UnixTime};
use hopsight_export::metrics::policy::{ExemptHop, PolicyView};

/// What scrapes show.
pub(super) fn of(hops: &HashMap<HopKey, Newest>, in_force: &PolicyDocument) -> PolicyView {
    let mut matched: HashMap<&str, u64> = HashMap::new();
    for newest in hops.values() {
        *matched.entry(&newest.policy).or_default() += 1;
    }
    let own = in_force.policies.own().map(|policy| {
        let hops = matched.get(policy.name.as_str()).copied().unwrap_or_default();
        (policy.name.as_str().into(), hops)
    });
    let exempt = hops.iter().filter_map(|((proxy, upstream), newest)| {
        let exemption = newest.exemption.clone()?;
        Some(ExemptHop { proxy: proxy.clone(), upstream: upstream.clone(), exemption })
    });
    PolicyView {
        matched: own.collect(),
        exemptions: in_force.exemptions.iter().cloned().collect(),
        exempt: exempt.collect(),
    }
}

/// Takes exemptions from the hops for which they no longer count, because they ended or are no
/// longer in the file: what was exempt is a violation. Returns these hops.
pub(super) fn end_exemptions(
    hops: &mut HashMap<HopKey, Newest>,
    in_force: &PolicyDocument,
    now: UnixTime,
) -> Vec<HopKey> {
    let mut ended = Vec::new();
    for (key, newest) in hops {
        let counts = newest.exemption.as_ref().is_none_or(|exemption| {
            !exemption.has_ended(now) && in_force.exemptions.iter().any(|one| one == exemption)
        });
        if !counts {
            newest.exemption = None;
            newest.compliance = Compliance::Violation;
            ended.push(key.clone());
        }
    }
    ended
}

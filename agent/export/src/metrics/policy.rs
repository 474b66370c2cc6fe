//! The policy file as metrics: which policies match something, and what is exempt.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::samples::Samples;
use crate::metrics::catalogue::{HOP_EXEMPT_UNTIL, POLICY_EXEMPTION_UNTIL, POLICY_MATCHED_HOPS};
use hopsight_core::tls::fingerprint::Fingerprint;
use hopsight_posture::{
    hops::labels::{OTHER, sanitised, workload_parts},
    policy::exempt::Exemption,
};

/// Policies with a series of their own; the hops of further ones are added up as [`OTHER`].
const MAX_POLICIES: usize = 1_000;

/// What scrapes show of the policy file.
#[derive(Clone, Debug, Default)]
pub struct PolicyView {
    /// Digest of the file; `None` where only the built-in policies apply.
    pub sha256: Option<Fingerprint>,
    /// Each of the operator's policies with the number of hops that it applies to.
    pub matched: Vec<(Arc<str>, u64)>,
    /// The exemptions, those that ended among them.
    pub exemptions: Vec<Arc<Exemption>>,
    /// The hops that are exempt now.
    pub exempt: Vec<ExemptHop>,
}

/// A hop that is not what its policy requires, and exempt.
#[derive(Clone, Debug)]
pub struct ExemptHop {
    /// `proxy` label.
    pub proxy: Arc<str>,
    /// `upstream` label.
    pub upstream: Arc<str>,
    /// Who answers for it, and until when.
    pub exemption: Arc<Exemption>,
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
pub(super) fn collect(view: &PolicyView, samples: &mut Samples) {
    // Different names may make the same label, and a series may be there only once.
    let mut matched: BTreeMap<Cow<'_, str>, u64> = BTreeMap::new();
    for (at, (policy, hops)) in view.matched.iter().enumerate() {
        let label = if at < MAX_POLICIES { sanitised(policy) } else { OTHER.into() };
        *matched.entry(label).or_default() += hops;
    }
    for (policy, hops) in matched {
        samples.count(POLICY_MATCHED_HOPS, [&policy], hops);
    }
    let mut until: BTreeMap<[Cow<'_, str>; 2], u64> = BTreeMap::new();
    for exemption in &view.exemptions {
        let labels = [sanitised(&exemption.name), sanitised(&exemption.owner)];
        let earliest = until.entry(labels).or_insert(exemption.until);
        *earliest = exemption.until.min(*earliest);
    }
    for ([name, owner], until) in until {
        samples.set(POLICY_EXEMPTION_UNTIL, [&*name, &*owner], until as f64);
    }
    for ExemptHop { proxy, upstream, exemption } in &view.exempt {
        let [namespace, workload] = workload_parts(proxy);
        let (name, owner) = (sanitised(&exemption.name), sanitised(&exemption.owner));
        let rules: BTreeSet<&str> = exemption.rules.iter().map(|rule| rule.as_str()).collect();
        for rule in rules {
            let values = [&**proxy, namespace, workload, upstream, rule, &name, &owner];
            samples.set(HOP_EXEMPT_UNTIL, values, exemption.until as f64);
        }
    }
}

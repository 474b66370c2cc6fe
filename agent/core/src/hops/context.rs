//! What is known of a hop beside its connections: its upstream's name, what the proxy's
//! configuration intends for it, who the proxy is, and whether the hop is as it should be.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    policy::{
        certificate::CertificateFinding,
        drift::{Compliance, OpenDrift, Rule},
        exempt::Exemption,
        intent::{Place, Scheme, Stated, UpstreamIntent},
    },
    workload::pod::ProxyIdentity,
};

/// Facts of a hop that do not come from its connections. Each is absent until it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HopContext {
    /// The upstream's name in the proxy's configuration; absent where no configuration was read,
    /// or several upstreams of it share the address.
    pub name: Option<Arc<str>>,
    /// What the configuration intends.
    pub intent: Option<IntentSummary>,
    /// When the configuration was loaded that the proxy runs with, seconds since the Unix epoch;
    /// absent where that is not known.
    #[serde(default)]
    pub loaded_at: Option<f64>,
    /// Whether the hop is as policy and configuration want it.
    pub compliance: Option<HopCompliance>,
    /// Name of the process that opened the newest connection, which policies may match as well as
    /// the proxy's name.
    #[serde(default)]
    pub process: Option<Arc<str>>,
    /// Container, pod and unit of that process; absent where it was gone before it could be looked
    /// at.
    pub proxy_identity: Option<Arc<ProxyIdentity>>,
    /// What is known of the client certificate that the configuration names; absent where it names
    /// none, or several upstreams share the address.
    pub configured_certificate: Option<Arc<CertificateFinding>>,
}

impl HopContext {
    /// Kubernetes namespace of the proxy, where it is known.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        Some(&*self.proxy_identity.as_ref()?.kubernetes.as_ref()?.namespace)
    }
}

/// What a configuration intends for one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentSummary {
    /// How the proxy is to speak to it.
    pub scheme: Scheme,
    /// Whether a client certificate is configured.
    pub client_certificate: Stated,
    /// Whether the upstream's certificate is to be checked.
    pub verify: Stated,
    /// Where the first route to it stands.
    pub place: Option<Place>,
}

impl IntentSummary {
    /// The summary of `intent`.
    #[must_use]
    pub fn of(intent: &UpstreamIntent) -> Self {
        Self {
            scheme: intent.scheme(),
            client_certificate: intent.client_certificate(),
            verify: intent.verify(),
            place: intent.routes.first().map(|route| route.at.clone()),
        }
    }
}

/// Whether a hop is as it should be. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopCompliance {
    /// In one word: `violation` while a drift is open, else what the newest connection says.
    pub status: Compliance,
    /// Name of the policy that applies.
    pub policy: Arc<str>,
    /// The open drifts.
    pub violations: Vec<HopViolation>,
    /// What the newest connection violates and need not meet for now, with who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemption: Option<Arc<Exemption>>,
}

/// One open drift of a hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopViolation {
    /// What is violated.
    pub rule: Rule,
    /// How, for people.
    pub detail: String,
    /// The line of the proxy's configuration to look at, if one is to blame.
    pub place: Option<Place>,
    /// Since when.
    pub since: f64,
}

impl HopCompliance {
    /// The compliance of a hop with these `open` drifts whose newest connection says `newest`.
    #[must_use]
    pub fn new<'a>(
        newest: Compliance,
        policy: Arc<str>,
        open: impl IntoIterator<Item = &'a OpenDrift>,
    ) -> Self {
        let violations: Vec<_> = open
            .into_iter()
            .map(|drift| HopViolation {
                rule: drift.rule,
                detail: drift.violation.detail.clone(),
                place: drift.violation.place.clone(),
                since: drift.since.as_secs_f64(),
            })
            .collect();
        let status = if violations.is_empty() { newest } else { Compliance::Violation };
        Self { status, policy, violations, exemption: None }
    }
}

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
        time::UnixTime,
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
    /// Others have a say in the hop beside the configuration that says this: proxies of the same label,
    /// or workers that go on with an older one. It rules out nothing then.
    #[serde(default)]
    pub is_shared: bool,
    /// When the configuration was loaded that the proxy runs with, seconds since the Unix epoch;
    /// absent where that is not known.
    #[serde(default)]
    pub loaded_at: Option<f64>,
    /// Since when the configuration has had a client certificate on every route, seconds since the
    /// Unix epoch; kept once that was so. Its removal is a drift, unless a policy of the operator
    /// says what the hop has to be.
    #[serde(default)]
    pub client_certificate_since: Option<f64>,
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
    /// Takes over from what was known before what does not follow from what is known now.
    pub(super) fn continue_from(&mut self, before: &Self, now: f64) {
        let has_certificate = |intent: &IntentSummary| intent.client_certificate == Stated::Yes;
        let since = || {
            // What several upstreams say together is no baseline for any of them.
            let named = self.intent.as_ref().filter(|_| self.name.is_some());
            let has_one = named.is_some_and(has_certificate);
            has_one.then(|| self.loaded_at.unwrap_or(now))
        };
        self.client_certificate_since =
            before.client_certificate_since.or(self.client_certificate_since).or_else(since);
        if let (Some(new), Some(known)) = (&mut self.compliance, &before.compliance) {
            new.status = known.status;
        }
    }

    /// Since when the configuration that a connection was opened with says what it says of this hop,
    /// where `intent` is that and `configured_at` its time of loading. One that says the same as the
    /// one before it makes that no younger, nor does a restart of the agent, which reads the time of
    /// the newest load.
    #[must_use]
    pub fn unchanged_since(
        &self,
        intent: Option<&IntentSummary>,
        configured_at: Option<UnixTime>,
    ) -> Option<UnixTime> {
        let known = self.intent.as_ref().zip(intent);
        match self.loaded_at.map(UnixTime::from_secs_f64) {
            Some(before) if known.is_some_and(|(known, new)| known.says_the_same(new)) => {
                configured_at.map(|at| at.min(before))
            }
            _ => configured_at,
        }
    }

    /// What the configuration intends that speaks for the hop, and since when it has been loaded, if there
    /// is one: nobody else has a say.
    pub(super) fn in_force(&self) -> Option<(&IntentSummary, f64)> {
        self.intent.as_ref().zip(self.loaded_at).filter(|_| !self.is_shared)
    }

    /// Whether a drift of it is open.
    #[must_use]
    pub fn has_open_drift(&self) -> bool {
        self.compliance.as_ref().is_some_and(|compliance| !compliance.violations.is_empty())
    }

    /// The wall clock was set by so many seconds since the times of loading were read.
    pub(super) fn set_times_of_loading(&mut self, set_by: f64) {
        for at in [&mut self.loaded_at, &mut self.client_certificate_since] {
            *at = at.map(|at| at + set_by);
        }
    }

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
    /// Whether the other says the same, wherever it stands.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let says = |one: &Self| (one.scheme, one.client_certificate, one.verify);
        says(self) == says(other)
    }

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
    /// In one word: `violation` while a drift is open, else the worst that the treatments in use
    /// say; `unknown` while none of them was evaluated.
    pub status: Compliance,
    /// Name of the policy that applies.
    pub policy: Arc<str>,
    /// The open drifts.
    pub violations: Vec<HopViolation>,
    /// What a treatment in use violates and need not meet for now, with who answers for it.
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
    /// Its cause is older than this agent: since when is only known from then on.
    #[serde(default)]
    pub preexisting: bool,
}

impl HopCompliance {
    /// The compliance of a hop with these `open` drifts. What its treatments say is not known yet:
    /// whoever has the hop adds it.
    #[must_use]
    pub fn new<'a>(
        policy: Arc<str>,
        open: impl IntoIterator<Item = &'a OpenDrift>,
        exemption: Option<Arc<Exemption>>,
    ) -> Self {
        let violations: Vec<_> = open
            .into_iter()
            .map(|drift| HopViolation {
                rule: drift.rule,
                detail: drift.violation.detail.clone(),
                place: drift.violation.place.clone(),
                since: drift.since.as_secs_f64(),
                preexisting: drift.preexisting,
            })
            .collect();
        let status = Self::status(&violations, None, exemption.as_ref());
        Self { status, policy, violations, exemption }
    }

    /// Finds the status by what is open and what the treatments in use say; an exemption that none of
    /// them needs any more goes.
    pub(super) fn evaluate(&mut self, says: impl Iterator<Item = Compliance> + Clone) {
        if !says.clone().any(|word| word == Compliance::Exempt) {
            self.exemption = None;
        }
        let worst = says.min_by_key(|word| match word {
            Compliance::Violation => 0,
            Compliance::Exempt => 1,
            Compliance::Unknown => 2,
            Compliance::Compliant => 3,
        });
        self.status = Self::status(&self.violations, worst, self.exemption.as_ref());
    }

    fn status(
        violations: &[HopViolation],
        worst: Option<Compliance>,
        exemption: Option<&Arc<Exemption>>,
    ) -> Compliance {
        match worst {
            _ if !violations.is_empty() => Compliance::Violation,
            // The exemption it rested on has ended, or is no longer in the file.
            Some(Compliance::Exempt) if exemption.is_none() => Compliance::Violation,
            Some(worst) => worst,
            None => Compliance::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(client_certificate: Stated, line: u32) -> IntentSummary {
        IntentSummary {
            scheme: Scheme::Tls,
            client_certificate,
            verify: Stated::Yes,
            place: Some(Place { file: "nginx.conf".into(), line }),
        }
    }

    #[test]
    fn a_configuration_is_as_old_as_what_it_says_of_the_hop() {
        let at = UnixTime::from_secs;
        let known = |intent| HopContext {
            intent,
            loaded_at: Some(at(100).as_secs_f64()),
            ..HopContext::default()
        };
        let (mixed, yes) = (says(Stated::Mixed, 7), says(Stated::Yes, 7));
        let moved = says(Stated::Mixed, 9);
        for (name, before, intent, loaded, want) in [
            ("the same, loaded again", Some(&mixed), Some(&mixed), Some(200), Some(100)),
            ("the same, at another line", Some(&mixed), Some(&moved), Some(200), Some(100)),
            ("something else", Some(&mixed), Some(&yes), Some(200), Some(200)),
            ("an old worker, the same", Some(&mixed), Some(&mixed), Some(50), Some(50)),
            ("an old worker, something else", Some(&mixed), Some(&yes), Some(50), Some(50)),
            ("nothing was known", None, Some(&yes), Some(200), Some(200)),
            ("nothing is known", Some(&mixed), None, Some(200), Some(200)),
            ("no time is known", Some(&mixed), Some(&mixed), None, None),
        ] {
            let found = known(before.cloned()).unchanged_since(intent, loaded.map(at));
            assert_eq!(found, want.map(at), "{name}");
        }
    }
}

//! What the Gateway API intends for the hops behind a Gateway, and what it says to be in force there:
//! BackendTLSPolicy, the client certificate that the Gateway presents to its backends, and the routes to
//! these. Pure.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    leg::{self, Leg, Said, place},
    objects::Objects,
    services::{ObjectName, ServicePort},
    standing::{self, Standing},
};
use crate::policy::{
    intent::{Scheme, Setting, Text, TlsIntent, UpstreamIntent},
    status::{Promise, StatusClaim},
};

/// A Service that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Its name, in the policy's namespace.
    pub service: Arc<str>,
    /// Name of the one port meant (`sectionName`); every port without.
    pub port: Option<Arc<str>>,
}

/// A name that a backend's certificate may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    /// A host name.
    Hostname(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
}

/// What is kept of a BackendTLSPolicy (`gateway.networking.k8s.io/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    /// What it is for.
    pub targets: Vec<PolicyTarget>,
    /// Name that is sent as SNI, and that the certificate has to be for unless `names` says others.
    pub hostname: String,
    /// Names of which the certificate has to have one (`subjectAltNames`), instead of `hostname`.
    pub names: Vec<SubjectName>,
    /// Where the trusted CA certificates are, such as `ConfigMap shop/ca`; `System` for those of the
    /// system.
    pub trusted: Option<String>,
    /// What controllers say of it.
    pub standings: Vec<Standing>,
}

/// What is kept of a route, of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRoute {
    /// Services that it leads to, and the port; any port without.
    pub backends: Vec<(ObjectName, Option<u16>)>,
    /// What controllers say of it.
    pub standings: Vec<Standing>,
}

/// What is kept of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// `spec.tls.backend.clientCertificateRef`, as `Secret namespace/name`.
    pub client_certificate: Option<String>,
    /// What its controller says of it.
    pub standing: Option<Standing>,
}

/// The objects of the Gateway API that say something of TLS behind a Gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayTable {
    /// The policies. One that no controller accepted is not in force and to be left out.
    pub policies: Objects<BackendTlsPolicy>,
    /// The Gateways.
    pub gateways: Objects<Gateway>,
    /// The routes, by their kind.
    pub routes: BTreeMap<&'static str, Objects<BackendRoute>>,
}

impl GatewayTable {
    /// What is said of a hop; `None` where its proxy is no Gateway's, or no policy is for it: then the
    /// Gateway API leaves it to the implementation.
    #[must_use]
    pub fn said(&self, leg: &Leg<'_>) -> Option<Said> {
        let gateway = (leg.from.namespace.clone(), leg.from.gateway.clone()?);
        let intent = self.intent(&gateway, leg.to)?;
        Some(Said { intent, claims: self.claims(&gateway, leg.to) })
    }

    /// The policy that is for the hop from a Gateway to a Service.
    fn policy(
        &self,
        gateway: &ObjectName,
        to: &ServicePort,
    ) -> Option<(&ObjectName, &BackendTlsPolicy)> {
        // A policy for the port comes before one for the whole Service; of equals the first by
        // name, so that the answer does not change by itself.
        let mut found: Option<(bool, &ObjectName, &BackendTlsPolicy)> = None;
        let is_refused =
            |policy: &BackendTlsPolicy| standing::is_refused(&policy.standings, gateway);
        let all = self.policies.within(&to.namespace);
        for (name, policy) in all.filter(|(_, policy)| !is_refused(policy)) {
            for target in policy.targets.iter().filter(|target| target.service == to.service) {
                let for_port = target.port.is_some();
                let fits = !for_port || target.port == to.port_name;
                let is_better = found.is_none_or(|(by_port, other, _)| {
                    (for_port, std::cmp::Reverse(name)) > (by_port, std::cmp::Reverse(other))
                });
                if fits && is_better {
                    found = Some((for_port, name, policy));
                }
            }
        }
        found.map(|(_, name, policy)| (name, policy))
    }

    /// What objects promise of the hop from the Gateway `gateway` to a Service, by their status. Where
    /// no policy is for it nothing is promised.
    fn claims(&self, gateway: &ObjectName, to: &ServicePort) -> Vec<StatusClaim> {
        let Some((name, policy)) = self.policy(gateway, to) else { return Vec::new() };
        let claim = |kind, name, standing: &Standing, promise| StatusClaim {
            object: place(kind, name),
            condition: standing.words(),
            promise,
        };
        let mut claims = Vec::new();
        if let Some(standing) = standing::in_force(&policy.standings, gateway) {
            let by_policy = |promise| claim("BackendTLSPolicy", name, standing, promise);
            claims.extend([Promise::Tls, Promise::Verification].map(by_policy));
        } else if !standing::is_told(&policy.standings, gateway)
            && let Some((kind, route, standing)) = self.route(gateway, to)
        {
            // Whoever passes a policy over says nothing of it, and of the route that all is well.
            let StatusClaim { object, condition, promise } =
                claim(kind, route, standing, Promise::Tls);
            let condition =
                format!("{condition}, {} is for its backend", place("BackendTLSPolicy", name));
            claims.push(StatusClaim { object, condition, promise });
        }
        let of_gateway = self.gateways.get(gateway);
        let of_gateway = of_gateway.filter(|one| one.client_certificate.is_some());
        let standing = of_gateway.and_then(|one| one.standing.as_ref());
        if let Some(standing) = standing.filter(|standing| standing.is_in_force()) {
            claims.push(claim("Gateway", gateway, standing, Promise::ClientCertificate));
        }
        claims
    }

    /// A route that is in force for a Gateway and leads to a Service.
    fn route(
        &self,
        gateway: &ObjectName,
        to: &ServicePort,
    ) -> Option<(&'static str, &ObjectName, &Standing)> {
        let leads = |route: &BackendRoute| {
            route.backends.iter().any(|((namespace, name), port)| {
                *namespace == to.namespace
                    && *name == to.service
                    && port.is_none_or(|port| port == to.port)
            })
        };
        let all = self
            .routes
            .iter()
            .flat_map(|(kind, routes)| routes.iter().map(|(name, route)| (*kind, name, route)));
        all.filter(|(_, _, route)| leads(route)).find_map(|(kind, name, route)| {
            Some((kind, name, standing::in_force(&route.standings, gateway)?))
        })
    }

    /// What is intended for the hop from the Gateway `gateway` to a Service; `None` where no policy
    /// is for it: then the Gateway API leaves it to the implementation.
    fn intent(&self, gateway: &ObjectName, to: &ServicePort) -> Option<UpstreamIntent> {
        let (name, policy) = self.policy(gateway, to)?;
        let at = place("BackendTLSPolicy", name);
        let said = |value| Setting { value, at: at.clone() };
        let hostname = Text::Literal(policy.hostname.clone());
        let mut names = policy.names.iter().map(|name| match name {
            SubjectName::Hostname(name) => Text::Literal(name.clone()),
            // No host name; that it is held against is known, and not against which.
            SubjectName::Uri(uri) => Text::Variable(uri.clone()),
        });
        let certificate =
            self.gateways.get(gateway).and_then(|gateway| gateway.client_certificate.as_ref());
        let tls = TlsIntent {
            certificate: certificate.map(|secret| Setting {
                value: Text::Literal(secret.clone()),
                at: place("Gateway", gateway),
            }),
            // What the policy is for: a backend whose certificate does not fit must not be used.
            verify: Some(Setting { value: true, at: at.clone() }),
            trusted_certificate: policy
                .trusted
                .clone()
                .map(|value| Setting { value, at: at.clone() }),
            name: Some(said(names.next().unwrap_or_else(|| hostname.clone()))),
            other_names: names.map(said).collect(),
            sni: Some(said(hostname)),
            server_name: Some(Setting { value: true, at: at.clone() }),
            ..TlsIntent::default()
        };
        let route = leg::route("BackendTLSPolicy", at, Scheme::Tls, tls);
        Some(leg::intent(to, route, Vec::new()))
    }
}

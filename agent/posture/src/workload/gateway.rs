//! What the Gateway API intends for the hops behind a Gateway: BackendTLSPolicy, and the client
//! certificate that the Gateway presents to its backends. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::services::{ObjectName, ServicePort};
use crate::policy::intent::{
    Place, Route, Scheme, Servers, Setting, Target, Text, TlsIntent, UpstreamIntent,
};

/// Objects of each kind kept at most.
const MAX_OBJECTS: usize = 20_000;

/// A Service that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Its name, in the policy's namespace.
    pub service: Arc<str>,
    /// Name of the one port meant (`sectionName`); every port without.
    pub port: Option<Arc<str>>,
}

/// What is kept of a BackendTLSPolicy (`gateway.networking.k8s.io/v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    /// What it is for.
    pub targets: Vec<PolicyTarget>,
    /// Name that is sent as SNI, and that the certificate has to be for unless `names` says others.
    pub hostname: String,
    /// Where the trusted CA certificates are, such as `ConfigMap shop/ca`; `System` for those of the
    /// system.
    pub trusted: Option<String>,
}

/// What is kept of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// `spec.tls.backend.clientCertificateRef`, as `Secret namespace/name`.
    pub client_certificate: Option<String>,
}

/// The objects of the Gateway API that say something of TLS behind a Gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayTable {
    policies: HashMap<ObjectName, BackendTlsPolicy>,
    gateways: HashMap<ObjectName, Gateway>,
}

impl GatewayTable {
    /// Adds a policy, or replaces or (with `None`) removes it. One that no controller accepted is
    /// not in force and to be removed.
    pub fn set_policy(&mut self, name: ObjectName, policy: Option<BackendTlsPolicy>) {
        match policy {
            Some(policy) if self.policies.len() < MAX_OBJECTS => {
                self.policies.insert(name, policy);
            }
            _ => drop(self.policies.remove(&name)),
        }
    }

    /// Adds a Gateway, or replaces or (with `None`) removes it.
    pub fn set_gateway(&mut self, name: ObjectName, gateway: Option<Gateway>) {
        match gateway {
            Some(gateway) if self.gateways.len() < MAX_OBJECTS => {
                self.gateways.insert(name, gateway);
            }
            _ => drop(self.gateways.remove(&name)),
        }
    }

    /// Forgets every policy that is not among `names`.
    pub fn retain_policies(&mut self, names: &HashSet<ObjectName>) {
        self.policies.retain(|name, _| names.contains(name));
    }

    /// Forgets every Gateway that is not among `names`.
    pub fn retain_gateways(&mut self, names: &HashSet<ObjectName>) {
        self.gateways.retain(|name, _| names.contains(name));
    }

    /// What is intended for the hop from the Gateway `gateway` to a Service; `None` where no policy
    /// is for it: then the Gateway API leaves it to the implementation.
    #[must_use]
    pub fn intent(&self, gateway: &ObjectName, to: &ServicePort) -> Option<UpstreamIntent> {
        // A policy for the port comes before one for the whole Service; of equals the first by
        // name, so that the answer does not change by itself.
        let mut found: Option<(bool, &ObjectName, &BackendTlsPolicy)> = None;
        for (name, policy) in self.policies.iter().filter(|(name, _)| name.0 == to.namespace) {
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
        let (_, name, policy) = found?;
        let at = place("BackendTLSPolicy", name);
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
            name: Some(Setting { value: Text::Literal(policy.hostname.clone()), at: at.clone() }),
            server_name: Some(Setting { value: true, at: at.clone() }),
            ..TlsIntent::default()
        };
        let route = Route {
            directive: "BackendTLSPolicy".to_owned(),
            at,
            only: Vec::new(),
            scheme: Scheme::Tls,
            tls,
            default_name: None,
        };
        Some(UpstreamIntent {
            target: Target::Group(to.label()),
            servers: Vec::new(),
            listing: Servers::Dynamic,
            routes: vec![route],
            by_variable: Arc::default(),
        })
    }
}

/// The object as a place to look at; line 0 stands for all of it.
fn place(kind: &str, (namespace, name): &ObjectName) -> Place {
    Place { file: format!("{kind} {namespace}/{name}").into(), line: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::intent::Stated;

    fn name(name: &str) -> ObjectName {
        ("shop".into(), name.into())
    }

    fn policy(service: &str, port: Option<&str>, hostname: &str) -> BackendTlsPolicy {
        let target = PolicyTarget { service: service.into(), port: port.map(Arc::from) };
        BackendTlsPolicy {
            targets: vec![target],
            hostname: hostname.into(),
            trusted: Some("ConfigMap shop/ca".into()),
        }
    }

    #[test]
    fn the_policy_for_the_port_comes_first() {
        let mut table = GatewayTable::default();
        table.set_policy(name("b"), Some(policy("payments", None, "whole.test")));
        table.set_policy(name("a"), Some(policy("payments", Some("https"), "port.test")));
        table.set_policy(name("c"), Some(policy("payments", None, "later.test")));
        table.set_policy(("other".into(), "a".into()), Some(policy("ledger", None, "x.test")));
        let secret = Some("Secret shop/edge-client".to_owned());
        table.set_gateway(name("edge"), Some(Gateway { client_certificate: secret }));
        for (gateway, service, port_name, expected) in [
            ("edge", "payments", Some("https"), Some(("port.test", Stated::Yes))),
            ("edge", "payments", Some("admin"), Some(("whole.test", Stated::Yes))),
            ("edge", "payments", None, Some(("whole.test", Stated::Yes))),
            ("unknown", "payments", None, Some(("whole.test", Stated::No))),
            ("edge", "ledger", None, None),
        ] {
            let to = ServicePort {
                namespace: "shop".into(),
                service: service.into(),
                port: 443,
                port_name: port_name.map(Arc::from),
            };
            let intent = table.intent(&name(gateway), &to);
            let found = intent.as_ref().map(|intent| {
                assert_eq!((intent.scheme(), intent.verify()), (Scheme::Tls, Stated::Yes));
                let hostname = intent.routes[0].expected_name().unwrap().literal().unwrap();
                (hostname, intent.client_certificate())
            });
            assert_eq!(found, expected, "{gateway} to {service} {port_name:?}");
        }
        let to = ServicePort {
            namespace: "shop".into(),
            service: "payments".into(),
            port: 443,
            port_name: None,
        };
        let at = table.intent(&name("edge"), &to).unwrap().routes[0].at.to_string();
        assert_eq!(at, "BackendTLSPolicy shop/b");
    }
}

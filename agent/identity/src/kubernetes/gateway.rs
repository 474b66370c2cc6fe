//! From objects of the Gateway API to what is kept of them: specs as far as they say something of TLS
//! behind a Gateway, and what controllers say of them.

use std::sync::Arc;

use kube::api::Object;
use serde::Deserialize;

use super::{
    convert::name_of,
    status::{Condition, known},
};
use hopsight_posture::workload::{
    gateway::{BackendRoute, BackendTlsPolicy, Gateway, PolicyTarget, SubjectName},
    services::ObjectName,
    standing::{Conditions, OF_GATEWAY_API, Standing},
};

/// Controllers and Gateways that are kept of one status: as many as the API allows.
const MAX_STANDINGS: usize = 32;
/// Backends that are kept of one route: as many as the API allows.
const MAX_BACKENDS: usize = 256;

/// A reference to an object, of whatever namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
    section_name: Option<Arc<str>>,
}

/// What a controller says of an object for one of its parents or ancestors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ancestor {
    #[serde(alias = "parentRef")]
    ancestor_ref: ParentReference,
    conditions: Vec<Condition>,
}

/// A `ParentReference`: of a Gateway, unless it says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ParentReference {
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
}

/// What is said of an object in `namespace` for Gateways.
fn standings(ancestors: Vec<Ancestor>, namespace: &str) -> Vec<Standing> {
    let of_gateway =
        |one: &Ancestor| one.ancestor_ref.kind.as_deref().is_none_or(|kind| kind == "Gateway");
    let standing = |Ancestor { ancestor_ref, conditions }: Ancestor| {
        let ParentReference { namespace: own, name, .. } = ancestor_ref;
        Standing {
            gateway: (own.as_deref().unwrap_or(namespace).into(), name.into()),
            conditions: known(&conditions, OF_GATEWAY_API),
        }
    };
    ancestors.into_iter().filter(of_gateway).take(MAX_STANDINGS).map(standing).collect()
}

/// A BackendTLSPolicy.
pub(super) type Policy = Object<PolicySpec, PolicyStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PolicySpec {
    target_refs: Vec<Reference>,
    validation: Validation,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Validation {
    ca_certificate_refs: Vec<Reference>,
    #[serde(rename = "wellKnownCACertificates")]
    well_known_ca_certificates: Option<String>,
    hostname: String,
    subject_alt_names: Vec<AlternativeName>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AlternativeName {
    hostname: Option<String>,
    uri: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PolicyStatus {
    ancestors: Vec<Ancestor>,
}

/// `None` for a policy that every controller that looked at it refused.
pub(super) fn policy(policy: Policy) -> Option<BackendTlsPolicy> {
    let ancestors = policy.status.unwrap_or_default().ancestors;
    let refused = |ancestor: &Ancestor| {
        ancestor.conditions.iter().any(|one| one.kind == "Accepted" && one.status == "False")
    };
    if !ancestors.is_empty() && ancestors.iter().all(refused) {
        return None;
    }
    let (namespace, _) = name_of(&policy.metadata);
    let PolicySpec { target_refs, validation } = policy.spec;
    let of_ca = |ca: &Reference| format!("{} {namespace}/{}", ca.kind, ca.name);
    let name = |AlternativeName { hostname, uri }| {
        hostname.map(SubjectName::Hostname).or(uri.map(SubjectName::Uri))
    };
    Some(BackendTlsPolicy {
        targets: target_refs
            .into_iter()
            .filter(|target| target.group.is_empty() && target.kind == "Service")
            .map(|target| PolicyTarget { service: target.name.into(), port: target.section_name })
            .collect(),
        hostname: validation.hostname,
        names: validation.subject_alt_names.into_iter().filter_map(name).collect(),
        trusted: validation
            .ca_certificate_refs
            .first()
            .map(of_ca)
            .or(validation.well_known_ca_certificates),
        standings: standings(ancestors, &namespace),
    })
}

/// A Gateway.
pub(super) type GatewayObject = Object<GatewaySpec, GatewayStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewaySpec {
    tls: GatewayTls,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayTls {
    backend: GatewayBackendTls,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GatewayBackendTls {
    client_certificate_ref: Option<Reference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayStatus {
    conditions: Vec<Condition>,
}

pub(super) fn gateway(gateway: GatewayObject) -> Gateway {
    let name = name_of(&gateway.metadata);
    let client_certificate = gateway.spec.tls.backend.client_certificate_ref.map(|reference| {
        let namespace = reference.namespace.as_deref().unwrap_or(&name.0);
        format!("Secret {namespace}/{}", reference.name)
    });
    let conditions = known(&gateway.status.unwrap_or_default().conditions, OF_GATEWAY_API);
    let is_told = conditions != Conditions::default();
    let standing = is_told.then_some(Standing { gateway: name, conditions });
    Gateway { client_certificate, standing }
}

/// An HTTPRoute, GRPCRoute, TLSRoute or TCPRoute: in what is read here they are alike.
pub(super) type RouteObject = Object<RouteSpec, RouteStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteSpec {
    rules: Vec<RouteRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteRule {
    backend_refs: Vec<BackendReference>,
}

/// A `BackendRef`: of a Service, unless it says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct BackendReference {
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteStatus {
    parents: Vec<Ancestor>,
}

pub(super) fn route(route: RouteObject) -> BackendRoute {
    let (namespace, _) = name_of(&route.metadata);
    let all = route.spec.rules.into_iter().flat_map(|rule| rule.backend_refs);
    let services = all.filter(|one| one.kind.as_deref().is_none_or(|kind| kind == "Service"));
    let backend = |BackendReference { namespace: own, name, port, .. }| {
        let name: ObjectName = (own.map_or_else(|| namespace.clone(), Arc::from), Arc::from(name));
        (name, port)
    };
    BackendRoute {
        backends: services.take(MAX_BACKENDS).map(backend).collect(),
        standings: standings(route.status.unwrap_or_default().parents, &namespace),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn policies_of_the_gateway_api() {
        let spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "payments", "sectionName": "https"},
                           {"group": "example.org", "kind": "Other", "name": "x"}],
            "validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                           "hostname": "payments.test"}
        });
        let accepted = |status: &str| {
            json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec, "status":
                {"ancestors": [{"ancestorRef": {"name": "edge"}, "controllerName": "example.org/c",
                                "conditions": [{"type": "Accepted", "status": status}]}]}})
        };
        let found = policy(object(accepted("True"))).unwrap();
        assert_eq!(found.targets.len(), 1);
        assert_eq!(found.trusted.as_deref(), Some("ConfigMap shop/ca"));
        assert_eq!(policy(object(accepted("False"))), None);
        let value = json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {"gatewayClassName": "nginx", "listeners": [],
                     "tls": {"backend": {"clientCertificateRef": {"kind": "Secret", "name": "client"}}}}
        });
        let found = gateway(object(value));
        assert_eq!(found.client_certificate.as_deref(), Some("Secret shop/client"));
        let bare = json!({"metadata": {"name": "edge"}, "spec": {"listeners": []}});
        assert_eq!(gateway(object(bare)), Gateway::default());
    }

    #[test]
    fn names_and_standings_of_a_policy() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let value = json!({
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "payments"}],
                "validation": {
                    "wellKnownCACertificates": "System",
                    "hostname": "payments.test",
                    "subjectAltNames": [
                        {"type": "Hostname", "hostname": "a.test"},
                        {"type": "URI", "uri": "spiffe://shop/payments"},
                    ],
                },
            },
            "status": {"ancestors": [
                {"ancestorRef": {"name": "edge"},
                 "conditions": [condition("Accepted", "True"), condition("Odd", "True")]},
                {"ancestorRef": {"kind": "Gateway", "namespace": "infra", "name": "inner"},
                 "conditions": [condition("ResolvedRefs", "False"), condition("Accepted", "Unknown")]},
                {"ancestorRef": {"kind": "Service", "name": "payments"},
                 "conditions": [condition("Accepted", "True")]},
            ]},
        });
        let found = policy(object(value)).unwrap();
        assert_eq!(found.trusted.as_deref(), Some("System"));
        let hostname = SubjectName::Hostname("a.test".to_owned());
        assert_eq!(found.names, [hostname, SubjectName::Uri("spiffe://shop/payments".to_owned())]);
        let words: Vec<_> = found.standings.iter().map(Standing::words).collect();
        assert_eq!(
            words,
            [
                "Accepted is True for Gateway shop/edge",
                "ResolvedRefs is False for Gateway infra/inner"
            ]
        );
    }

    #[test]
    fn where_a_route_leads() {
        let value = json!({
            "metadata": {"name": "r", "namespace": "shop"},
            "spec": {"rules": [{"backendRefs": [
                {"name": "payments", "port": 8443},
                {"kind": "Service", "namespace": "bank", "name": "ledger", "port": 443},
                {"group": "example.org", "kind": "Bucket", "name": "x"},
            ]}, {}]},
            "status": {"parents": [{
                "parentRef": {"name": "edge", "sectionName": "https"}, "controllerName": "example.org/c",
                "conditions": [{"type": "Accepted", "status": "True"}],
            }]},
        });
        let found = route(object(value));
        let backends: Vec<_> = found
            .backends
            .iter()
            .map(|((namespace, name), port)| format!("{namespace}/{name}:{port:?}"))
            .collect();
        assert_eq!(backends, ["shop/payments:Some(8443)", "bank/ledger:Some(443)"]);
        assert_eq!(found.standings[0].words(), "Accepted is True for Gateway shop/edge");
        let bare = object(json!({"metadata": {}, "spec": {}}));
        assert_eq!(route(bare).backends, []);
    }
}

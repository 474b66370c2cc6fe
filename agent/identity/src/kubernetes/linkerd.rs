//! From objects of Linkerd to what is kept of them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::{
    apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
    util::intstr::IntOrString,
};
use kube::api::{NotUsed, Object};
use serde::Deserialize;

use super::{
    convert::name_of,
    small::{MAX_ENTRIES, are_few, is_short},
};
use hopsight_posture::workload::{
    linkerd::{
        Access, Authentication, AuthorizationPolicy, AuthorizationTarget, Server,
        ServerAuthorization, ServerPort,
    },
    selector::{Labels, Requirement, Selector},
};

/// The API group of all these objects.
pub(super) const GROUP: &str = "policy.linkerd.io";

fn selector(selector: LabelSelector) -> Selector {
    let labels = selector.match_labels.unwrap_or_default();
    let expressions = selector.match_expressions.unwrap_or_default();
    let are_small =
        expressions.len() <= MAX_ENTRIES && expressions.iter().all(|one| is_short(&one.key));
    if !are_few(&labels) || !are_small {
        let expressions = vec![(String::new(), Requirement::Other)];
        return Selector { expressions, ..Selector::default() };
    }
    let expression = |LabelSelectorRequirement { key, operator, values }| {
        let values = values.unwrap_or_default();
        let requirement = match operator.as_str() {
            _ if values.len() > MAX_ENTRIES || !values.iter().all(|one| is_short(one)) => {
                Requirement::Other
            }
            "In" => Requirement::In(values),
            "NotIn" => Requirement::NotIn(values),
            "Exists" => Requirement::Exists,
            "DoesNotExist" => Requirement::DoesNotExist,
            _ => Requirement::Other,
        };
        (key, requirement)
    };
    Selector { labels, expressions: expressions.into_iter().map(expression).collect() }
}

/// A Server.
pub(super) type ServerObject = Object<ServerSpec, NotUsed>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServerSpec {
    pod_selector: Option<LabelSelector>,
    port: Option<IntOrString>,
    access_policy: Option<String>,
}

pub(super) fn server(server: ServerObject) -> Server {
    let ServerSpec { pod_selector, port, access_policy } = server.spec;
    let labels = server.metadata.labels.unwrap_or_default();
    let are_few = are_few(&labels);
    Server {
        labels: if are_few { labels } else { Labels::new() },
        pods: pod_selector.map(selector),
        port: port.and_then(|port| match port {
            IntOrString::Int(number) => u16::try_from(number).ok().map(ServerPort::Number),
            // No port has a longer one.
            IntOrString::String(name) => is_short(&name).then_some(ServerPort::Name(name)),
        }),
        access: match access_policy.as_deref() {
            // Who is authorized by its labels is not known.
            _ if !are_few => Access::Unknown,
            None | Some("deny") => Access::Nobody,
            Some("all-authenticated" | "cluster-authenticated") => Access::Identity,
            // `audit` lets in as well.
            Some("all-unauthenticated" | "cluster-unauthenticated" | "audit") => Access::Anyone,
            Some(_) => Access::Unknown,
        },
    }
}

/// An AuthorizationPolicy.
pub(super) type PolicyObject = Object<PolicySpec, NotUsed>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PolicySpec {
    target_ref: Reference,
    required_authentication_refs: Vec<Reference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    group: String,
    kind: String,
    name: String,
    namespace: Option<Arc<str>>,
}

/// Of more that is required than is kept the rest can only ask for more.
pub(super) fn policy(policy: PolicyObject) -> AuthorizationPolicy {
    let (namespace, _) = name_of(&policy.metadata);
    let PolicySpec { target_ref: target, required_authentication_refs: required } = policy.spec;
    let authentication = |one: Reference| match (one.group.as_str(), one.kind.as_str()) {
        // Nothing has a longer name.
        _ if !is_short(&one.name) || !is_short(one.namespace.as_deref().unwrap_or_default()) => {
            Authentication::Other
        }
        (GROUP, "MeshTLSAuthentication") => {
            let of = one.namespace.unwrap_or_else(|| namespace.clone());
            Authentication::MeshTls((of, one.name.into()))
        }
        ("" | "core", "ServiceAccount") => Authentication::ServiceAccount,
        _ => Authentication::Other,
    };
    AuthorizationPolicy {
        target: match (target.group.as_str(), target.kind.as_str()) {
            _ if !is_short(&target.name) => AuthorizationTarget::Other,
            (GROUP, "Server") => AuthorizationTarget::Server(target.name),
            ("" | "core", "Namespace") => AuthorizationTarget::Namespace,
            _ => AuthorizationTarget::Other,
        },
        required: required.into_iter().take(MAX_ENTRIES).map(authentication).collect(),
    }
}

/// A MeshTLSAuthentication, of which only matters that it is there: whomever it names shows a
/// certificate of the mesh.
pub(super) type AuthenticationObject = Object<AuthenticationSpec, NotUsed>;

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct AuthenticationSpec {}

/// A ServerAuthorization.
pub(super) type AuthorizationObject = Object<AuthorizationSpec, NotUsed>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthorizationSpec {
    server: AuthorizedServer,
    client: Client,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AuthorizedServer {
    name: Option<String>,
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Client {
    unauthenticated: bool,
    #[serde(rename = "meshTLS")]
    mesh_tls: Option<MeshTls>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MeshTls {
    #[serde(rename = "unauthenticatedTLS")]
    unauthenticated_tls: bool,
}

pub(super) fn authorization(one: AuthorizationObject) -> ServerAuthorization {
    let AuthorizationSpec { server, client } = one.spec;
    let is_identity = client.mesh_tls.is_some_and(|tls| !tls.unauthenticated_tls);
    ServerAuthorization {
        server: match server.name {
            Some(name) if is_short(&name) => Ok(name),
            // It is none's.
            Some(_) => Ok(String::new()),
            None => Err(selector(server.selector.unwrap_or_default())),
        },
        access: if is_identity && !client.unauthenticated {
            Access::Identity
        } else {
            Access::Anyone
        },
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::{super::small::MAX_TEXT_BYTES, *};

    fn object<T: DeserializeOwned>(spec: &Value) -> T {
        let metadata = json!({"name": "a", "namespace": "shop", "labels": {"app": "a"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn servers() {
        let spec = json!({
            "podSelector": {
                "matchLabels": {"app": "payments"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["web"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "new", "operator": "Above"},
                ],
            },
            "port": "tls", "proxyProtocol": "HTTP/2",
        });
        let found = server(object(&spec));
        assert_eq!(found.port, Some(ServerPort::Name("tls".to_owned())));
        assert_eq!((found.access, found.labels["app"].as_str()), (Access::Nobody, "a"));
        let asked: Vec<_> =
            found.pods.unwrap().expressions.into_iter().map(|(_, one)| one).collect();
        let within = Requirement::In(vec!["web".to_owned()]);
        assert_eq!(asked, [within, Requirement::DoesNotExist, Requirement::Other]);
        for (access, expected) in [
            ("deny", Access::Nobody),
            ("all-authenticated", Access::Identity),
            ("cluster-unauthenticated", Access::Anyone),
            ("audit", Access::Anyone),
            ("new", Access::Unknown),
        ] {
            let spec = json!({"externalWorkloadSelector": {}, "port": 80, "accessPolicy": access});
            let found = server(object(&spec));
            assert_eq!((found.access, found.pods), (expected, None), "{access}");
        }
        let labels: std::collections::BTreeMap<_, _> =
            (0..=MAX_ENTRIES).map(|number| (number.to_string(), String::new())).collect();
        let found = server(object(&json!({"podSelector": {"matchLabels": labels}, "port": 1})));
        let selects = found.pods.unwrap().selects(&std::collections::BTreeMap::new());
        assert_eq!(selects, None, "more than is kept");
    }

    #[test]
    fn authorizations() {
        let spec = json!({
            "targetRef": {"group": GROUP, "kind": "Server", "name": "s"},
            "requiredAuthenticationRefs": [
                {"group": GROUP, "kind": "MeshTLSAuthentication", "name": "m", "namespace": "web"},
                {"group": GROUP, "kind": "MeshTLSAuthentication", "name": "m"},
                {"kind": "ServiceAccount", "name": "edge"},
                {"group": GROUP, "kind": "NetworkAuthentication", "name": "n"},
            ],
        });
        let found = policy(object(&spec));
        assert_eq!(found.target, AuthorizationTarget::Server("s".to_owned()));
        let mesh = |of: &str| Authentication::MeshTls((of.into(), "m".into()));
        let others = [Authentication::ServiceAccount, Authentication::Other];
        assert_eq!(found.required, [[mesh("web"), mesh("shop")], others].concat());
        for (target, expected) in [
            (json!({"kind": "Namespace", "name": "shop"}), AuthorizationTarget::Namespace),
            (json!({"group": GROUP, "kind": "HTTPRoute", "name": "r"}), AuthorizationTarget::Other),
        ] {
            let found = policy(object(&json!({"targetRef": target})));
            assert_eq!(found.target, expected);
        }
        for (client, expected) in [
            (json!({"meshTLS": {"identities": ["*"]}}), Access::Identity),
            (json!({"meshTLS": {"unauthenticatedTLS": true}}), Access::Anyone),
            (json!({"unauthenticated": true, "meshTLS": {"identities": ["*"]}}), Access::Anyone),
            (json!({"networks": []}), Access::Anyone),
        ] {
            let spec = json!({"server": {"name": "s"}, "client": client});
            assert_eq!(authorization(object(&spec)).access, expected, "{client}");
        }
        let long = "a".repeat(MAX_TEXT_BYTES + 1);
        let found = policy(object(&json!({"targetRef": {"kind": "Namespace", "name": long}})));
        assert_eq!(found.target, AuthorizationTarget::Other, "a longer text than is kept");
        let spec = json!({"server": {"name": long}, "client": {}});
        assert_eq!(authorization(object(&spec)).server, Ok(String::new()));
        let spec = json!({"podSelector": {"matchLabels": {"app": long}}, "port": long});
        let found = server(object(&spec));
        let selects = found.pods.unwrap().selects(&std::collections::BTreeMap::new());
        assert_eq!((selects, found.port), (None, None));
        let spec = json!({"server": {"selector": {"matchLabels": {"app": "a"}}}, "client": {}});
        assert!(authorization(object(&spec)).server.is_err());
    }
}

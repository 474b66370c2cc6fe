//! What the API server has: a Gateway, and for each backend its Service, policy and route.

use hopsight_tests::pki;
use serde_json::{Value, json};

use super::{Backend, RouteKind, Status};
use crate::agent::PodCgroup;

/// Objects by the path of their kind.
pub(super) fn objects(backends: &[Backend], pod: &PodCgroup) -> Vec<(&'static str, Vec<Value>)> {
    const GROUP: &str = "gateway.networking.k8s.io";
    let condition = |kind: &str, is: bool| {
        let status = if is { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": kind, "observedGeneration": 1 })
    };
    let parents = |reference: &str, is_resolved: bool| {
        let conditions = [condition("Accepted", true), condition("ResolvedRefs", is_resolved)];
        let gateway = json!({ "group": GROUP, "kind": "Gateway", "name": "edge" });
        json!([{ reference: gateway, "controllerName": "example.org/c", "conditions": conditions }])
    };
    let meta = |name: &str| json!({ "name": name, "namespace": "shop", "generation": 1 });
    let pods = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "edge-7d9c5b6d8-x2x4z", "namespace": "shop", "uid": pod.uid,
            "labels": { "pod-template-hash": "7d9c5b6d8", "gateway.networking.k8s.io/gateway-name": "edge" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-7d9c5b6d8", "uid": "r",
                "controller": true,
            }],
        },
        "spec": {},
        "status": { "containerStatuses": [
            { "name": "envoy", "containerID": format!("containerd://{}", pod.id) },
        ]},
    });
    let services = backends.iter().map(|one| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta(&one.name),
            "spec": { "clusterIP": "None", "ports": [{ "name": "tls", "port": 443 }] },
        })
    });
    let slices = backends.iter().map(|one| {
        let mut metadata = meta(&one.name);
        metadata["labels"] = json!({ "kubernetes.io/service-name": one.name });
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [one.address.ip().to_string()] }],
            "ports": [{ "name": "tls", "port": one.address.port(), "protocol": "TCP" }],
        })
    });
    let policies = backends.iter().map(|one| {
        let mut validation = one.validation.clone();
        validation["hostname"] = json!(format!("a.{}", pki::DOMAIN));
        let target = json!({ "group": "", "kind": "Service", "name": one.name });
        let mut policy = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "BackendTLSPolicy", "metadata": meta(&one.name),
            "spec": { "targetRefs": [target], "validation": validation },
        });
        if one.status != Status::Absent {
            let ancestors = parents("ancestorRef", one.status == Status::Good);
            policy["status"] = json!({ "ancestors": ancestors });
        }
        policy
    });
    let routes = |kind: RouteKind, version: &str| -> Vec<Value> {
        let route = |one: &Backend| {
            json!({
                "apiVersion": format!("{GROUP}/{version}"), "kind": kind.name(),
                "metadata": meta(&one.name),
                "spec": {
                    "parentRefs": [{ "name": "edge" }],
                    "rules": [{ "backendRefs": [{ "name": one.name, "port": 443 }] }],
                },
                "status": { "parents": parents("parentRef", true) },
            })
        };
        backends.iter().filter(|one| one.route == kind).map(route).collect()
    };
    let gateway = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway", "metadata": meta("edge"),
        "spec": {
            "gatewayClassName": "c", "listeners": [],
            "tls": { "backend": { "clientCertificateRef": {
                "group": "", "kind": "Secret", "name": "edge-client",
            } } },
        },
        "status": { "conditions": [
            condition("Accepted", true), condition("Programmed", true), condition("ResolvedRefs", true),
        ] },
    });
    // Neither version of TLSRoute is served.
    vec![
        ("/api/v1/pods", vec![pods]),
        ("/api/v1/services", services.collect()),
        ("/apis/discovery.k8s.io/v1/endpointslices", slices.collect()),
        ("/apis/gateway.networking.k8s.io/v1/backendtlspolicies", policies.collect()),
        ("/apis/gateway.networking.k8s.io/v1/gateways", vec![gateway]),
        ("/apis/gateway.networking.k8s.io/v1/httproutes", routes(RouteKind::Http, "v1")),
        ("/apis/gateway.networking.k8s.io/v1/grpcroutes", routes(RouteKind::Grpc, "v1")),
        ("/apis/gateway.networking.k8s.io/v1alpha2/tcproutes", routes(RouteKind::Tcp, "v1alpha2")),
    ]
}

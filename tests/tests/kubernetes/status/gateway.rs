//! The Gateway API: a Gateway, and for each backend its policy and route.

use hopsight_tests::{loopback::Loopback, pki};
use serde_json::{Value, json};

use super::{
    Backend, HEALTHY, HEALTHY_COUNT, OTHERWISE, Objects, RouteKind, Run, Speaks, meta, proxy_pod,
    services,
};
use crate::agent::PodCgroup;

/// What the status of a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Nothing at all.
    Absent,
    /// It is in force.
    Good,
    /// It is accepted, and what it refers to is missing.
    Unresolved,
}

/// A backend with what its policy trusts, and says of itself.
type Told = (Backend, Value, Status);

/// The backends of a run: four in which the status says otherwise, one that says truly that it is not in
/// force, and the healthy ones.
fn backends(block: Loopback) -> Vec<Told> {
    use RouteKind::{Grpc, Http, Tcp};
    use Speaks::{Mutual, OneWay, Plaintext};
    use Status::{Absent, Good, Unresolved};

    let own =
        || json!({ "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "ca" }] });
    let system = || json!({ "wellKnownCACertificates": "System" });
    let names = || {
        let name = json!({ "type": "Hostname", "hostname": format!("a.{}", pki::DOMAIN) });
        let mut validation = own();
        validation["subjectAltNames"] = json!([name]);
        validation
    };
    let mut all = vec![
        // cilium/cilium #48307
        ("system-ca", Http, system(), Good, Plaintext, Some("BackendTLSPolicy shop/system-ca")),
        // cilium/cilium #48935
        ("grpc", Grpc, own(), Absent, Plaintext, Some("GRPCRoute shop/grpc")),
        // istio/istio #61515
        ("certificate", Http, own(), Good, OneWay, Some("Gateway shop/edge")),
        // envoyproxy/gateway #8143
        ("tcp", Tcp, own(), Good, Plaintext, Some("BackendTLSPolicy shop/tcp")),
        ("honest", Http, own(), Unresolved, Plaintext, None),
    ];
    let routes = [Http, Grpc, Tcp];
    let validations = [own(), names(), own()];
    for number in 0..HEALTHY_COUNT {
        let (route, validation) = (routes[number % 3], validations[number % 3].clone());
        all.push((HEALTHY, route, validation, Good, Mutual, None));
    }
    let told = |(number, (name, route, validation, status, speaks, blamed))| {
        (Backend::new(block, number, name, route, speaks, blamed), validation, status)
    };
    (0..).zip(all).map(told).collect()
}

#[test]
fn a_status_that_says_otherwise_is_found() {
    let block = Loopback::reserve().unwrap();
    let told = backends(block);
    let (backends, said): (Vec<_>, Vec<_>) = told
        .into_iter()
        .map(|(backend, validation, status)| (backend, (validation, status)))
        .unzip();
    let run = Run {
        block,
        backends: &backends,
        objects: &|pod| objects(&backends, &said, pod),
        option: "gateway",
        rule: OTHERWISE,
    };
    run.go("a_status_that_says_otherwise_is_found");
}

/// Objects by the path of their kind.
fn objects(backends: &[Backend], said: &[(Value, Status)], pod: &PodCgroup) -> Objects {
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
    let policies = backends.iter().zip(said).map(|(one, (validation, status))| {
        let mut validation = validation.clone();
        validation["hostname"] = json!(format!("a.{}", pki::DOMAIN));
        let target = json!({ "group": "", "kind": "Service", "name": one.name });
        let mut policy = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "BackendTLSPolicy", "metadata": meta(&one.name),
            "spec": { "targetRefs": [target], "validation": validation },
        });
        if *status != Status::Absent {
            let ancestors = parents("ancestorRef", *status == Status::Good);
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
    let label = json!({ "gateway.networking.k8s.io/gateway-name": "edge" });
    let mut all = services(backends);
    all.extend([
        ("/api/v1/pods", vec![proxy_pod(pod, "envoy", &label)]),
        ("/apis/gateway.networking.k8s.io/v1/backendtlspolicies", policies.collect()),
        ("/apis/gateway.networking.k8s.io/v1/gateways", vec![gateway]),
        ("/apis/gateway.networking.k8s.io/v1/httproutes", routes(RouteKind::Http, "v1")),
        ("/apis/gateway.networking.k8s.io/v1/grpcroutes", routes(RouteKind::Grpc, "v1")),
        ("/apis/gateway.networking.k8s.io/v1alpha2/tcproutes", routes(RouteKind::Tcp, "v1alpha2")),
    ]);
    all
}

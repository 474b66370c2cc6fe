//! Linkerd: Servers that only identities of the mesh may connect to. These objects have no status, so
//! that what is found is the hop alone.

use hopsight_tests::loopback::Loopback;
use serde_json::{Value, json};

use super::{
    Backend, HEALTHY, HEALTHY_COUNT, Objects, RouteKind, Run, Speaks, meta, proxy_pod, services,
};
use crate::agent::PodCgroup;

const GROUP: &str = "policy.linkerd.io";
/// The backend whose proxy leaves its port to the program.
const SKIPPED: &str = "skipped";

#[test]
fn clear_text_to_a_server_for_identities_is_found() {
    use Speaks::{Mutual, Plaintext};

    let block = Loopback::reserve().unwrap();
    let mut all = vec![
        (
            "identities",
            "deny",
            "MeshTLSAuthentication",
            Plaintext,
            Some("AuthorizationPolicy shop/identities"),
        ),
        (
            "authenticated",
            "all-authenticated",
            "MeshTLSAuthentication",
            Plaintext,
            Some("Server shop/authenticated"),
        ),
        ("addresses", "deny", "NetworkAuthentication", Plaintext, None),
        ("whoever", "all-unauthenticated", "MeshTLSAuthentication", Plaintext, None),
        (SKIPPED, "all-authenticated", "MeshTLSAuthentication", Plaintext, None),
    ];
    for _ in 0..HEALTHY_COUNT {
        all.push((HEALTHY, "deny", "MeshTLSAuthentication", Mutual, None));
    }
    let told = (0..).zip(all).map(|(number, (name, access, required, speaks, blamed))| {
        (Backend::new(block, number, name, RouteKind::Http, speaks, blamed), (access, required))
    });
    let (backends, said): (Vec<_>, Vec<_>) = told.unzip();
    let run = Run {
        block,
        backends: &backends,
        objects: &|pod| objects(&backends, &said, pod),
        option: "mesh",
        rule: "plaintext",
    };
    run.go("clear_text_to_a_server_for_identities_is_found");
}

fn objects(backends: &[Backend], said: &[(&str, &str)], pod: &PodCgroup) -> Objects {
    let object = |version: &str, kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": format!("{GROUP}/{version}"), "kind": kind, "metadata": meta(name),
            "spec": spec,
        })
    };
    let servers = backends.iter().zip(said).map(|(one, (access, _))| {
        let selector = json!({ "matchLabels": { "app": one.name } });
        let spec = json!({ "podSelector": selector, "port": "tls", "accessPolicy": access });
        object("v1beta3", "Server", &one.name, spec)
    });
    let policies = backends.iter().zip(said).map(|(one, (_, required))| {
        let required = json!({ "group": GROUP, "kind": required, "name": "clients" });
        let spec = json!({
            "targetRef": { "group": GROUP, "kind": "Server", "name": one.name },
            "requiredAuthenticationRefs": [required],
        });
        object("v1alpha1", "AuthorizationPolicy", &one.name, spec)
    });
    let clients =
        json!({ "identities": ["edge.shop.serviceaccount.identity.linkerd.cluster.local"] });
    let mut pods = vec![proxy_pod(pod, "linkerd-proxy", &json!({}))];
    pods.extend(backends.iter().map(|one| {
        let mut metadata = meta(&format!("{}-0", one.name));
        metadata["uid"] = json!(format!("uid-of-{}", one.name));
        metadata["labels"] = json!({ "app": one.name });
        if one.name == SKIPPED {
            metadata["annotations"] = json!({ "config.linkerd.io/skip-inbound-ports": "25,8443" });
        }
        let port = json!({ "name": "tls", "containerPort": one.address.port() });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": { "containers": [{ "name": "app", "ports": [port] }] },
            "status": {
                "phase": "Running", "podIPs": [{ "ip": one.address.ip().to_string() }],
                "containerStatuses": [
                    { "name": "linkerd-proxy", "containerID": format!("containerd://{}", one.name) },
                ],
            },
        })
    }));
    let mut all = services(backends);
    all.extend([
        ("/api/v1/pods", pods),
        ("/apis/policy.linkerd.io/v1beta3/servers", servers.collect()),
        ("/apis/policy.linkerd.io/v1alpha1/authorizationpolicies", policies.collect()),
        (
            "/apis/policy.linkerd.io/v1alpha1/meshtlsauthentications",
            vec![object("v1alpha1", "MeshTLSAuthentication", "clients", clients)],
        ),
    ]);
    all
}

//! Istio: DestinationRules and PeerAuthentications, as istiod leaves them, and a proxy of its that has
//! other settings.

use hopsight_tests::loopback::Loopback;
use serde_json::{Value, json};

use super::{
    Backend, HEALTHY, HEALTHY_COUNT, OTHERWISE, Objects, RouteKind, Run, Speaks, meta, proxy_pod,
    services,
};
use crate::agent::PodCgroup;

/// What is said of a backend.
#[derive(Clone)]
enum Said {
    /// By a DestinationRule.
    Rule(Value),
    /// By a PeerAuthentication for its workload.
    Peer(&'static str),
}

/// What istiod writes into the status of all that is said.
const GOOD: &[(&str, &str)] = &[("Reconciled", "True"), ("PassedAnalysis", "True")];
const ANALYSED: &[(&str, &str)] = &[("PassedAnalysis", "True")];
const PROPAGATING: &[(&str, &str)] = &[("Reconciled", "False"), ("PassedAnalysis", "True")];

/// Backends that the data plane has clusters of other names for.
const BESIDE: &str = "beside";
const BESIDE_STRICT: &str = "beside-strict";

#[test]
fn an_object_of_istio_that_says_otherwise_is_found() {
    use RouteKind::{Grpc, Http, Tcp};
    use Said::{Peer, Rule};
    use Speaks::{Mutual, OneWay, Plaintext};

    let block = Loopback::reserve().unwrap();
    let mode = |mode: &str| json!({ "tls": { "mode": mode } });
    let own = || Rule(mode("ISTIO_MUTUAL"));
    let credential =
        || Rule(json!({ "tls": { "mode": "MUTUAL", "credentialName": "edge-client" } }));
    let at_port = || {
        let port = json!({ "port": { "number": 443 }, "tls": { "mode": "ISTIO_MUTUAL" } });
        Rule(json!({ "tls": { "mode": "DISABLE" }, "portLevelSettings": [port] }))
    };
    let of_balancing = || Rule(json!({ "loadBalancer": { "simple": "RANDOM" } }));
    let mut all = vec![
        ("own", Http, own(), GOOD, Plaintext, Some("DestinationRule shop/own")),
        // The client certificate of istio/istio #61515, asked for by Istio's own object.
        (
            "credential",
            Http,
            credential(),
            ANALYSED,
            OneWay,
            Some("DestinationRule shop/credential"),
        ),
        ("port", Grpc, at_port(), GOOD, Plaintext, Some("DestinationRule shop/port")),
        (
            "strict",
            Tcp,
            Peer("STRICT"),
            ANALYSED,
            Plaintext,
            Some("PeerAuthentication shop/strict"),
        ),
        (
            "one-way",
            Http,
            Peer("STRICT"),
            ANALYSED,
            OneWay,
            Some("PeerAuthentication shop/one-way"),
        ),
        // Those that say nothing that the wire contradicts.
        ("propagating", Http, own(), PROPAGATING, Plaintext, None),
        ("disabled", Http, Rule(mode("DISABLE")), GOOD, Plaintext, None),
        ("permissive", Http, Peer("PERMISSIVE"), ANALYSED, Plaintext, None),
        ("balanced", Http, of_balancing(), GOOD, Plaintext, None),
        // Those that are no rule's: of the bootstrap's own cluster, and passed through.
        (BESIDE, Http, own(), GOOD, Plaintext, None),
        (BESIDE_STRICT, Tcp, Peer("STRICT"), GOOD, Plaintext, None),
    ];
    let healthy = [own(), credential(), at_port(), Peer("STRICT"), Peer("PERMISSIVE")];
    let routes = [Http, Grpc, Tcp];
    for number in 0..HEALTHY_COUNT {
        let said = healthy[number % healthy.len()].clone();
        all.push((HEALTHY, routes[number % 3], said, GOOD, Mutual, None));
    }
    let told = (0..).zip(all).map(|(number, (name, route, said, status, speaks, blamed))| {
        let mut backend = Backend::new(block, number, name, route, speaks, blamed);
        if ![BESIDE, BESIDE_STRICT].contains(&name) {
            backend.cluster = format!("outbound|443||{}.shop.svc.cluster.local", backend.name);
        }
        (backend, (said, status))
    });
    let (backends, said): (Vec<_>, Vec<_>) = told.unzip();
    let run = Run {
        block,
        backends: &backends,
        objects: &|pod| objects(&backends, &said, pod),
        option: "mesh",
        rule: OTHERWISE,
    };
    run.go("an_object_of_istio_that_says_otherwise_is_found");
}

/// `PeerAuthentication` is served in the older version alone, and no object of Linkerd at all.
fn objects(backends: &[Backend], said: &[(Said, &[(&str, &str)])], pod: &PodCgroup) -> Objects {
    let (mut rules, mut peers) = (Vec::new(), Vec::new());
    let mut pods = vec![proxy_pod(pod, "istio-proxy", &json!({ "istio": "ingressgateway" }))];
    for (one, (said, status)) in backends.iter().zip(said) {
        let conditions = status.iter().map(|(kind, is)| json!({ "type": kind, "status": is }));
        let status =
            json!({ "conditions": conditions.collect::<Vec<_>>(), "observedGeneration": "1" });
        let labels = json!({ "app": one.name });
        match said {
            Said::Rule(policy) => rules.push(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": meta(&one.name), "status": status,
                "spec": { "host": one.name, "trafficPolicy": policy },
            })),
            Said::Peer(mode) => peers.push(json!({
                "apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication",
                "metadata": meta(&one.name), "status": status,
                "spec": { "selector": { "matchLabels": labels }, "mtls": { "mode": mode } },
            })),
        }
        let mut metadata = meta(&format!("{}-0", one.name));
        metadata["uid"] = json!(format!("uid-of-{}", one.name));
        metadata["labels"] = json!({ "app": one.name, "security.istio.io/tlsMode": "istio" });
        pods.push(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {},
            "status": { "phase": "Running", "podIPs": [{ "ip": one.address.ip().to_string() }] },
        }));
    }
    let mut all = services(backends);
    all.extend([
        ("/api/v1/pods", pods),
        ("/apis/networking.istio.io/v1/destinationrules", rules),
        ("/apis/security.istio.io/v1beta1/peerauthentications", peers),
    ]);
    all
}

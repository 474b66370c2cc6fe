//! The watches against a real API server. Its build takes half an hour, so it is opt-in:
//! `cargo xtask cluster` makes it and keeps it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hopsight_identity::{
    kubernetes::{KubernetesOptions, Watch},
    source_state::NameSourceState,
};
use hopsight_posture::{
    policy::intent::{Scheme, Stated, Text},
    workload::{cgroup::CgroupIdentity, leg::Through, pod::PodIdentity, services::ServicePort},
};
use hopsight_tests::{
    cluster::{self, Api, ControlPlane, NODE},
    loopback::Loopback,
    wait::wait_until,
};
use serde_json::{Value, json};

/// A change travels through etcd and back.
const CHANGE: Duration = Duration::from_mins(1);

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "web",
            "labels": {"app": "edge", "gateway.networking.k8s.io/gateway-name": "edge"},
        },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{"name": "nginx", "image": "nginx"}],
        },
    })
}

/// What the user `hopsight` may do, as the chart writes it.
fn grant(api: &Api, rules: &Value) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "hopsight"}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "hopsight"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hopsight"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "hopsight"}],
    });
    let group = "/apis/rbac.authorization.k8s.io/v1";
    api.create(&format!("{group}/clusterroles"), &role).unwrap();
    api.create(&format!("{group}/clusterrolebindings"), &binding).unwrap();
}

/// The CRD of a kind of the Gateway API without its schema, whose rules are newer than this server.
fn definition(kind: &str, plural: &str) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.gateway.networking.k8s.io"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

fn watch(plane: &ControlPlane, gateway: bool) -> Watch {
    let options = KubernetesOptions {
        kubeconfig: Some(plane.hopsight.clone()),
        node: Some(NODE.into()),
        labels: vec!["app".into()],
        gateway,
        ..KubernetesOptions::default()
    };
    Watch::start(&options).unwrap()
}

#[test]
fn the_watches_follow_a_real_api_server() {
    let Some(bin) = cluster::binaries() else {
        hopsight_test_support::not_run(
            "real API server",
            "there is no kube-apiserver; `cargo xtask cluster` builds one",
        );
        return;
    };
    let dir = tempfile::Builder::new().prefix("hs-").tempdir().unwrap();
    let block = Loopback::reserve().unwrap();
    let plane =
        ControlPlane::start(&dir.path().join("k"), &bin, block, block.socket(3, 6443)).unwrap();
    let api = Api::new(&plane.admin).unwrap();
    api.create("/api/v1/namespaces", &json!({"metadata": {"name": "web"}})).unwrap();
    let pods = "/api/v1/namespaces/web/pods";
    let account = json!({"metadata": {"name": "default"}});
    api.create("/api/v1/namespaces/web/serviceaccounts", &account).unwrap();
    let made = api.create(pods, &pod("edge", NODE)).unwrap();
    api.create(pods, &pod("elsewhere", "node-b")).unwrap();

    let watch_pods = watch(&plane, false);
    wait_until("the permission that is missing", CHANGE, || match watch_pods.state() {
        NameSourceState::Degraded(why) => Ok(Some(why).filter(|why| why.contains("forbidden"))),
        _ => Ok(None),
    })
    .unwrap();
    let resource = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
    grant(
        &api,
        &json!([
            resource("", &["pods", "services"]),
            resource("discovery.k8s.io", &["endpointslices"]),
            resource(
                "gateway.networking.k8s.io",
                &[
                    "backendtlspolicies",
                    "gateways",
                    "httproutes",
                    "grpcroutes",
                    "tlsroutes",
                    "tcproutes"
                ]
            ),
        ]),
    );

    let uid = made["metadata"]["uid"].as_str().unwrap();
    let id = "c".repeat(64);
    let cgroup = CgroupIdentity::of_path(&format!("/kubepods/besteffort/pod{uid}/{id}"));
    let find = |wanted: &dyn Fn(&PodIdentity) -> bool| {
        let found = wait_until("the pod", CHANGE, || {
            Ok(watch_pods.tables().pod(&cgroup).filter(|pod| wanted(pod)))
        });
        found.unwrap_or_else(|error| panic!("{error:#}: {watch_pods:?}"))
    };
    let found = find(&|_| true);
    assert_eq!((&*found.namespace, &*found.pod, found.container.as_deref()), ("web", "edge", None));
    assert_eq!(found.labels["app"], "edge");
    let status = json!({"status": {"containerStatuses": [{
        "name": "nginx", "containerID": format!("containerd://{id}"),
        "image": "nginx", "imageID": "", "ready": true, "restartCount": 0,
    }]}});
    api.patch(&format!("{pods}/edge/status"), &status).unwrap();
    let found = find(&|pod| pod.container.is_some());
    assert_eq!(found.container.as_deref(), Some("nginx"));
    assert_eq!(watch_pods.state(), NameSourceState::Ready("watching pods".into()));
    let elsewhere = api.get(&format!("{pods}/elsewhere")).unwrap();
    let elsewhere = elsewhere["metadata"]["uid"].as_str().unwrap().to_owned();
    let elsewhere = CgroupIdentity::of_path(&format!("/kubepods/pod{elsewhere}"));
    assert_eq!(watch_pods.tables().pod(&elsewhere), None, "another node's");

    gateway(&api, &plane, &found);

    api.delete(&format!("{pods}/edge")).unwrap();
    wait_until("the pod to be forgotten", CHANGE, || {
        Ok(watch_pods.tables().pod(&cgroup).is_none().then_some(()))
    })
    .unwrap();
}

/// Services by their addresses, and what the Gateway API intends for them.
fn gateway(api: &Api, plane: &ControlPlane, pod: &PodIdentity) {
    for (kind, plural) in [("BackendTLSPolicy", "backendtlspolicies"), ("Gateway", "gateways")] {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        api.create(path, &definition(kind, plural)).unwrap();
    }
    let service = json!({
        "metadata": {"name": "payments", "namespace": "web"},
        "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "https", "port": 443}]},
    });
    api.create("/api/v1/namespaces/web/services", &service).unwrap();
    let group = "/apis/gateway.networking.k8s.io/v1/namespaces/web";
    let policy = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": {"name": "payments"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "payments"}],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                "hostname": "payments.test",
            },
        },
    });
    let created = |plural: &str, object: &Value| {
        // A new kind is served a moment after its definition.
        wait_until(plural, CHANGE, || Ok(api.create(&format!("{group}/{plural}"), object).ok()))
            .unwrap();
    };
    created("backendtlspolicies", &policy);
    let reference = json!({"group": "", "kind": "Secret", "name": "client"});
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge"},
        "spec": {"tls": {"backend": {"clientCertificateRef": reference}}},
    });
    created("gateways", &gateway);

    let watch = watch(plane, true);
    let address: SocketAddr = "10.96.0.5:443".parse().unwrap();
    let (service, intent) = wait_until("the intent", CHANGE, || {
        let service: Option<Arc<ServicePort>> = watch.tables().service(address);
        let said = |service| watch.tables().said(pod, service, address, Through::default());
        let intent = service.as_deref().and_then(said).map(|said| said.intent);
        Ok(service.zip(intent).filter(|(_, one)| one.client_certificate() == Stated::Yes))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {watch:?}"));
    assert_eq!(service.label(), "web/payments:443");
    assert_eq!((intent.scheme(), intent.verify()), (Scheme::Tls, Stated::Yes));
    assert_eq!(intent.routes[0].expected_name().and_then(Text::literal), Some("payments.test"));
    assert_eq!(intent.routes[0].at.to_string(), "BackendTLSPolicy web/payments");
}

//! What an API server may do to a watch. The stand-in speaks its protocol and follows a script.

use std::{path::Path, thread, time::Duration};

use hopsight_identity::{
    kubernetes::{KubernetesOptions, Watch},
    source_state::NameSourceState,
};
use hopsight_posture::workload::{cgroup::CgroupIdentity, leg::Through};
use hopsight_tests::{
    api_stand_in::{Reply, StandIn},
    wait::wait_until,
};
use serde_json::{Value, json};

/// Longer than the watcher's first back-offs together.
const RECOVERY: Duration = Duration::from_mins(1);

fn pod(name: &str, digit: char) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "web", "uid": uid(digit), "resourceVersion": "101"},
        "spec": {"nodeName": "node-a", "containers": []},
        "status": {"containerStatuses": [
            {"name": "nginx", "containerID": format!("containerd://{}", digit.to_string().repeat(64))}
        ]},
    })
}

fn uid(digit: char) -> String {
    "00000000-0000-4000-8000-000000000000".replace('0', &digit.to_string())
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn gone() -> Value {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    event("ERROR", &status)
}

fn watch(stand_in: &StandIn, dir: &Path) -> Watch {
    let options = KubernetesOptions {
        kubeconfig: Some(stand_in.kubeconfig(dir).unwrap()),
        node: Some("node-a".into()),
        ..KubernetesOptions::default()
    };
    Watch::start(&options).unwrap()
}

/// `pod container` of the pod with this digit.
fn found(watch: &Watch, digit: char) -> Option<String> {
    let path = format!("/kubepods/pod{}/{}", uid(digit), digit.to_string().repeat(64));
    let pod = watch.tables().pod(&CgroupIdentity::of_path(&path))?;
    Some(format!("{} {}", pod.pod, pod.container.as_deref().unwrap_or("-")))
}

#[test]
fn a_watch_survives_what_the_server_does() {
    let one = || Reply::List(vec![pod("edge", 'a')]);
    let both = || Reply::List(vec![pod("edge", 'a'), pod("late", 'b')]);
    let quiet = || Reply::Watch(vec![]);
    let added = || event("ADDED", &pod("late", 'b'));
    let cases: Vec<(&str, Vec<Reply>, Vec<Reply>)> = vec![
        ("an event", vec![one()], vec![Reply::Watch(vec![added()])]),
        ("410 Gone: listed again", vec![one(), both()], vec![Reply::Watch(vec![gone()]), quiet()]),
        (
            "the stream ends in the middle of an event",
            vec![one()],
            vec![Reply::CutWatch(vec![]), Reply::Watch(vec![added()])],
        ),
        (
            "a listing that fails",
            vec![Reply::Refuse(500, "etcd is sad"), one()],
            vec![Reply::Watch(vec![added()])],
        ),
        (
            "a watch that is refused",
            vec![one(), both()],
            vec![Reply::Refuse(500, "etcd is sad"), Reply::Watch(vec![added()])],
        ),
        (
            "the server hangs up",
            vec![Reply::HangUp, one()],
            vec![Reply::HangUp, Reply::Watch(vec![added()])],
        ),
        (
            "something that is no JSON",
            vec![one(), both()],
            vec![Reply::Garbage, Reply::Watch(vec![added()])],
        ),
    ];
    thread::scope(|scope| {
        for (name, lists, watches) in cases {
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let stand_in = StandIn::start(lists, watches).unwrap();
                let watch = watch(&stand_in, dir.path());
                wait_until("both pods", RECOVERY, || {
                    Ok((found(&watch, 'b').as_deref() == Some("late nginx")).then_some(()))
                })
                .unwrap_or_else(|error| {
                    panic!("{name}: {error:#}\n{watch:?}\n{:#?}", stand_in.requests())
                });
                assert_eq!(found(&watch, 'a').as_deref(), Some("edge nginx"), "{name}");
                wait_until("the watch to be ready", RECOVERY, || {
                    let ready = NameSourceState::Ready("watching pods".into());
                    Ok((watch.state() == ready).then_some(()))
                })
                .unwrap();
                let only_this_node = |line: &String| line.contains("spec.nodeName%3Dnode-a");
                assert!(
                    stand_in.requests().iter().all(only_this_node),
                    "{:?}",
                    stand_in.requests()
                );
            });
        }
    });
}

#[test]
fn pods_that_are_gone_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let events = vec![event("DELETED", &pod("edge", 'a')), event("ADDED", &pod("late", 'b'))];
    let lists = [Reply::List(vec![pod("edge", 'a')])];
    let stand_in = StandIn::start(lists, [Reply::Watch(events)]).unwrap();
    let watch = watch(&stand_in, dir.path());
    wait_until("the later pod", RECOVERY, || Ok(found(&watch, 'b'))).unwrap();
    assert_eq!(found(&watch, 'a'), None);
}

#[test]
fn what_does_not_work_is_told() {
    let quiet = || Reply::Watch(vec![]);
    for (name, list, word) in [
        ("no permission", Reply::Refuse(403, "pods is forbidden for hopsight"), "forbidden"),
        ("a server error", Reply::Refuse(500, "etcd is sad"), "etcd is sad"),
        ("no credentials", Reply::Refuse(401, "Unauthorized"), "Unauthorized"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let stand_in = StandIn::start([list], [quiet()]).unwrap();
        let watch = watch(&stand_in, dir.path());
        wait_degraded(&watch, word).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let stand_in = StandIn::start([], []).unwrap();
    let kubeconfig = stand_in.kubeconfig(dir.path()).unwrap();
    drop(stand_in);
    for (kubeconfig, word) in [
        (Some(kubeconfig), "pods: "),
        (Some(dir.path().join("absent")), "absent"),
        (None, "kubernetes.kubeconfig"),
    ] {
        let options = KubernetesOptions { kubeconfig, ..KubernetesOptions::default() };
        let watch = Watch::start(&options).unwrap();
        wait_degraded(&watch, word).unwrap_or_else(|error| panic!("{word}: {error:#}"));
    }
}

/// Waits until the watch says that it does not work, and why.
fn wait_degraded(watch: &Watch, word: &str) -> anyhow::Result<()> {
    wait_until("the reason", RECOVERY, || match watch.state() {
        NameSourceState::Degraded(reason) => {
            anyhow::ensure!(reason.contains(word), "{word:?} is not in {reason:?}");
            Ok(Some(()))
        }
        _ => Ok(None),
    })
}

#[test]
fn pods_stay_known_while_the_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let lists = [Reply::List(vec![pod("edge", 'a')]), Reply::Refuse(500, "etcd is sad")];
    let stand_in = StandIn::start(lists, [Reply::Watch(vec![gone()])]).unwrap();
    let watch = watch(&stand_in, dir.path());
    wait_until("the pod", RECOVERY, || Ok(found(&watch, 'a'))).unwrap();
    wait_degraded(&watch, "etcd is sad").unwrap();
    assert_eq!(found(&watch, 'a').as_deref(), Some("edge nginx"));
}

/// A cluster with a sidecar in `web`, and two DestinationRules: one of a status that nobody knows.
fn mesh() -> Vec<(&'static str, Vec<Value>)> {
    let mut sidecar = pod("edge", 'a');
    sidecar["status"]["containerStatuses"][0]["name"] = json!("istio-proxy");
    let meta = |name: &str| json!({"name": name, "namespace": "web", "generation": 1});
    let mut of_service = meta("payments-1");
    of_service["labels"] = json!({"kubernetes.io/service-name": "payments"});
    let rule = |name: &str, status: Value| {
        let policy = json!({"tls": {"mode": "ISTIO_MUTUAL"}});
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": meta(name), "status": status,
            "spec": {"host": name, "trafficPolicy": policy},
        })
    };
    vec![
        ("/api/v1/pods", vec![sidecar]),
        (
            "/api/v1/services",
            vec![json!({
                "apiVersion": "v1", "kind": "Service", "metadata": meta("payments"),
                "spec": {"clusterIP": "None", "ports": [{"port": 443}]},
            })],
        ),
        (
            "/apis/discovery.k8s.io/v1/endpointslices",
            vec![json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": of_service, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.1.0.7"]}], "ports": [{"port": 8443}],
            })],
        ),
        (
            RULES,
            vec![
                rule("payments", json!({"conditions": [{"type": "Reconciled", "status": "True"}]})),
                rule("ledger", json!({"conditions": "none"})),
            ],
        ),
    ]
}

const RULES: &str = "/apis/networking.istio.io/v1/destinationrules";

#[test]
fn an_object_of_another_shape_is_told_and_a_kind_that_is_removed_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let stand_in = StandIn::serving(mesh()).unwrap();
    let options = KubernetesOptions {
        kubeconfig: Some(stand_in.kubeconfig(dir.path()).unwrap()),
        node: Some("node-a".into()),
        mesh: true,
        ..KubernetesOptions::default()
    };
    let watch = Watch::start(&options).unwrap();
    let address = "10.1.0.7:8443".parse().unwrap();
    let path = format!("/kubepods/pod{}/{}", uid('a'), "a".repeat(64));
    let clusters = ["outbound|443||payments.web.svc.cluster.local"];
    let through = Through { clusters: Some(&clusters), server_name: None };
    let promised = || {
        let sidecar = watch.tables().pod(&CgroupIdentity::of_path(&path))?;
        let service = watch.tables().service(address)?;
        let said = watch.tables().said(&sidecar, &service, address, through)?;
        Some(said.claims.len())
    };
    wait_until("the rule beside it", RECOVERY, || Ok(promised().filter(|&all| all == 3)))
        .unwrap_or_else(|error| panic!("{error:#}: {watch:?}"));
    wait_degraded(&watch, "destinationrules: 1 cannot be read, such as web/ledger: status: ")
        .unwrap_or_else(|error| panic!("{error:#}"));

    stand_in.remove(RULES);
    wait_until("the rules to be forgotten", RECOVERY, || Ok(promised().is_none().then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {watch:?}"));
    wait_until("nothing to be left out", RECOVERY, || {
        Ok(matches!(watch.state(), NameSourceState::Ready(_)).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {watch:?}"));
}

//! The whole agent beside an API server: how it names a proxy in a pod, and what it does while
//! there is no answer. The API server is the stand-in; nginx is moved into a cgroup as the kubelet
//! makes them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hopsight_capture::Cgroup;
use hopsight_posture::{hops::hop::Hop, policy::drift::Compliance};
use hopsight_tests::{
    agent::{Agent, VERDICT},
    api_stand_in::{Reply, StandIn},
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    place::Place,
    requirement,
    wait::wait_until,
};
use serde_json::{Value, json};

/// A cgroup like a container's, removed again when it is empty.
pub(super) struct PodCgroup {
    pub(super) container: PathBuf,
    pub(super) uid: String,
    pub(super) id: String,
}

impl PodCgroup {
    pub(super) fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = u64::from(std::process::id()) << 8 | NEXT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("00000000-0000-4000-8000-{number:012x}");
        let id = format!("{number:064x}");
        let root = Cgroup::open(None).unwrap().path;
        let container = root.join(format!("kubepods/besteffort/pod{uid}/{id}"));
        fs::create_dir_all(&container).unwrap();
        Self { container, uid, id }
    }

    fn add(&self, pid: u32) {
        fs::write(self.container.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for PodCgroup {
    fn drop(&mut self) {
        let pod = self.container.parent().unwrap().to_owned();
        // Its processes are ending; what is not empty yet stays.
        let removed = wait_until("the cgroup to be empty", Duration::from_secs(5), || {
            Ok(fs::remove_dir(&self.container).ok())
        });
        if removed.is_ok() {
            let _ = fs::remove_dir(pod);
        }
    }
}

/// nginx in a pod that speaks plaintext to its upstream.
struct Scene {
    front: SocketAddr,
    upstream: SocketAddr,
    block: Loopback,
    cgroup: PodCgroup,
    _proxy: Nginx,
    _upstream: Nginx,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let block = Loopback::reserve().unwrap();
        let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8080));
        let start = |name: &str, http: String, address| {
            let config = nginx::Config { http, ..nginx::Config::default() };
            Nginx::start(&dir.path().join(name), &config, &Place::here(), address).unwrap()
        };
        let server =
            format!("server {{ listen {upstream}; location / {{ return 200 \"x\"; }} }}\n");
        let server = start("upstream", server, upstream);
        let proxy = format!(
            "upstream pod-payments {{ server {upstream}; }}\n\
             server {{ listen {front}; location / {{ proxy_pass http://pod-payments; }} }}\n"
        );
        let proxy = start("proxy", proxy, front);
        let cgroup = PodCgroup::create();
        // Before its first worker runs a reload would end it.
        wait_until("the proxy to answer", VERDICT, || Ok(http::get(front, "/").ok())).unwrap();
        // The workers of the load that follows begin there as well.
        cgroup.add(proxy.daemon.pid());
        proxy.reload().unwrap();
        Self { front, upstream, block, cgroup, _proxy: proxy, _upstream: server, dir }
    }

    fn agent(&self, kubeconfig: &Path) -> Agent {
        let policy = self.dir.path().join("policy.toml");
        let text = "[[policies]]\nname = \"web\"\nmatch.namespace = \"web\"\nrequire = \"mtls\"\n";
        fs::write(&policy, text).unwrap();
        let config = self.dir.path().join("hopsight.toml");
        let text = format!("[kubernetes]\nkubeconfig = \"{}\"\n", kubeconfig.display());
        fs::write(&config, text).unwrap();
        let options = ["--config", utf8(&config).unwrap(), "--policy", utf8(&policy).unwrap()];
        let own = ["--cgroup", utf8(&self.cgroup.container).unwrap()];
        let options = [&own[..], &options].concat();
        Agent::start(&self.dir.path().join("agent"), self.block.socket(2, 9464), &options).unwrap()
    }

    /// Sends requests until the hop is as `wanted`.
    fn wait_hop(&self, agent: &Agent, what: &str, wanted: impl Fn(&Hop) -> bool) -> Hop {
        wait_until(what, VERDICT, || {
            let _ = http::get(self.front, "/");
            let hops = agent.hops()?.hops;
            let hop = hops.iter().find(|hop| hop.is_to(self.upstream) && wanted(hop));
            Ok(hop.map(|hop| Hop::clone(hop)))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()))
    }

    fn pods(&self) -> Reply {
        Reply::List(vec![json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "edge-7d9c5b6d8-x2x4z", "namespace": "web", "uid": self.cgroup.uid,
                "labels": {"pod-template-hash": "7d9c5b6d8"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-7d9c5b6d8",
                    "uid": "r", "controller": true,
                }],
            },
            "spec": {},
            "status": {"containerStatuses": [
                {"name": "nginx", "containerID": format!("containerd://{}", self.cgroup.id)},
            ]},
        })])
    }
}

pub(super) fn component(agent: &Agent, name: &str) -> Value {
    let ready = agent.get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "{}", ready.body);
    let json: Value = serde_json::from_str(&ready.body).unwrap();
    json["components"][name].clone()
}

#[test]
fn a_proxy_in_a_pod_has_the_name_and_the_policy_of_its_workload() {
    let test = "a_proxy_in_a_pod_has_the_name_and_the_policy_of_its_workload";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let scene = Scene::start();
    let stand_in = StandIn::start([scene.pods()], [Reply::Watch(vec![])]).unwrap();
    let agent = scene.agent(&stand_in.kubeconfig(scene.dir.path()).unwrap());
    assert!(stand_in.requests().is_empty(), "asked before there is a proxy in a pod");
    let hop = scene.wait_hop(&agent, "the violation", |hop| {
        let compliance = hop.context.compliance.as_ref();
        compliance.is_some_and(|compliance| compliance.status == Compliance::Violation)
    });
    assert_eq!((&*hop.proxy, &*hop.upstream), ("web/edge", "pod-payments"));
    assert_eq!(&*hop.context.compliance.unwrap().policy, "web");
    let pod = hop.context.proxy_identity.as_ref().unwrap().kubernetes.clone().unwrap();
    assert_eq!(pod.container.as_deref(), Some("nginx"));
    // No hop stayed under the name that the process has by itself.
    wait_until("no hop to stay under it", VERDICT, || {
        let hops = agent.hops()?.hops;
        let theirs = hops.iter().filter(|hop| hop.is_to(scene.upstream));
        Ok((theirs.count() == 1).then_some(()))
    })
    .unwrap();
    // The hop has its name as soon as the pod is listed; the watch is ready once it began as well.
    wait_until("the watch to be ready", VERDICT, || {
        Ok((component(&agent, "kubernetes")["state"] == "ready").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", component(&agent, "kubernetes")));
}

#[test]
fn without_an_answer_proxies_keep_their_own_names_until_there_is_one() {
    let test = "without_an_answer_proxies_keep_their_own_names_until_there_is_one";
    if !requirement::met(test, &["nginx"]) {
        return;
    }
    let scene = Scene::start();
    let refused = Reply::Refuse(500, "etcd is sad");
    let refusals = std::iter::repeat_n(refused, 3);
    let stand_in = StandIn::start(refusals.chain([scene.pods()]), [Reply::Watch(vec![])]).unwrap();
    let agent = scene.agent(&stand_in.kubeconfig(scene.dir.path()).unwrap());
    let hop = scene.wait_hop(&agent, "the hop by its process name", |_| true);
    assert_eq!(&*hop.proxy, "nginx");
    // Unless the refusals are over by now, they are shown.
    wait_until("the refusals to be told", VERDICT, || {
        let state = component(&agent, "kubernetes");
        let told = state["state"] == "degraded" && state.to_string().contains("etcd is sad");
        Ok((told || stand_in.requests().len() > 3).then_some(()))
    })
    .unwrap();
    // Once there is an answer the hop has its name, and the other one is gone.
    scene.wait_hop(&agent, "the hop by its workload", |hop| &*hop.proxy == "web/edge");
    wait_until("the other name to be forgotten", VERDICT, || {
        let hops = agent.hops()?.hops;
        let of_ours = hops.iter().filter(|hop| hop.is_to(scene.upstream)).count();
        Ok((of_ours == 1).then_some(()))
    })
    .unwrap();
}

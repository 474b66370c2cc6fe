//! nginx in a container of a real containerd: whose it is, and what its library shows.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use hopsight_core::model::{Evidence, Security};
use hopsight_posture::{hops::hop::Hop, workload::pod::PodSource};
use hopsight_tests::{
    agent::{Agent, VERDICT},
    cgroup::Cgroup,
    containerd::{Containerd, IMAGE},
    cri::Pod,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    requirement,
    wait::wait_until,
};
use serde_json::Value;

/// The uid of a pod that only this test has.
fn pod_uid(test: u32) -> String {
    format!("5b3c1d0e-7a2f-4c6b-9d8e-{:08x}{test:04x}", std::process::id())
}

/// The cgroup that the pod's processes are in: the kubelet's, or where that is one of version 1,
/// which no network program can be attached to, the one that containerd was started in.
fn cgroup_of(uid: &str, containerd: &Cgroup) -> PathBuf {
    let root = hopsight_capture::Cgroup::open(None).unwrap().path;
    let pod = root.join(format!("kubepods/burstable/pod{uid}"));
    if pod.exists() { pod } else { containerd.path().to_owned() }
}

/// The configuration of the nginx in the container.
const CONFIGURATION: &str = "
daemon off;
user root;
error_log stderr info;
pid /run/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
    uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
    upstream container-payments { server UPSTREAM; }
    server {
        listen FRONT;
        location / {
            proxy_ssl_session_reuse off;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_certificate /etc/nginx/test/pki/client.pem;
            proxy_ssl_certificate_key /etc/nginx/test/pki/client.key;
            proxy_pass https://container-payments;
        }
    }
}
";

/// A socket that nobody answers at, a pod, and the agent's options for its labels.
fn agent_configuration(dir: &Path, socket: &Path) -> PathBuf {
    let path = dir.join("hopsight.toml");
    let text = format!(
        "[kubernetes]\nenabled = false\nlabels = [\"app\"]\n[cri]\nsocket = \"{}\"\n",
        socket.display()
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn nginx_in_a_pod_is_named_by_the_container_runtime() {
    let test = "nginx_in_a_pod_is_named_by_the_container_runtime";
    if !requirement::met(test, &["nginx", "containerd", "ctr", "runc"]) {
        return;
    }
    let dir = tempfile::Builder::new().prefix("hs-").tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("etc/pki")).unwrap();
    let block = Loopback::reserve().unwrap();
    let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8443));
    let server = format!(
        "server {{ listen {upstream} ssl; ssl_protocols TLSv1.3; ssl_certificate {}; \
         ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on; \
         ssl_verify_depth 3; location / {{ return 200 \"x\"; }} }}\n",
        utf8(&pki.server.chain).unwrap(),
        utf8(&pki.server.key).unwrap(),
        utf8(&pki.root).unwrap(),
    );
    let config = nginx::Config { http: server, ..nginx::Config::default() };
    let _upstream =
        Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream).unwrap();
    let proxy = CONFIGURATION
        .replace("UPSTREAM", &upstream.to_string())
        .replace("FRONT", &front.to_string());
    fs::write(dir.path().join("etc/nginx.conf"), proxy).unwrap();

    let cgroup = Cgroup::create().unwrap();
    let place = &cgroup.place();
    let containerd = Containerd::start(&dir.path().join("c"), place).unwrap();
    let cri = containerd.cri().unwrap();
    let uid = pod_uid(1);
    let labels = [("app", "edge"), ("pod-template-hash", "7d9c5b6d8"), ("unasked", "x")];
    let pod = Pod { namespace: "web", name: "edge-7d9c5b6d8-x2x4z", uid: &uid, labels: &labels };
    let pod = cri.run_pod(&pod).unwrap_or_else(|error| {
        panic!("{error:#}\n{}", containerd.daemon.log());
    });
    let command = ["/bin/nginx", "-e", "stderr", "-c", "/etc/nginx/test/nginx.conf"];
    let mounts = [(Path::new("/etc/nginx/test"), &*dir.path().join("etc"))];
    let container = pod.start_container("proxy", IMAGE, &command, &mounts).unwrap();
    let config = agent_configuration(dir.path(), &containerd.socket);
    let watched = cgroup_of(&uid, &cgroup);
    let agent = Agent::start(
        &dir.path().join("agent"),
        block.socket(2, 9464),
        &["--config", utf8(&config).unwrap(), "--cgroup", utf8(&watched).unwrap()],
    )
    .unwrap();
    let hop = wait_until("a request through the container", VERDICT, || {
        let answered = http::get(front, "/").is_ok_and(|response| response.status == 200);
        let hops = agent.hops()?.hops;
        let hop = hops.iter().find(|hop| hop.is_to(upstream)).map(|hop| Hop::clone(hop));
        let is_shown = |hop: &Hop| {
            let shown = (&*hop.proxy, hop.state.security, hop.state.evidence);
            answered
                && shown == ("web/edge", Security::Mtls, Evidence::Library)
                && hop.counts.count_of(|_| true) > 0
        };
        Ok(hop.filter(is_shown))
    });
    let hop = hop.unwrap_or_else(|error| {
        panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops());
    });
    let ready = agent.get("/readyz").unwrap().body;
    assert_eq!((&*hop.proxy, &*hop.upstream), ("web/edge", "container-payments"), "{hop:#?}");
    // TLS 1.3: only the OpenSSL in the container's own root shows the client certificate.
    assert_eq!((hop.state.security, hop.state.evidence), (Security::Mtls, Evidence::Library));
    let identity = hop.context.proxy_identity.clone().unwrap();
    assert_eq!(identity.cgroup.container.as_ref().unwrap().id, container);
    assert_eq!(identity.cgroup.pod.as_ref().unwrap().uid, uid);
    let pod = identity.kubernetes.clone().unwrap();
    assert_eq!((&*pod.namespace, &*pod.pod), ("web", "edge-7d9c5b6d8-x2x4z"));
    assert_eq!(pod.container.as_deref(), Some("proxy"));
    assert_eq!((pod.workload.kind.as_str(), pod.workload.name.as_str()), ("Deployment", "edge"));
    assert_eq!(pod.labels.keys().collect::<Vec<_>>(), ["app"], "only what was asked for");
    assert_eq!(pod.source, PodSource::Cri);
    // The certificate was read in the container's root.
    let finding = hop.context.configured_certificate.clone().unwrap();
    assert!(finding.certificate.is_some() && finding.problems.is_empty(), "{finding:?}");
    let labels = [
        "proxy=\"web/edge\"",
        "proxy_namespace=\"web\"",
        "proxy_workload_kind=\"Deployment\"",
        "proxy_workload=\"edge\"",
    ];
    wait_until("hopsight_proxy_info", VERDICT, || agent.metric("hopsight_proxy_info{", &labels))
        .unwrap();
    assert!(ready.contains("\"cri\""), "{ready}");
}

#[test]
fn a_runtime_that_does_not_answer_is_told_and_stops_nothing() {
    let test = "a_runtime_that_does_not_answer_is_told_and_stops_nothing";
    if !requirement::met(test, &["nginx", "containerd", "ctr", "runc"]) {
        return;
    }
    let dir = tempfile::Builder::new().prefix("hs-").tempdir().unwrap();
    let block = Loopback::reserve().unwrap();
    let (front, upstream) = (block.socket(1, 7000), block.socket(10, 8080));
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    let server = format!("server {{ listen {upstream}; location / {{ return 200 \"x\"; }} }}\n");
    let config = nginx::Config { http: server, ..nginx::Config::default() };
    let _upstream =
        Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream).unwrap();
    let proxy = CONFIGURATION
        .replace("https://", "http://")
        .lines()
        .filter(|line| !line.contains("proxy_ssl_certificate"))
        .fold(String::new(), |text, line| text + line + "\n")
        .replace("UPSTREAM", &upstream.to_string())
        .replace("FRONT", &front.to_string());
    fs::write(dir.path().join("etc/nginx.conf"), proxy).unwrap();

    let cgroup = Cgroup::create().unwrap();
    let place = &cgroup.place();
    let containerd = Containerd::start(&dir.path().join("c"), place).unwrap();
    let cri = containerd.cri().unwrap();
    let uid = pod_uid(2);
    let pod = Pod { namespace: "web", name: "other", uid: &uid, labels: &[] };
    let pod = cri.run_pod(&pod).unwrap();
    let command = ["/bin/nginx", "-e", "stderr", "-c", "/etc/nginx/test/nginx.conf"];
    let mounts = [(Path::new("/etc/nginx/test"), &*dir.path().join("etc"))];
    // Takes connections, and never says a word.
    let socket = dir.path().join("silent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    pod.start_container("proxy", IMAGE, &command, &mounts).unwrap();
    let config = agent_configuration(dir.path(), &socket);
    let watched = cgroup_of(&uid, &cgroup);
    let agent = Agent::start(
        &dir.path().join("agent"),
        block.socket(2, 9464),
        &["--config", utf8(&config).unwrap(), "--cgroup", utf8(&watched).unwrap()],
    )
    .unwrap();
    let (hop, status, ready) =
        wait_until("the hop, by its process name, and the state", VERDICT, || {
            let _ = http::get(front, "/");
            let hops = agent.hops()?.hops;
            let is_it =
                |hop: &&Hop| hop.is_to(upstream) && hop.state.security == Security::Plaintext;
            let Some(hop) = hops.iter().map(|hop| &**hop).find(is_it) else { return Ok(None) };
            let ready = agent.get("/readyz")?;
            let json: Value = serde_json::from_str(&ready.body)?;
            let state = &json["components"]["cri"]["state"];
            Ok((state == "degraded").then(|| (Hop::clone(hop), ready.status, json.clone())))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", agent.daemon.log()));
    assert_eq!(status, 200, "{ready}");
    let detail = ready["components"]["cri"]["detail"].as_str().unwrap();
    assert!(detail.contains("silent.sock"), "{detail}");
    assert_eq!((&*hop.proxy, hop.state.security), ("nginx", Security::Plaintext));
    assert!(hop.context.proxy_identity.clone().unwrap().cgroup.pod.is_some());
}

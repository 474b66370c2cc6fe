//! `cargo xtask cluster`: a real Kubernetes node with nginx in a pod, and what hopsight calls it.

use std::{fs, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use hopsight::export::hop::Hop;
use hopsight_tests::{
    agent::Agent,
    cluster::{self, Api, ControlPlane, NODE},
    containerd::IMAGE,
    http, interrupt,
    loopback::Loopback,
    nginx::utf8,
    pki::Pki,
    process, requirement,
    wait::wait_until,
};
use serde_json::{Value, json};

/// How long pods may take to run on a busy machine.
const PODS: Duration = Duration::from_mins(3);
/// How long the agent may take to name the hop.
const NAMED: Duration = Duration::from_mins(1);
/// Where the last run is written down.
const PAGE: &str = "agent/deploy/CLUSTER.md";

fn main() -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    let needs = ["nginx", "etcd", "containerd", "ctr", "runc"];
    anyhow::ensure!(requirement::met("cluster", &needs), "the cluster cannot run");
    let bin = cluster::binaries().context("find kube-apiserver; run `cargo xtask cluster`")?;
    let dir = tempfile::Builder::new().prefix("hs-").tempdir()?;
    let block = Loopback::reserve()?;
    let mut plane = ControlPlane::start(&dir.path().join("k"), &bin, block)?;
    println!("  ok  etcd and kube-apiserver");
    let containerd = plane.add_node(block)?;
    println!("  ok  kube-controller-manager, kube-scheduler, kubelet, containerd");
    let api = Api::new(&plane.admin)?;
    let shown = show(&api, &plane, dir.path(), block);
    if shown.is_err() {
        for daemon in plane.daemons.iter().chain([&containerd.daemon]) {
            let log = daemon.log();
            let end: Vec<_> = log.lines().rev().take(8).collect();
            eprintln!("{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
    // The kubelet ends first, or it would start the pods again.
    drop(plane.daemons.remove(0));
    let cleaned = containerd.cri().and_then(|cri| cri.remove_all_pods());
    let hop = shown?;
    cleaned.context("remove the pods")?;
    let page = page(&hop, &bin)?;
    fs::write(PAGE, &page).with_context(|| format!("write {PAGE}"))?;
    println!("\n{page}");
    Ok(ExitCode::SUCCESS)
}

/// Runs proxy and upstream in pods, and the agent beside them; the hop as the agent names it.
fn show(api: &Api, plane: &ControlPlane, dir: &Path, block: Loopback) -> anyhow::Result<Hop> {
    let address = cluster::host_address()?;
    let front = SocketAddr::from((block.host(1), 7000));
    // The node has one network: a port of a range that nothing else here takes.
    let upstream = SocketAddr::from((address, 28_443));
    let pki = Pki::create(&dir.join("etc/pki"))?;
    let certificates = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {};",
        in_pod(&pki.server.chain)?,
        in_pod(&pki.server.key)?,
        in_pod(&pki.root)?
    );
    let server = format!(
        "server {{ listen {upstream} ssl; {certificates} ssl_verify_client on; \
         ssl_verify_depth 3; location / {{ return 200 x; }} }}"
    );
    let proxy = format!(
        "upstream payments {{ server {upstream}; }} server {{ listen {front}; location / {{ \
         proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; proxy_pass https://payments; }} }}",
        in_pod(&pki.client.chain)?,
        in_pod(&pki.client.key)?
    );
    for (name, http) in [("upstream", server), ("proxy", proxy)] {
        fs::write(dir.join("etc").join(format!("{name}.conf")), configuration(&http))?;
    }
    for (namespace, name, file) in
        [("shop", "payments", "upstream.conf"), ("web", "edge", "proxy.conf")]
    {
        api.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))?;
        // The controller manager makes it a moment later.
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        wait_until("the service account", PODS, || Ok(api.get(&account).ok()))?;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        api.create(&path, &deployment(name, file, &dir.join("etc")))?;
    }
    grant(api)?;
    let config = dir.join("hopsight.toml");
    let text = format!(
        "[kubernetes]\nkubeconfig = \"{}\"\nnode = \"{NODE}\"\nlabels = [\"app\"]\n",
        utf8(&plane.hopsight)?
    );
    fs::write(&config, text)?;
    let agent =
        Agent::start(&dir.join("agent"), block.socket(2, 9464), &["--config", utf8(&config)?])?;
    println!("  ok  hopsight");
    wait_until("the pods to serve", PODS, || {
        interrupt::check()?;
        Ok(http::get(front, "/").ok().filter(|response| response.status == 200))
    })
    .with_context(|| pods(api))?;
    println!("  ok  nginx in pods web/edge and shop/payments");
    wait_until("the hop with its pod", NAMED, || {
        let _ = http::get(front, "/");
        let hops = agent.hops()?.hops;
        let hop = hops.iter().find(|hop| &*hop.proxy == "web/edge" && hop.is_to(upstream));
        let named = hop.filter(|hop| {
            let identity = hop.context.proxy_identity.as_ref();
            let pod = identity.and_then(|identity| identity.kubernetes.as_ref());
            pod.is_some_and(|pod| pod.container.is_some()) && hop.count_of(|_| true) > 0
        });
        Ok(named.map(|hop| Hop::clone(hop)))
    })
    .with_context(|| format!("{}\n{:#?}", agent.daemon.log(), agent.hops()))
}

/// A file of the PKI as the pods see it.
fn in_pod(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().and_then(|name| name.to_str()).context("name a file")?;
    Ok(format!("/etc/nginx/test/pki/{name}"))
}

fn configuration(http: &str) -> String {
    format!(
        "daemon off;\nuser root;\nerror_log stderr info;\npid /run/nginx.pid;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path /tmp/1;\nproxy_temp_path /tmp/2;\n\
         fastcgi_temp_path /tmp/3;\nuwsgi_temp_path /tmp/4;\nscgi_temp_path /tmp/5;\n{http}\n}}\n"
    )
}

fn deployment(name: &str, file: &str, files: &Path) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {
                "hostNetwork": true, "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "nginx", "image": IMAGE, "imagePullPolicy": "Never",
                    "command": ["/bin/nginx", "-e", "stderr", "-c", format!("/etc/nginx/test/{file}")],
                    "volumeMounts": [{"name": "files", "mountPath": "/etc/nginx/test"}],
                }],
                "volumes": [{"name": "files", "hostPath": {"path": files}}],
            },
        }},
    })
}

/// What the agent may do: list and watch pods, and nothing else.
fn grant(api: &Api) -> anyhow::Result<()> {
    let group = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let role = json!({"metadata": {"name": "hopsight"}, "rules": rules});
    api.create(&format!("{group}/clusterroles"), &role)?;
    let subject =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "hopsight"});
    let binding = json!({
        "metadata": {"name": "hopsight"}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hopsight"},
    });
    api.create(&format!("{group}/clusterrolebindings"), &binding).map(drop)
}

/// The pods and their states, for an error.
fn pods(api: &Api) -> String {
    match api.get("/api/v1/pods") {
        Err(error) => format!("{error:#}"),
        Ok(list) => {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let line = |pod: &Value| {
                format!("{} {} {}", pod["metadata"]["name"], pod["spec"]["nodeName"], pod["status"])
            };
            items.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

/// The run as a page.
fn page(hop: &Hop, bin: &Path) -> anyhow::Result<String> {
    let version = |program: &str, args: &[&str]| {
        let text = process::run(program, args).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    };
    let kubernetes = version(utf8(&bin.join("kube-apiserver"))?, &["--version"]);
    let identity = hop.context.proxy_identity.as_ref().context("the hop has an identity")?;
    let pod = identity.kubernetes.as_ref().context("the hop has a pod")?;
    Ok(format!(
        "# A cluster on one machine\n\n\
         `cargo xtask cluster` builds Kubernetes from Debian's source package (the first time, many \
         minutes), starts it beside etcd and containerd in directories of its own, runs nginx and \
         its upstream in pods, and shows what hopsight calls the hop. It needs root, ends everything \
         it started, and writes this page.\n\n\
         The last run:\n\n\
         | | |\n|---|---|\n\
         | control plane and kubelet | {kubernetes} |\n\
         | etcd | {} |\n\
         | container runtime | {} |\n\
         | kernel | {} |\n\
         | hop | `{}` to `{}` |\n\
         | security, evidence | {}, {} |\n\
         | namespace, workload | {}, {} {} |\n\
         | pod, container | {}, {} |\n\
         | named by | {} |\n",
        version("etcd", &["--version"]),
        version("containerd", &["--version"]),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        hop.proxy,
        hop.upstream,
        hop.state.security,
        hop.state.evidence,
        pod.namespace,
        pod.workload.kind,
        pod.workload.name,
        pod.pod,
        pod.container.as_deref().unwrap_or("-"),
        pod.source,
    ))
}

//! `cargo xtask cluster`: a real Kubernetes node with nginx in pods and hopsight installed by its
//! chart, and what that calls the hop.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use hopsight_posture::hops::{hop::Hop, table::Snapshot};
use hopsight_tests::{
    cluster::{self, Api, ControlPlane},
    containerd::{Containerd, IMAGE},
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
/// The archive of hopsight's image, made by `cargo xtask package image`.
const HOPSIGHT_IMAGE: &str = "HOPSIGHT_IMAGE";
/// The Python that has Helm's SDK.
const PYTHON: &str = "HOPSIGHT_CHART_PYTHON";
const CHART: &str = "agent/deploy/chart";
/// Release and namespace.
const RELEASE: &str = "hopsight";
/// The address of the service `kubernetes`, which the node has itself.
const API: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)), 443);
/// There is no `helm` to run, only its SDK.
const HELM: &str = "
import json, sys
import helm_python as helm
kubeconfig, release, action, *rest = sys.argv[1:]
with helm.Config(kubeconfig_path=kubeconfig, namespace=release) as config:
    if action == 'install':
        chart, values = rest
        config.install(chart, release, json.loads(values), namespace=release, create_namespace=True)
    elif action == 'uninstall':
        config.uninstall(release, timeout=60, wait='legacy')
print(helm.helm_sdk_version())
";

fn main() -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    let needs = ["nginx", "etcd", "containerd", "ctr", "runc"];
    anyhow::ensure!(requirement::met("cluster", &needs), "the cluster cannot run");
    let bin = cluster::binaries().context("find kube-apiserver; run `cargo xtask cluster`")?;
    let dir = tempfile::Builder::new().prefix("hs-").tempdir()?;
    let block = Loopback::reserve()?;
    let mut plane = ControlPlane::start(&dir.path().join("k"), &bin, block, API.into())?;
    println!("  ok  etcd and kube-apiserver");
    let containerd = plane.add_node(block)?;
    println!("  ok  kube-controller-manager, kube-scheduler, kubelet, containerd");
    let api = Api::new(&plane.admin)?;
    let shown = show(&api, &plane, &containerd, dir.path(), block);
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
    // A kubelet that has ended unmounts no volumes.
    let unmount = format!(
        "awk '$2 ~ \"^{}/k/kubelet/\" {{ print $2 }}' /proc/self/mounts | xargs --no-run-if-empty umount",
        utf8(dir.path())?
    );
    process::run("sh", ["-c", &unmount])?;
    let shown = shown?;
    cleaned.context("remove the pods")?;
    let page = page(&shown, &bin)?;
    fs::write(PAGE, &page).with_context(|| format!("write {PAGE}"))?;
    println!("\n{page}");
    Ok(ExitCode::SUCCESS)
}

/// What an installation has shown.
struct Shown {
    /// Its values.
    values: Value,
    hop: Hop,
    /// The agent's pod.
    agent: Value,
    readyz: Value,
    helm: String,
}

/// Runs proxy and upstream in pods, and hopsight from its chart, once for each set of values.
fn show(
    api: &Api,
    plane: &ControlPlane,
    containerd: &Containerd,
    dir: &Path,
    block: Loopback,
) -> anyhow::Result<Vec<Shown>> {
    let front = SocketAddr::from((block.host(1), 7000));
    // The node has one network: a port of a range that nothing else here takes.
    let upstream = SocketAddr::from((cluster::host_address()?, 28_443));
    run_proxy(api, dir, front, upstream)?;
    wait_until("the pods to serve", PODS, || {
        interrupt::check()?;
        Ok(http::get(front, "/").ok().filter(|response| response.status == 200))
    })
    .with_context(|| pods(api))?;
    println!("  ok  nginx in pods web/edge and shop/payments");
    let image = env::var_os(HOPSIGHT_IMAGE).context("run `cargo xtask cluster`: no image")?;
    containerd.import(Path::new(&image))?;
    let image = json!({"pullPolicy": "Never"});
    let sets = [
        json!({"image": image}),
        // The other source of names, and no CAP_SYS_ADMIN.
        json!({
            "image": image, "libraryProbes": false, "kubernetes": {"enabled": false},
            "criSocket": {"enabled": true, "path": containerd.socket},
        }),
    ];
    let shown = sets.into_iter().map(|values| install(api, plane, values, front, upstream));
    shown.collect()
}

/// Installs the chart, asks its pod for the hop, and uninstalls it.
fn install(
    api: &Api,
    plane: &ControlPlane,
    values: Value,
    front: SocketAddr,
    upstream: SocketAddr,
) -> anyhow::Result<Shown> {
    let helm = helm(plane, &["install", CHART, &values.to_string()])?;
    println!("  ok  helm install ({helm}) {values}");
    let agent = wait_until("the DaemonSet to be ready", PODS, || {
        interrupt::check()?;
        let pods = api.get(&format!("/api/v1/namespaces/{RELEASE}/pods"))?;
        let pod = &pods["items"][0];
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok(ready.then(|| pod.clone()))
    })
    .with_context(|| format!("{}\n{}", pods(api), logs(RELEASE)))?;
    let address = agent["status"]["podIP"].as_str().context("the pod has an address")?;
    let http = SocketAddr::new(address.parse().context("read the pod's address")?, 9464);
    println!("  ok  DaemonSet {RELEASE}/{RELEASE}, ready at {http}");
    let hops = || -> anyhow::Result<Snapshot> {
        serde_json::from_str(&http::get(http, "/hops")?.body).context("read /hops")
    };
    let readyz = || -> anyhow::Result<Value> {
        serde_json::from_str(&http::get(http, "/readyz")?.body).context("read /readyz")
    };
    let hop = wait_until("the hop with its pod and its security", NAMED, || {
        let _ = http::get(front, "/");
        let hops = hops()?.hops;
        let hop = hops.iter().find(|hop| &*hop.proxy == "web/edge" && hop.is_to(upstream));
        let named = hop.filter(|hop| {
            let identity = hop.context.proxy_identity.as_ref();
            let pod = identity.and_then(|identity| identity.kubernetes.as_ref());
            let pod = pod.is_some_and(|pod| pod.container.is_some());
            pod && hop.state.security.as_str() != "unknown"
        });
        Ok(named.map(|hop| Hop::clone(hop)))
    })
    .with_context(|| format!("{:#?}\n{:#?}\n{}", readyz(), hops(), logs(RELEASE)))?;
    // It is written again every few seconds.
    let readyz = wait_until("/readyz to say where names are from", NAMED, || {
        let answer = readyz()?;
        let details = ["kubernetes", "cri"].map(|name| &answer["components"][name]["detail"]);
        let named =
            details.iter().any(|detail| detail.as_str().is_some_and(|s| s.contains("pods")));
        Ok(named.then_some(answer))
    })?;
    println!("  ok  {} to {}\n{readyz:#}", hop.proxy, hop.upstream);
    self::helm(plane, &["uninstall"])?;
    wait_until("the DaemonSet's pod to end", PODS, || {
        let pods = api.get(&format!("/api/v1/namespaces/{RELEASE}/pods"))?;
        Ok(pods["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    println!("  ok  helm uninstall");
    Ok(Shown { values, hop, agent, readyz, helm })
}

/// nginx as `web/edge` and its upstream, nginx as `shop/payments`, with mutual TLS between them.
fn run_proxy(api: &Api, dir: &Path, front: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
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
    // Whoever has not seen a session begin can say nothing of handshakes that resume it.
    let proxy = format!(
        "upstream payments {{ server {upstream}; }} server {{ listen {front}; location / {{ \
         proxy_ssl_session_reuse off; proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; proxy_pass https://payments; }} }}",
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
    Ok(())
}

/// Runs Helm's SDK as the cluster's administrator; its version.
fn helm(plane: &ControlPlane, args: &[&str]) -> anyhow::Result<String> {
    let python = env::var_os(PYTHON).map(PathBuf::from);
    let python = python.context("run `cargo xtask cluster`: no Python with Helm's SDK")?;
    let own = ["-c", HELM, utf8(&plane.admin)?, RELEASE];
    let said = process::run(utf8(&python)?, [&own, args].concat());
    Ok(said.with_context(|| format!("helm {}", args[0]))?.trim().to_owned())
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

/// What the containers of a namespace have written, for an error.
fn logs(namespace: &str) -> String {
    let find = format!("tail -n 30 /var/log/pods/{namespace}_*/*/*.log");
    process::run("sh", ["-c", &find]).unwrap_or_else(|error| format!("{error:#}"))
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
fn page(shown: &[Shown], bin: &Path) -> anyhow::Result<String> {
    let version = |program: &str, args: &[&str]| {
        let text = process::run(program, args).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    };
    let kubernetes = version(utf8(&bin.join("kube-apiserver"))?, &["--version"]);
    let installations = shown.iter().map(installation).collect::<anyhow::Result<String>>()?;
    Ok(format!(
        "# A cluster on one machine\n\n\
         `cargo xtask cluster` builds Kubernetes from Debian's source package (the first time, many \
         minutes), starts it beside etcd and containerd in directories and a network of its own, runs \
         nginx and its upstream in pods with mutual TLS between them, imports the image that `cargo \
         xtask package image` makes, installs [the chart](chart) with Helm's SDK, asks the \
         DaemonSet's pod what it calls the hop, and uninstalls it; twice, with different values. It \
         needs root, ends everything it started, and writes this page.\n\n\
         Not there: `kube-proxy` (the node itself has the address of the service `kubernetes`), \
         AppArmor, SELinux, Pod Security.\n\n\
         The last run:\n\n\
         | | |\n|---|---|\n\
         | control plane and kubelet | {kubernetes} |\n\
         | etcd | {} |\n\
         | container runtime | {} |\n\
         | kernel | {} |\n\
         | Helm's SDK | {} |\n{installations}",
        version("etcd", &["--version"]),
        version("containerd", &["--version"]),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        shown.first().map_or("", |one| &one.helm),
    ))
}

fn installation(shown: &Shown) -> anyhow::Result<String> {
    let Shown { values, hop, agent, readyz, helm: _ } = shown;
    let mut values = values.clone();
    if let Some(path) = values.pointer_mut("/criSocket/path") {
        // In a directory that ends with the run.
        *path = json!("…/containerd.sock");
    }
    let identity = hop.context.proxy_identity.as_ref().context("the hop has an identity")?;
    let pod = identity.kubernetes.as_ref().context("the hop has a pod")?;
    let container = &agent["spec"]["containers"][0];
    let capabilities = container["securityContext"]["capabilities"]["add"].as_array();
    let capabilities: Vec<_> =
        capabilities.into_iter().flatten().filter_map(Value::as_str).collect();
    let components = readyz["components"].as_object().context("/readyz has components")?;
    let components: Vec<_> = components
        .iter()
        .map(|(name, component)| {
            format!("{name} {}", component["state"].as_str().unwrap_or_default())
        })
        .collect();
    Ok(format!(
        "\n| values | `{values}` |\n|---|---|\n\
         | agent | pod {}, image {} |\n\
         | its capabilities | {} |\n\
         | its `/readyz` | ready: {}; {} |\n\
         | hop | `{}` to `{}` |\n\
         | security, evidence | {}, {} |\n\
         | namespace, workload | {}, {} {} |\n\
         | pod, container | {}, {} |\n\
         | named by | {} |\n",
        agent["metadata"]["name"].as_str().unwrap_or_default(),
        container["image"].as_str().unwrap_or_default(),
        capabilities.join(", "),
        readyz["ready"],
        components.join(", "),
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

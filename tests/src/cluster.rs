//! A real Kubernetes control plane, as `cargo xtask cluster` has built it: etcd and the API server,
//! and with a node everything else.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    containerd::Containerd,
    loopback::Loopback,
    nginx::utf8,
    process::{self, Daemon},
    wait::wait_until,
};

/// Where the binaries are, if `cargo xtask cluster` has built them.
pub const VARIABLE: &str = "HOPSIGHT_KUBERNETES";
/// The only node's name.
pub const NODE: &str = "node-a";
/// How long a program of the cluster may take to answer; they share the machine.
const START: Duration = Duration::from_mins(2);

/// The directory with `kube-apiserver` and the others.
#[must_use]
pub fn binaries() -> Option<PathBuf> {
    let cache = || {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
        Some(cache.join("hopsight/cluster/bin"))
    };
    let directory = env::var_os(VARIABLE).map(PathBuf::from).or_else(cache)?;
    directory.join("kube-apiserver").exists().then_some(directory)
}

/// etcd and the API server.
#[derive(Debug)]
pub struct ControlPlane {
    /// Kubeconfig of somebody who may do everything.
    pub admin: PathBuf,
    /// Kubeconfig of the user `hopsight`, who may do nothing until a role says so.
    pub hopsight: PathBuf,
    /// The programs, last started first.
    pub daemons: Vec<Daemon>,
    bin: PathBuf,
    dir: PathBuf,
    service_key: PathBuf,
    /// What the API server's certificate is signed by, and the certificate.
    authority: PathBuf,
}

impl ControlPlane {
    /// Starts both with everything they write below `dir`; the API server listens on `api`.
    ///
    /// # Errors
    /// When they do not answer in time.
    pub fn start(dir: &Path, bin: &Path, block: Loopback, api: SocketAddr) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let (clients, peers) = (block.socket(3, 2379), block.socket(3, 2380));
        let url = |address: SocketAddr| format!("http://{address}");
        let mut etcd = Daemon::spawn(
            "etcd",
            [
                "--data-dir".to_owned(),
                utf8(&dir.join("etcd"))?.to_owned(),
                format!("--listen-client-urls={}", url(clients)),
                format!("--advertise-client-urls={}", url(clients)),
                format!("--listen-peer-urls={}", url(peers)),
                format!("--initial-advertise-peer-urls={}", url(peers)),
                format!("--initial-cluster=default={}", url(peers)),
            ],
            &dir.join("etcd.log"),
        )?;
        etcd.wait_listening(clients)?;
        let tokens = dir.join("tokens.csv");
        fs::write(&tokens, "admin-token,admin,1,system:masters\nhopsight-token,hopsight,2\n")?;
        // This release takes RSA keys, or EC keys in the older of their two forms.
        let key = dir.join("service-accounts.key");
        process::run("openssl", ["genrsa", "-out", utf8(&key)?, "2048"])?;
        let server = Daemon::spawn(
            bin.join("kube-apiserver"),
            [
                format!("--etcd-servers={}", url(clients)),
                format!("--bind-address={}", api.ip()),
                format!("--secure-port={}", api.port()),
                // The service network leads to no loopback address.
                "--endpoint-reconciler-type=none".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                // It makes its certificate itself.
                format!("--cert-dir={}", utf8(dir)?),
                format!("--token-auth-file={}", utf8(&tokens)?),
                "--authorization-mode=RBAC".to_owned(),
                format!("--service-account-key-file={}", utf8(&key)?),
                format!("--service-account-signing-key-file={}", utf8(&key)?),
                "--service-account-issuer=https://hopsight.test".to_owned(),
                "--allow-privileged=true".to_owned(),
            ],
            &dir.join("kube-apiserver.log"),
        )?;
        let authority = dir.join("apiserver.crt");
        let kubeconfig = |user: &str| {
            let path = dir.join(format!("{user}.json"));
            let cluster = json!({
                "server": format!("https://{api}"),
                "certificate-authority": authority,
            });
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": format!("{user}-token")}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            });
            fs::write(&path, config.to_string()).context("write a kubeconfig").map(|()| path)
        };
        let mut plane = Self {
            admin: kubeconfig("admin")?,
            hopsight: kubeconfig("hopsight")?,
            daemons: vec![server, etcd],
            bin: bin.to_owned(),
            dir: dir.to_owned(),
            service_key: key,
            authority: authority.clone(),
        };
        wait_until("the API server to be ready", START, || {
            plane.daemons[0].ensure_running()?;
            let namespace =
                Api::new(&plane.admin).and_then(|admin| admin.get("/api/v1/namespaces/default"));
            Ok(namespace.ok())
        })
        .with_context(|| tail(&plane.daemons[0]))?;
        Ok(plane)
    }

    /// Adds the controllers, the scheduler and a node of its own containerd. Its pods reach the
    /// node and nothing else: there is no `kube-proxy`, so a service's address leads nowhere.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn add_node(&mut self, block: Loopback) -> anyhow::Result<Containerd> {
        let containerd = Containerd::start(&self.dir.join("c"), &crate::place::Place::here())?;
        containerd.add_network()?;
        let kubeconfig = format!("--kubeconfig={}", utf8(&self.admin)?);
        let key = utf8(&self.service_key)?;
        let log = |name: &str| self.dir.join(format!("{name}.log"));
        let manager = Daemon::spawn(
            self.bin.join("kube-controller-manager"),
            [
                kubeconfig.clone(),
                format!("--service-account-private-key-file={key}"),
                format!("--root-ca-file={}", utf8(&self.authority)?),
                "--leader-elect=false".into(),
                "--port=0".into(),
                "--secure-port=0".into(),
            ],
            &log("kube-controller-manager"),
        )?;
        let scheduler = Daemon::spawn(
            self.bin.join("kube-scheduler"),
            [
                kubeconfig.clone(),
                "--leader-elect=false".into(),
                "--port=0".into(),
                "--secure-port=0".into(),
            ],
            &log("kube-scheduler"),
        )?;
        let config = self.dir.join("kubelet.json");
        let text = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": block.host(4).to_string(), "readOnlyPort": 0, "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs", "failSwapOn": false, "enforceNodeAllocatable": [],
            // Without CAP_SYS_RESOURCE it cannot be lowered.
            "oomScoreAdj": 0, "evictionHard": {"memory.available": "1Mi"},
            "syncFrequency": "5s", "fileCheckFrequency": "5s",
        });
        fs::write(&config, text.to_string()).context("write the kubelet's configuration")?;
        let socket = format!("unix://{}", utf8(&containerd.socket)?);
        let kubelet = Daemon::spawn(
            self.bin.join("kubelet"),
            [
                kubeconfig,
                format!("--config={}", utf8(&config)?),
                format!("--root-dir={}", utf8(&self.dir.join("kubelet"))?),
                format!("--hostname-override={NODE}"),
                "--container-runtime=remote".to_owned(),
                format!("--container-runtime-endpoint={socket}"),
                format!("--image-service-endpoint={socket}"),
            ],
            &log("kubelet"),
        )?;
        self.daemons.splice(0..0, [kubelet, scheduler, manager]);
        let admin = Api::new(&self.admin)?;
        wait_until("the node to register", START, || {
            self.daemons[0].ensure_running()?;
            Ok(admin.get(&format!("/api/v1/nodes/{NODE}")).ok())
        })
        .with_context(|| tail(&self.daemons[0]))?;
        Ok(containerd)
    }
}

/// The end of a program's log.
fn tail(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<_> = log.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// An address of this machine beyond loopback, which a node needs.
///
/// # Errors
/// When it has none.
pub fn host_address() -> anyhow::Result<Ipv4Addr> {
    let text = process::run("hostname", ["-I"])?;
    let found = text.split_ascii_whitespace().find_map(|word| word.parse().ok());
    found.context("find an IPv4 address of this machine")
}

/// The API, for writing objects to it.
pub struct Api {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Api {
    /// As whoever the kubeconfig says.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig)?;
            let config =
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, "application/json", None)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.ask("POST", path, "application/json", Some(object))
    }

    /// Merges a change into an object or its status.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn patch(&self, path: &str, change: &Value) -> anyhow::Result<Value> {
        self.ask("PATCH", path, "application/merge-patch+json", Some(change))
    }

    /// Deletes an object at once.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let options = json!({"gracePeriodSeconds": 0});
        self.ask("DELETE", path, "application/json", Some(&options))
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(body)?;
        let answer = self.runtime.block_on(self.client.request::<Value>(request));
        answer.with_context(|| format!("{method} {path}"))
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

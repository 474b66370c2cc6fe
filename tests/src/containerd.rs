//! A containerd of our own: its state in a directory of ours, its images made from this machine's
//! files, no registry.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    cri::Cri,
    nginx::utf8,
    place::Place,
    process::{self, Daemon},
    wait::wait_until,
};

/// The image that both the sandbox and the containers run.
pub const IMAGE: &str = "hopsight.test/nginx:1";
/// How long containerd may take to answer.
const START: Duration = Duration::from_secs(30);

/// A running containerd with [`IMAGE`] in it.
///
/// What it started must be removed before it is dropped: shims outlive their containerd on purpose.
#[derive(Debug)]
pub struct Containerd {
    /// The process.
    pub daemon: Daemon,
    /// Its socket, the CRI's as well.
    pub socket: PathBuf,
}

impl Containerd {
    /// Starts it at `place` with everything below `dir`, which has to be short (socket paths are), and imports
    /// the image.
    ///
    /// # Errors
    /// When it does not start, or refuses the image.
    pub fn start(dir: &Path, place: &Place) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let socket = dir.join("containerd.sock");
        let config = dir.join("config.toml");
        let text = configuration(utf8(dir)?, utf8(&socket)?);
        fs::write(&config, text).context("write containerd's configuration")?;
        let image = image(dir).context("make the image")?;
        let log = dir.join("containerd.log");
        let daemon = Daemon::spawn_at(place, "containerd", ["--config", utf8(&config)?], &log)?;
        let mut containerd = Self { daemon, socket };
        wait_until("containerd to answer", START, || {
            containerd.daemon.ensure_running()?;
            Ok(containerd.ctr(&["version"]).ok())
        })
        .with_context(|| format!("containerd wrote:\n{}", containerd.daemon.log()))?;
        containerd.import(&image)?;
        Ok(containerd)
    }

    /// A client of its CRI.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn cri(&self) -> anyhow::Result<Cri> {
        Cri::connect(&self.socket)
    }

    /// Gives pods an address of their own and a way to the node (CNI's `ptp`), once Debian's
    /// `containernetworking-plugins` are there.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn add_network(&self) -> anyhow::Result<()> {
        let dir = self.socket.parent().context("the socket has a directory")?;
        let conf = dir.join("cni/conf");
        fs::create_dir_all(&conf).with_context(|| format!("create {}", conf.display()))?;
        let ranges = json!([[{"subnet": "10.244.0.0/24"}]]);
        let ipam = json!({
            "type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": dir.join("cni/addresses"),
        });
        let network = json!({
            "cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": ipam}],
        });
        let file = conf.join("10-pods.conflist");
        fs::write(&file, network.to_string()).with_context(|| format!("write {}", file.display()))
    }

    /// Imports an image from an archive.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let imported = self.ctr(&["images", "import", utf8(archive)?]);
        imported.with_context(|| format!("import {}", archive.display())).map(drop)
    }

    fn ctr(&self, args: &[&str]) -> anyhow::Result<String> {
        let own = ["--address", utf8(&self.socket)?, "--namespace", "k8s.io"];
        process::run("ctr", [&own, args].concat())
    }
}

fn configuration(dir: &str, socket: &str) -> String {
    // Without CAP_SYS_RESOURCE a sandbox's oom_score_adj cannot be lowered.
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni/conf"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
"#
    )
}

/// An OCI image (image-spec 1.0) of nginx, a shell and the libraries they need, as a tar archive.
fn image(dir: &Path) -> anyhow::Result<PathBuf> {
    let (root, layout) = (dir.join("rootfs"), dir.join("layout"));
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    root_file_system(&root)?;
    let layer = dir.join("layer.tar");
    tar(&layer, &root)?;
    let layer = fs::read(&layer).context("read the layer")?;
    let diff = hex(&layer);
    let layer = blob(&blobs, "application/vnd.oci.image.layer.v1.tar", &layer)?;
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "infinity"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
    });
    let config = blob(&blobs, "application/vnd.oci.image.config.v1+json", &json_bytes(&config)?)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer],
    });
    let mut manifest =
        blob(&blobs, "application/vnd.oci.image.manifest.v1+json", &json_bytes(&manifest)?)?;
    manifest["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), json_bytes(&index)?)?;
    fs::write(layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let archive = dir.join("image.tar");
    tar(&archive, &layout)?;
    Ok(archive)
}

fn root_file_system(root: &Path) -> anyhow::Result<()> {
    for directory in ["bin", "dev", "etc/nginx", "proc", "sys", "tmp", "var/log/nginx", "run"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    for program in ["nginx", "sleep"] {
        let path = find(program).with_context(|| format!("find {program}"))?;
        copy(&path, root)?;
        let inside = root.join("bin").join(program);
        if !inside.exists() {
            fs::copy(&path, inside).with_context(|| format!("copy {}", path.display()))?;
        }
        for library in process::run("ldd", [utf8(&path)?])?.split_ascii_whitespace() {
            if library.starts_with('/') {
                copy(Path::new(library), root)?;
            }
        }
    }
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    let system = ["/usr/sbin", "/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
    system.into_iter().find(|path| path.is_file())
}

/// Copies a file to the same place below `root`, links followed.
fn copy(file: &Path, root: &Path) -> anyhow::Result<()> {
    let inside = root.join(file.strip_prefix("/").unwrap_or(file));
    fs::create_dir_all(inside.parent().context("a file has a directory")?)?;
    fs::copy(file, &inside).with_context(|| format!("copy {}", file.display())).map(drop)
}

fn tar(archive: &Path, directory: &Path) -> anyhow::Result<()> {
    let status = Command::new("tar")
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .arg(".")
        .status()
        .context("run tar")?;
    anyhow::ensure!(status.success(), "tar ended with {status}");
    Ok(())
}

/// Writes a blob; its descriptor.
fn blob(blobs: &Path, media_type: &str, content: &[u8]) -> anyhow::Result<Value> {
    let hash = hex(content);
    fs::write(blobs.join(&hash), content).context("write a blob")?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hash}"), "size": content.len()}))
}

fn json_bytes(value: &Value) -> anyhow::Result<Vec<u8>> {
    serde_json::to_vec(value).context("write JSON")
}

fn hex(content: &[u8]) -> String {
    hopsight_core::model::hex(digest(&SHA256, content).as_ref())
}

/// This machine's architecture as Go names it.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

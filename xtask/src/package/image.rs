//! An OCI image (image-spec 1.1, "Image Layout") with one file in it, without a container engine.
//!
//! The same binary gives the same image, byte for byte: no times, no users, sorted names.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{VERSION, architecture, directory};
use crate::command::{output, run};

/// Name of the image where it is imported; `agent/deploy/chart/values.yaml` has the same.
const NAME: &str = "localhost/hopsight";

/// Writes the image and returns where it is.
pub(super) fn write(binary: &Path) -> anyhow::Result<PathBuf> {
    let dir = directory()?;
    let layout = dir.join("image");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| format!("remove {}", layout.display()))?;
    }
    let blobs = layout.join("blobs/sha256");
    let root = layout.join("root");
    for dir in [&blobs, &root] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let file = root.join("hopsight");
    fs::copy(binary, &file).with_context(|| format!("copy {}", binary.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).context("make it executable")?;

    let layer = layout.join("layer.tar");
    tar(&layer, &root, &["hopsight"])?;
    let uncompressed = sha256(&layer)?;
    run(Command::new("gzip").args(["--no-name", "-9"]).arg(&layer))?;
    let layer = Blob::take(&blobs, &layout.join("layer.tar.gz"))?;
    let arch = architecture();
    let config = Blob::write(&blobs, &config(arch, &uncompressed))?;
    let manifest = Blob::write(&blobs, &manifest(&config, &layer))?;
    text(&layout.join("index.json"), &index(&manifest.descriptor(MANIFEST)))?;
    text(&layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;

    let image = dir.join(format!("hopsight-{VERSION}-{arch}.tar"));
    tar(&image, &layout, &["blobs", "index.json", "oci-layout"])?;
    fs::remove_dir_all(&layout).with_context(|| format!("remove {}", layout.display()))?;
    Ok(image)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A file of the layout, named by its content.
pub(super) struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn take(blobs: &Path, file: &Path) -> anyhow::Result<Self> {
        let digest = sha256(file)?;
        let place = blobs.join(&digest);
        fs::rename(file, &place).with_context(|| format!("move {}", file.display()))?;
        let size = fs::metadata(&place).context("read the size of a blob")?.len();
        Ok(Self { digest, size })
    }

    pub(super) fn write(blobs: &Path, json: &str) -> anyhow::Result<Self> {
        let file = blobs.join("new");
        text(&file, json)?;
        Self::take(blobs, &file)
    }

    pub(super) fn descriptor(&self, media_type: &str) -> String {
        let Self { digest, size } = self;
        format!(r#""mediaType":"{media_type}","digest":"sha256:{digest}","size":{size}"#)
    }
}

fn config(arch: &str, layer: &str) -> String {
    format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Entrypoint":["/hopsight"],"Cmd":["run"],"Labels":{{"org.opencontainers.image.title":"hopsight","org.opencontainers.image.version":"{VERSION}","org.opencontainers.image.licenses":"Apache-2.0 OR MIT"}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{layer}"]}},"history":[{{"created_by":"cargo xtask package image"}}]}}"#
    )
}

fn manifest(config: &Blob, layer: &Blob) -> String {
    let config = config.descriptor("application/vnd.oci.image.config.v1+json");
    let layer = layer.descriptor("application/vnd.oci.image.layer.v1.tar+gzip");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{{config}}},"layers":[{{{layer}}}]}}"#
    )
}

/// The index of a layout with one image, which has this descriptor.
pub(super) fn index(image: &str) -> String {
    // The first annotation is the specification's, the second is where containerd looks for a name.
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{{image},"annotations":{{"org.opencontainers.image.ref.name":"{VERSION}","io.containerd.image.name":"{NAME}:{VERSION}"}}}}]}}"#
    )
}

/// Archives files without times and users, sorted.
pub(super) fn tar(archive: &Path, from: &Path, names: &[&str]) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--mtime=@0", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(from)
        .args(names);
    run(&mut tar)
}

/// Digest of a file, in hexadecimal digits.
pub(super) fn sha256(file: &Path) -> anyhow::Result<String> {
    let path = file.to_str().context("the path is not UTF-8")?;
    let line = output("sha256sum", &[path]).with_context(|| format!("run sha256sum {path}"))?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

fn text(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

//! One image for several instruction sets: an index of the manifests of images that were made on
//! machines of their own (image-spec 1.1, "Image Index").

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{
    VERSION, directory,
    image::{self, Blob, tar},
};
use crate::command::run;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Puts images of [`super::image()`] together and returns where the result is. Their index is one line of
/// a form that is known.
pub(super) fn write(images: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let dir = directory()?;
    let layout = dir.join("index");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| format!("remove {}", layout.display()))?;
    }
    fs::create_dir_all(&layout).with_context(|| format!("create {}", layout.display()))?;
    let mut manifests = Vec::new();
    let mut architectures = BTreeSet::new();
    for image in images {
        let mut untar = Command::new("tar");
        run(untar.arg("--extract").arg("--file").arg(image).arg("--directory").arg(&layout))?;
        let index = fs::read_to_string(layout.join("index.json")).context("read an index")?;
        let (manifest, architecture) = manifest(&index, &layout)
            .with_context(|| format!("find the one manifest of {}", image.display()))?;
        anyhow::ensure!(architectures.insert(architecture), "two images are for one architecture");
        manifests.push(manifest);
    }
    let all = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        manifests.join(",")
    );
    // What stands in the layout's own index are images, of which this is one.
    let all = Blob::write(&layout.join("blobs/sha256"), &all)?;
    let index = image::index(&all.descriptor(INDEX));
    fs::write(layout.join("index.json"), index).context("write the index")?;
    let archive = dir.join(format!("hopsight-{VERSION}-index.tar"));
    tar(&archive, &layout, &["blobs", "index.json", "oci-layout"])?;
    fs::remove_dir_all(&layout).with_context(|| format!("remove {}", layout.display()))?;
    Ok(archive)
}

/// The descriptor in an index with its platform, and the architecture.
fn manifest(index: &str, layout: &Path) -> Option<(String, String)> {
    let descriptor = index.split_once(r#""manifests":[{"#)?.1.split_once(r#","annotations""#)?.0;
    let digest = |text: &str| {
        let hex = text.split_once(r#""digest":"sha256:"#)?.1.split('"').next()?;
        Some(layout.join("blobs/sha256").join(hex))
    };
    let manifest = fs::read_to_string(digest(descriptor)?).ok()?;
    let config = fs::read_to_string(digest(manifest.split_once(r#""config":"#)?.1)?).ok()?;
    let architecture = config.split_once(r#""architecture":""#)?.1.split('"').next()?.to_owned();
    let platform = format!(r#""platform":{{"architecture":"{architecture}","os":"linux"}}"#);
    Some((format!("{{{descriptor},{platform}}}"), architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_gets_its_platform() {
        let layout = std::env::temp_dir().join(format!("hopsight-index-{}", std::process::id()));
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join("aa"), r#"{"config":{"mediaType":"c","digest":"sha256:bb"}}"#)
            .unwrap();
        fs::write(blobs.join("bb"), r#"{"architecture":"arm64","os":"linux"}"#).unwrap();
        let index =
            r#"{"manifests":[{"mediaType":"m","digest":"sha256:aa","size":7,"annotations":{}}]}"#;
        let found = manifest(index, &layout);
        fs::remove_dir_all(&layout).unwrap();
        let (descriptor, architecture) = found.unwrap();
        assert_eq!(architecture, "arm64");
        assert_eq!(
            descriptor,
            r#"{"mediaType":"m","digest":"sha256:aa","size":7,"platform":{"architecture":"arm64","os":"linux"}}"#
        );
        assert!(manifest("{}", &layout).is_none());
    }
}

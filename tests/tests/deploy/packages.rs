//! The static binary, the image and the Debian package, as `cargo xtask package check` makes them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hopsight_posture::hops::table::Snapshot;
use hopsight_tests::{
    agent::{VERDICT, is_address},
    case, http,
    process::{self, Daemon},
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use serde_json::Value;

const START: Duration = Duration::from_secs(30);

/// The file of this ending that xtask has made.
fn package(ending: &str) -> PathBuf {
    let dir = env::var_os("HOPSIGHT_PACKAGES").expect("`cargo xtask package check` sets it");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_str().is_some_and(|name| name.ends_with(ending)));
    files.sort();
    files.pop().unwrap_or_else(|| panic!("no {ending} in {}", Path::new(&dir).display()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn the_static_binary_works_alone_in_its_root() {
    if !requirement::met("the_static_binary_works_alone_in_its_root", &["nginx", "unshare"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http", "mtls13"]), Network::Ipv4).unwrap();
    let root = topology.dir().join("root");
    for dir in ["proc", "sys"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(package("/hopsight"), root.join("hopsight")).unwrap();
    let http = topology.spare_address();
    let root = text(&root);
    let enter = format!(
        "mount --make-rprivate / && mount --rbind /proc {root}/proc && mount --rbind /sys {root}/sys \
         && exec chroot {root} /hopsight"
    );
    let check =
        process::run("unshare", ["--mount", "sh", "-c", &format!("{enter} check")]).unwrap();
    println!("{check}");
    let run = format!("{enter} run --http {http} --user 65532");
    let log = topology.dir().join("static.log");
    let mut agent = Daemon::spawn("unshare", ["--mount", "sh", "-c", &run], &log).unwrap();
    wait_until("the agent to be ready", START, || {
        agent.ensure_running()?;
        Ok(http::get(http, "/readyz").ok().filter(|response| response.status == 200))
    })
    .unwrap();
    for (name, security) in [("http", "plaintext"), ("mtls13", "mtls")] {
        let hop = topology.hop(name).unwrap();
        hop.request().unwrap();
        wait_until(&format!("{name} to be {security}"), VERDICT, || {
            let hops: Snapshot = serde_json::from_str(&http::get(http, "/hops")?.body)?;
            let found = hops.hops.iter().find(|found| is_address(&found.upstream, hop.dial));
            Ok(found.filter(|found| found.state.security.as_str() == security).map(drop))
        })
        .unwrap();
    }
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn the_image_is_the_binary_under_its_digests() {
    let dir = tempfile::tempdir().unwrap();
    // Not that of several architectures.
    let image = package("64.tar");
    process::run("tar", ["-xf", text(&image), "-C", text(dir.path())]).unwrap();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = dir.path().join("blobs/sha256").join(digest);
        let sum = process::run("sha256sum", [text(&path)]).unwrap();
        assert!(sum.starts_with(digest), "{sum}");
        assert_eq!(descriptor["size"], fs::metadata(&path).unwrap().len());
        path
    };
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    assert_eq!(json(&dir.path().join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&dir.path().join("index.json"));
    let manifest = json(&blob(&index["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    assert_eq!(config["config"]["Entrypoint"][0], "/hopsight");
    let layer = blob(&manifest["layers"][0]);
    let files = process::run("tar", ["-tzf", text(&layer)]).unwrap();
    assert_eq!(files, "hopsight\n");
    process::run("tar", ["-xzf", text(&layer), "-C", text(dir.path())]).unwrap();
    let (inside, made) = (dir.path().join("hopsight"), package("/hopsight"));
    process::run("cmp", [text(&inside), text(&made)]).unwrap();
    let uncompressed =
        process::run("sh", ["-c", &format!("gzip -dc {} | sha256sum", text(&layer))]).unwrap();
    let expected = config["rootfs"]["diff_ids"][0].as_str().unwrap();
    assert_eq!(uncompressed.split(' ').next(), expected.strip_prefix("sha256:"));
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn the_archive_has_what_a_host_needs_and_gives_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let archive = package(".tar.gz");
    process::run("tar", ["-xzf", text(&archive), "-C", text(dir.path())]).unwrap();
    let inside = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(
        inside.file_name().unwrap(),
        package(".tar.gz").file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz")
    );
    for file in [
        "hopsight",
        "hopsight.1",
        "hopsight.service",
        "hopsight.toml",
        "hopsight.bash",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        assert!(inside.join(file).exists(), "{file}");
    }
    process::run("cmp", [text(&inside.join("hopsight")), text(&package("/hopsight"))]).unwrap();
    let listed = process::run("tar", ["-tvzf", text(&archive), "--numeric-owner"]).unwrap();
    for line in listed.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" 1970-01-01 "), "{line}");
    }
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn digests_and_provenance_are_of_the_files_beside_them() {
    let sums = package(".sha256");
    let here = sums.parent().unwrap();
    let check = format!("cd '{}' && sha256sum --check --strict '{}'", text(here), text(&sums));
    let said = process::run("sh", ["-c", &check]).unwrap();
    assert_eq!(said.lines().filter(|line| line.ends_with(": OK")).count(), 5, "{said}");
    let statement: Value =
        serde_json::from_slice(&fs::read(package(".provenance.json")).unwrap()).unwrap();
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let sums = fs::read_to_string(sums).unwrap();
    let subjects = statement["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), 4, "{statement:#}");
    for subject in subjects {
        let (name, digest) = (&subject["name"], &subject["digest"]["sha256"]);
        let line = format!("{}  {}", digest.as_str().unwrap(), name.as_str().unwrap());
        assert!(sums.lines().any(|found| found == line), "{line}");
    }
    let definition = &statement["predicate"]["buildDefinition"];
    let commit = definition["resolvedDependencies"][0]["digest"]["gitCommit"].as_str().unwrap();
    assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn the_debian_package_has_what_a_host_needs() {
    let dir = tempfile::tempdir().unwrap();
    let deb = package(".deb");
    process::run("dpkg-deb", ["--extract", text(&deb), text(dir.path())]).unwrap();
    for file in [
        "usr/bin/hopsight",
        "etc/hopsight/hopsight.toml",
        "usr/lib/systemd/system/hopsight.service",
        "usr/share/man/man1/hopsight.1.gz",
        "usr/share/bash-completion/completions/hopsight",
        "usr/share/zsh/vendor-completions/_hopsight",
        "usr/share/doc/hopsight/README.md",
        "usr/share/doc/hopsight/copyright",
    ] {
        assert!(
            dir.path().join(file).exists(),
            "{file}: {:?}",
            process::run("dpkg-deb", ["-c", text(&deb)])
        );
    }
    let control = process::run("dpkg-deb", ["--field", text(&deb)]).unwrap();
    println!("{control}");
    let depends = control.lines().find_map(|line| line.strip_prefix("Depends:"));
    assert!(depends.is_none_or(|depends| depends.trim().is_empty()), "it is static: {control}");
    let program = dir.path().join("usr/bin/hopsight");
    process::run("cmp", [text(&program), text(&package("/hopsight"))]).unwrap();
    let config = dir.path().join("etc/hopsight/hopsight.toml");
    let answer = process::run(text(&program), ["config", "--check", text(&config)]).unwrap();
    assert!(answer.contains("valid"), "{answer}");
    let scripts = dir.path().join("scripts");
    process::run("dpkg-deb", ["--control", text(&deb), text(&scripts)]).unwrap();
    let postinst = fs::read_to_string(scripts.join("postinst")).unwrap();
    assert!(postinst.contains("deb-systemd-helper"), "{postinst}");
    assert!(fs::read_to_string(scripts.join("conffiles")).unwrap().contains("/etc/hopsight/"));
}

#[test]
#[ignore = "wants what `cargo xtask package check` makes"]
fn the_bill_of_materials_names_what_is_linked() {
    let bom: Value = serde_json::from_slice(&fs::read(package(".cdx.json")).unwrap()).unwrap();
    assert_eq!(bom["bomFormat"], "CycloneDX");
    let components = bom["components"].as_array().unwrap();
    let names: Vec<_> =
        components.iter().filter_map(|component| component["name"].as_str()).collect();
    for name in ["aya", "rustls", "ring", "tls-parser", "landlock", "seccompiler"] {
        assert!(names.contains(&name), "{name} is not among {} components", names.len());
    }
    println!("{} components", names.len());
}

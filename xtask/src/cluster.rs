//! `cargo xtask cluster`: a real Kubernetes on this machine, from Debian's packages and source.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    apt, cache,
    cargo::{built, cargo},
    chart,
    command::{self, installed},
    package, setup,
};

/// What the cluster takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build the programs and end
    #[arg(long)]
    build_only: bool,
    /// Make the image of this static binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What builds and runs it.
const PACKAGES: &[&str] = &[
    "containerd",
    "containernetworking-plugins",
    "dpkg-dev",
    "etcd-server",
    "golang-1.19-go",
    "golang-github-modern-go-reflect2-dev",
    "rsync",
    "runc",
];
/// In the order they are needed.
const PROGRAMS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// What the source package says of itself; it has no git history to take it from.
const VERSION: &str = "KUBE_GIT_COMMIT=unknown
KUBE_GIT_TREE_STATE=archive
KUBE_GIT_VERSION=v1.20.2
KUBE_GIT_MAJOR=1
KUBE_GIT_MINOR=20
";
/// Mounts and a network of its own, which end with the last process: the kubelet needs shared
/// mounts and an address that is not loopback, and kubelet and CNI write to fixed places. 10.96.0.1 is the
/// service `kubernetes`, at which pods look for the API server. `$0` is the program.
const ISOLATION: &str = "
mount --make-rshared /
for dir in /run/containerd /run/netns /var/lib/cni /var/log/containers /var/log/pods; do
    mkdir -p $dir
    mount -t tmpfs tmpfs $dir
done
ip link set lo up
ip address add 10.96.0.1/32 dev lo
ip link add node type veth peer name wire
ip address add 10.200.0.1/24 dev node
ip link set node up
ip link set wire up
ip route add default via 10.200.0.254 dev node
exec \"$0\"
";
/// Where the harness looks for the programs.
const VARIABLE: &str = "HOPSIGHT_KUBERNETES";
/// Where the harness looks for the image.
const IMAGE: &str = "HOPSIGHT_IMAGE";

/// Builds Kubernetes if that was not done before (half an hour), and becomes the cluster's proof.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let bin = programs()?;
    if args.build_only {
        println!("  ok  Kubernetes ({})", bin.display());
        return Ok(());
    }
    setup::run(setup::Args::default())?;
    println!("build");
    let image = package::image(args.binary.as_deref())?;
    command::run(&mut cargo(&["build", "--package", "hopsight-tests"]))?;
    let mut proof = Command::new("unshare");
    proof
        .args(["--mount", "--net", "--propagation", "private", "--", "sh", "-euc", ISOLATION])
        .arg(built("hopsight-cluster")?)
        .env(IMAGE, image)
        .env(chart::VARIABLE, chart::python().context("install Helm's SDK (`cargo xtask setup`)")?)
        .env(VARIABLE, bin);
    Err(command::replace(&mut proof))
}

/// The directory of the programs, built where they are missing.
fn programs() -> anyhow::Result<PathBuf> {
    let cache = cache::directory()?.join("cluster");
    let bin = cache.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let etcd_and_runtime = ["etcd", "containerd", "runc"].iter().all(|one| installed(one))
        && Path::new("/usr/lib/cni/ptp").exists();
    let missing: Vec<&str> =
        PROGRAMS.iter().copied().filter(|program| !bin.join(program).exists()).collect();
    if !missing.is_empty() || !etcd_and_runtime {
        apt::install(PACKAGES)?;
    }
    if missing.is_empty() {
        return Ok(bin);
    }
    let source = source(&cache)?;
    for program in missing {
        println!("  building {program}: many minutes, {}", cache.join("build.log").display());
        build(&cache, &source, program)?;
        let built = source.join("_output/local/go/bin").join(program);
        fs::copy(&built, bin.join(program)).with_context(|| format!("copy {}", built.display()))?;
    }
    Ok(bin)
}

/// Debian's source package, unpacked and patched.
fn source(cache: &Path) -> anyhow::Result<PathBuf> {
    let source = cache.join("source");
    if source.join("Makefile").exists() {
        return Ok(source);
    }
    println!("  fetching Debian's source of Kubernetes");
    let lists = cache.join("lists/partial");
    fs::create_dir_all(&lists).with_context(|| format!("create {}", lists.display()))?;
    let list = cache.join("sources.list");
    let suite = "deb-src http://deb.debian.org/debian bookworm main\n";
    fs::write(&list, suite).with_context(|| format!("write {}", list.display()))?;
    for args in [&["update", "-qq"][..], &["source", "-qq", "--download-only", "kubernetes"]] {
        // Lists of our own: the machine's know no sources, and stay as they are.
        let own = [
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", cache.join("lists").display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
        ];
        let mut apt_get = Command::new("apt-get");
        apt_get.args(own.iter().flat_map(|option| ["-o", option])).args(args);
        command::run(apt_get.current_dir(cache))?;
    }
    let description = fs::read_dir(cache)
        .context("list the cache directory")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "dsc"))
        .context("find the source package that was fetched")?;
    let mut unpack = Command::new("dpkg-source");
    command::run(unpack.args(["--no-check", "-x"]).arg(description).arg(&source))?;
    // The release beside it (1.0.1) crashes when built with Go 1.18 or later.
    let reflect = source.join("vendor/github.com/modern-go/reflect2");
    fs::remove_dir_all(&reflect).with_context(|| format!("remove {}", reflect.display()))?;
    let newer = "/usr/share/gocode/src/github.com/modern-go/reflect2";
    command::run(Command::new("cp").args(["-r", newer]).arg(&reflect))?;
    fs::write(source.join("version.txt"), VERSION).context("write the version")?;
    // As Go before modules expects it.
    let packages = source.join(".go/src/k8s.io");
    fs::create_dir_all(&packages).with_context(|| format!("create {}", packages.display()))?;
    symlink("../../..", packages.join("kubernetes")).context("link the source into a GOPATH")?;
    Ok(source)
}

fn build(cache: &Path, source: &Path, program: &str) -> anyhow::Result<()> {
    let log = fs::File::create(cache.join("build.log")).context("create the build log")?;
    let errors = log.try_clone().context("duplicate the build log")?;
    let path = env::var("PATH").unwrap_or_default();
    let mut make = Command::new("nice");
    make.args(["make", &format!("WHAT=cmd/{program}")])
        .current_dir(source)
        .env("PATH", format!("/usr/lib/go-1.19/bin:{path}"))
        .env("GOPATH", source.join(".go"))
        .env("GOCACHE", cache.join("go-cache"))
        .env("KUBE_GIT_VERSION_FILE", source.join("version.txt"))
        .envs([("CGO_ENABLED", "0"), ("GO111MODULE", "off"), ("GOPROXY", "off")])
        .stdout(log)
        .stderr(errors);
    command::run(&mut make)
}

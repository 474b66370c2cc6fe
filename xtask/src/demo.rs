//! `cargo xtask demo`: hands over to the demo program of the test package.

use std::{process::Command, time::Instant};

use crate::{
    cargo::{built, cargo},
    command, setup, wheel,
};

/// What the demo takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after the table; exit status 1 if a verdict differs from what is configured
    #[arg(long)]
    once: bool,
}

/// Sets up, builds and becomes the demo.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    setup::run(setup::Args::default())?;
    println!("build");
    let packages = ["build", "--package", "hopsight-tests", "--bins"];
    command::run(&mut cargo(&packages))?;
    println!("set up and built in {:.1} s", start.elapsed().as_secs_f64());
    let mut demo = Command::new(built("hopsight-demo")?);
    demo.env("HOPSIGHT_BIN", built("hopsight-agent")?);
    if args.once {
        demo.arg("--once");
    }
    wheel::announce(&mut demo);
    Err(command::replace(&mut demo))
}

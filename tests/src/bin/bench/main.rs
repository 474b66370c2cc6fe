//! `cargo xtask bench`: what hopsight costs real proxies, compared with other observers.
//!
//! All figures are ratios of interleaved rounds, or counts. Each measurement prints a table and
//! writes every round to a JSON file.

mod empty_program;
mod idle;
mod kernel;
mod latency;
mod load;
mod observer;
mod overhead;
mod processor;
mod prometheus;
mod proxies;
mod spread;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hopsight_tests::{interrupt, requirement};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    /// Where to write the result
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// nginx with and without observers
    Overhead(overhead::Args),
    /// Run time of the kernel programs
    Kernel(kernel::Args),
    /// Time to the verdict, and losses
    Latency(latency::Args),
    /// An agent with nothing to do
    Idle(idle::Args),
    /// Answers every byte with itself until standard input ends (the peer of `kernel`)
    #[command(hide = true)]
    Echo { address: SocketAddr },
}

fn main() -> anyhow::Result<()> {
    let Cli { bench, json } = Cli::parse();
    if let Bench::Echo { address } = bench {
        return kernel::echo(address);
    }
    interrupt::install()?;
    let ready = requirement::met("bench", &["nginx", "wrk"]);
    anyhow::ensure!(ready, "nothing can be measured");
    let result = match bench {
        Bench::Overhead(args) => overhead::run(&args)?,
        Bench::Kernel(args) => kernel::run(&args)?,
        Bench::Latency(args) => latency::run(&args)?,
        Bench::Idle(args) => idle::run(&args)?,
        Bench::Echo { .. } => return Ok(()),
    };
    if let Some(path) = json {
        std::fs::write(&path, format!("{result:#}\n"))
            .with_context(|| format!("write {}", path.display()))?;
        println!("\nevery round is in {}", path.display());
    }
    Ok(())
}

//! `cargo xtask ordinary`: proxies in ordinary use beside an agent.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hopsight_tests::{
    interrupt,
    ordinary::{self, HealthyNode, Length, stacks},
};

/// Most of a core that an agent may use beside proxies that do nothing.
const MOST_OF_A_CORE: f64 = 0.001;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Compare what an agent says of each proxy's connections with the upstreams' logs
    Compare(Compare),
    /// Measure an agent beside Caddy, Envoy, Node and Traefik that do nothing
    Idle {
        /// Seconds, after the agent has looked at them
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Write what the alerts see of a healthy node as a test of theirs
    Record {
        /// The file
        file: PathBuf,
        /// Bursts of requests, each of which stands for a minute
        #[arg(long, default_value_t = 46)]
        bursts: usize,
    },
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// Only proxies whose names hold this
    #[arg(default_value = "")]
    only: String,
    /// Requests through each hop, at once
    #[arg(long, default_value_t = 200)]
    burst: usize,
    /// Seconds in which each hop is asked now and then after that
    #[arg(long, default_value_t = 300)]
    steady: u64,
    /// Requests through each hop after the agent was started again
    #[arg(long, default_value_t = 100)]
    restarted: usize,
    /// Where to keep what the agent and the proxies wrote
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    match Cli::parse().task {
        Task::Compare(args) => compare(&args),
        Task::Idle { seconds } => idle(Duration::from_secs(seconds)),
        Task::Record { file, bursts } => {
            let recorded = HealthyNode::start("TLSv1.2 TLSv1.3")?.record(bursts)?;
            std::fs::write(&file, ordinary::as_rules_test(&recorded))
                .with_context(|| format!("write {}", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn compare(args: &Compare) -> anyhow::Result<ExitCode> {
    let length = Length {
        burst: args.burst,
        steady: Duration::from_secs(args.steady),
        restarted: args.restarted,
    };
    let mut complaints = Vec::new();
    for stack in stacks::ALL.iter().filter(|stack| stack.name.contains(&args.only)) {
        if stack.program.find().is_none() {
            println!("{}: not run, it is not installed\n", stack.name);
            continue;
        }
        interrupt::check()?;
        match ordinary::run(stack, length, args.keep.as_deref()) {
            Ok(report) => {
                println!("{report}");
                complaints.extend(report.complaints(length));
            }
            Err(error) => complaints.push(format!("{}: {error:#}", stack.name)),
        }
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn idle(time: Duration) -> anyhow::Result<ExitCode> {
    let wanted = ["Caddy", "Envoy, HTTP/1.1", "Node", "Traefik"];
    let is_wanted = |stack: &&stacks::Stack| wanted.contains(&stack.name);
    let all = stacks::ALL.iter().filter(is_wanted);
    let installed: Vec<_> = all.filter(|stack| stack.program.find().is_some()).collect();
    let names: Vec<_> = installed.iter().map(|stack| stack.name).collect();
    let cost = ordinary::cost_of_idling(&installed, time)?;
    println!("beside {}: {cost}", names.join(", "));
    let good = cost.share_of_a_core() <= MOST_OF_A_CORE;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! An agent that has nothing to do.

use std::{thread, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{observer::Kind, processor, spread::Spread};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per round, after five to settle
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Measures it.
///
/// # Errors
/// When hopsight does not start.
pub fn run(args: &Args) -> anyhow::Result<Value> {
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let dir = tempfile::tempdir().context("create a folder")?;
        let observer = Kind::Library.start(dir.path(), ([127, 0, 0, 1], 0).into())?;
        thread::sleep(Duration::from_secs(5));
        let pids = observer.pids();
        let before = processor::seconds(&pids);
        thread::sleep(Duration::from_secs(args.seconds));
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let percent = (processor::seconds(&pids) - before) / args.seconds as f64 * 100.0;
        rounds.push((percent, processor::resident_megabytes(&pids)));
    }
    println!(
        "idle agent, {} rounds of {} s: {:.3} % of a core, {:.1} MB resident",
        args.rounds,
        args.seconds,
        Spread::of(rounds.iter().map(|round| round.0)),
        Spread::of(rounds.iter().map(|round| round.1)),
    );
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|(percent, megabytes)| json!({ "percent_of_a_core": percent, "resident_megabytes": megabytes }))
        .collect();
    Ok(json!({ "seconds": args.seconds, "rounds": rounds }))
}

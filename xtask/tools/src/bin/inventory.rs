//! How long an inventory of made-up hops takes, in each of its formats: `inventory [HOPS]`.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hopsight_export::{
    Exporter,
    inventory::{Inventory, Source},
};
use hopsight_posture::hops::table::{HopLimits, Snapshot};
use hopsight_tools::made_up;

/// Connections of each hop.
const CONNECTIONS: u64 = 5;
const HOPS: u64 = 5_000;

/// Makes a format.
type Write = fn(&Inventory) -> anyhow::Result<String>;

fn main() -> anyhow::Result<()> {
    let hops =
        std::env::args().nth(1).map_or(Ok(HOPS), |hops| hops.parse()).context("read HOPS")?;
    let exporter = Exporter::new(HopLimits::default());
    for number in 0..hops * CONNECTIONS {
        exporter.record(&made_up::connection(number % hops, number));
    }
    let answer = serde_json::to_vec(&exporter.hops()).context("write /hops")?;
    println!("{hops} hops, {} MB of /hops", answer.len() / 1_000_000);
    let begun = Instant::now();
    let hops: Snapshot = serde_json::from_slice(&answer).context("read /hops")?;
    let inventory = Inventory::of(vec![Source { name: "made up".into(), hops }]);
    let read = begun.elapsed();
    let tell = |format, took: Duration, text: String| {
        println!("{format:<10} {:>6.2} s  {:>4} MB", took.as_secs_f64(), text.len() / 1_000_000);
    };
    for (format, write) in [
        ("json", Inventory::json as Write),
        ("csv", Inventory::csv),
        ("html", |inventory| Ok(inventory.html(0.0))),
        ("cyclonedx", |inventory| inventory.cyclonedx(0.0)),
    ] {
        let begun = Instant::now();
        let text = write(&inventory)?;
        tell(format, read + begun.elapsed(), text);
    }
    Ok(())
}

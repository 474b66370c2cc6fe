//! From the deciding byte to the metric, and what is lost, at rising handshake rates.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::Context as _;
use hopsight_tests::interrupt;
use serde_json::{Value, json};

use crate::{
    load::Load,
    observer::{Kind, Observer},
    prometheus::{Histogram, sum},
    proxies::{Connections, Proxies},
    spread::Spread,
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; each goes through all rates
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per rate
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

/// Shares of the highest rate, in percent.
const SHARES: [u32; 3] = [10, 50, 100];
/// Connections of the load generator.
const CONNECTIONS: u32 = 32;
/// For the last verdicts and outcomes.
const SETTLE: Duration = Duration::from_secs(3);

const LATENCY: &str = "hopsight_verdict_latency_seconds";

/// One rate in one round.
struct Round {
    share: u32,
    rate: f64,
    latency: Histogram,
    requests: f64,
    reported: f64,
    decided: f64,
    lost: f64,
    evicted: f64,
}

/// Measures it.
///
/// # Errors
/// When a program does not start or a request fails.
pub fn run(args: &Args) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir().context("create a folder")?;
    let dir = dir.path();
    let proxies = Proxies::start(&dir.join("proxies"), Connections::OnePerRequest)?;
    let load = Load {
        connections: CONNECTIONS,
        seconds: args.seconds,
        front: proxies.front,
        path: "/small",
        script: None,
    };
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let observer = Kind::Library.start(dir, proxies.back)?;
        let peak = Load { seconds: 3, ..load }.run()?.requests_per_second;
        thread::sleep(SETTLE);
        for share in SHARES {
            interrupt::check()?;
            let script =
                (share < 100).then(|| pace(dir, peak * f64::from(share) / 100.0)).transpose()?;
            let load = Load { script: script.as_deref(), ..load };
            rounds.push(measure(share, &load, &observer)?);
        }
    }
    println!(
        "{} rounds of {} s per rate; latencies in ms, interpolated in the buckets of {LATENCY}",
        args.rounds, args.seconds
    );
    println!(
        "LOAD    HANDSHAKES/s              P50                   P99                   MAX BELOW  REQUESTS  REPORTED   DECIDED  LOST  EVICTED"
    );
    for share in SHARES {
        let of = |figure: fn(&Round) -> f64| {
            Spread::of(rounds.iter().filter(|round| round.share == share).map(figure))
        };
        let total = |figure: fn(&Round) -> f64| {
            rounds.iter().filter(|round| round.share == share).map(figure).sum::<f64>()
        };
        println!(
            "{share:>3} %   {:<25} {:<21} {:<21} {:>9.0} {:>9} {:>9} {:>9} {:>5} {:>8}",
            format!("{:.0}", of(|round| round.rate)),
            format!("{:.2}", of(|round| round.latency.quantile(0.5) * 1e3)),
            format!("{:.2}", of(|round| round.latency.quantile(0.99) * 1e3)),
            of(|round| round.latency.max_bound() * 1e3).quantile(1.0),
            total(|round| round.requests),
            total(|round| round.reported),
            total(|round| round.decided),
            total(|round| round.lost),
            total(|round| round.evicted),
        );
    }
    Ok(
        json!({ "seconds": args.seconds, "rounds": rounds.iter().map(Round::json).collect::<Vec<_>>() }),
    )
}

impl Round {
    fn json(&self) -> Value {
        json!({
            "percent_of_peak": self.share,
            "handshakes_per_second": self.rate,
            "p50_seconds": self.latency.quantile(0.5),
            "p99_seconds": self.latency.quantile(0.99),
            "max_below_seconds": self.latency.max_bound(),
            "requests": self.requests,
            "reported": self.reported,
            "decided": self.decided,
            "lost_events": self.lost,
            "evicted": self.evicted,
        })
    }
}

fn measure(share: u32, load: &Load<'_>, observer: &Observer) -> anyhow::Result<Round> {
    let metrics = || observer.metrics()?.context("hopsight has metrics");
    let before = metrics()?;
    let seen = load.run()?;
    thread::sleep(SETTLE);
    let after = metrics()?;
    let grown =
        |name: &str, labels: &[&str]| sum(&after, name, labels) - sum(&before, name, labels);
    let connections = "hopsight_upstream_connections_total";
    Ok(Round {
        share,
        rate: seen.requests_per_second,
        latency: Histogram::read(&after, LATENCY).since(&Histogram::read(&before, LATENCY)),
        requests: seen.requests,
        reported: grown(connections, &[]),
        decided: grown(connections, &["security=\"mtls\""]),
        lost: grown("hopsight_events_lost_total", &[]),
        evicted: grown("hopsight_connections_evicted_total", &[]),
    })
}

/// A script that has wrk's connections wait so long between requests, at random, that all of them
/// together send `rate` per second.
fn pace(dir: &Path, rate: f64) -> anyhow::Result<std::path::PathBuf> {
    let path = dir.join("pace.lua");
    let mean = f64::from(CONNECTIONS) * 1e3 / rate;
    let script = format!("function delay() return math.random(0, {:.0}) end\n", 2.0 * mean);
    fs::write(&path, script).context("write wrk's script")?;
    Ok(path)
}

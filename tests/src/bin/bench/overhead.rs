//! Requests per second, latency and processor time of a proxy under each observer.

use std::{path::Path, thread, time::Duration};

use anyhow::Context as _;
use hopsight_tests::interrupt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    load::{Load, Seen},
    observer::Kind,
    processor,
    proxies::{Connections, Proxies},
    spread::Spread,
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; each runs every observer once, in another order than the one before
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load per observer and round
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Traffic to measure; repeatable. All if absent
    #[arg(long)]
    traffic: Vec<Traffic>,
    /// Observers, besides none at all; repeatable. All that are installed if absent
    #[arg(long)]
    observer: Vec<Kind>,
}

/// What goes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Traffic {
    /// Small responses over kept connections.
    Keepalive,
    /// A handshake for each request.
    Handshakes,
    /// Responses of 1 MiB over kept connections.
    Large,
    /// 1,000 kept connections, first opened, then all but a few idle.
    Idle,
}

impl Traffic {
    const ALL: [Self; 4] = [Self::Keepalive, Self::Handshakes, Self::Large, Self::Idle];

    const fn title(self) -> &'static str {
        match self {
            Self::Keepalive => "kept connections, small responses",
            Self::Handshakes => "a mutual TLS 1.3 handshake per request",
            Self::Large => "kept connections, responses of 1 MiB",
            Self::Idle => "1,000 idle kept connections beside 8 busy ones",
        }
    }

    const fn connections(self) -> Connections {
        match self {
            Self::Handshakes => Connections::OnePerRequest,
            Self::Keepalive | Self::Large | Self::Idle => Connections::Kept,
        }
    }
}

/// Connections that are idle in [`Traffic::Idle`].
const IDLE: u32 = 1000;
/// Time without traffic in [`Traffic::Idle`].
const QUIET: Duration = Duration::from_secs(2);

/// One observer in one round.
#[derive(Clone, Debug, Serialize)]
struct Round {
    observer: Kind,
    #[serde(flatten)]
    seen: Seen,
    /// Processor time per request, microseconds.
    proxy_us: f64,
    upstream_us: f64,
    /// The observer's processor seconds per million requests.
    observer_seconds: f64,
    /// The observer's share of a core while nothing happens.
    quiet_share: Option<f64>,
    observer_megabytes: f64,
    lost_events: Option<f64>,
}

/// Measures everything asked for.
///
/// # Errors
/// When it is interrupted. Traffic that cannot be measured is named in the result.
pub fn run(args: &Args) -> anyhow::Result<Value> {
    let traffic = if args.traffic.is_empty() { &Traffic::ALL[..] } else { &args.traffic };
    let mut observers = vec![Kind::Off];
    let wanted = if args.observer.is_empty() { &Kind::ALL[..] } else { &args.observer };
    for kind in wanted.iter().copied().filter(|kind| *kind != Kind::Off) {
        if kind.is_possible() {
            observers.push(kind);
        } else {
            println!("{} is not installed: not compared", kind.as_str());
        }
    }
    let mut results = Vec::new();
    for &traffic in traffic {
        interrupt::check()?;
        let dir = tempfile::tempdir().context("create a folder")?;
        match measure(traffic, &observers, args, dir.path()) {
            Ok(rounds) => {
                report(traffic, &observers, &rounds, args);
                results.push(json!({ "traffic": traffic, "rounds": rounds }));
            }
            // The rounds of other traffic took minutes and are worth keeping.
            Err(error) => {
                println!("\n{}: not measured: {error:#}", traffic.title());
                results.push(json!({ "traffic": traffic, "error": format!("{error:#}") }));
            }
        }
    }
    Ok(json!({ "seconds": args.seconds, "results": results }))
}

fn measure(
    traffic: Traffic,
    observers: &[Kind],
    args: &Args,
    dir: &Path,
) -> anyhow::Result<Vec<Vec<Round>>> {
    let mut proxies = Proxies::start(&dir.join("proxies"), traffic.connections())?;
    load(traffic, &proxies, 1).run().context("warm up")?;
    let mut rounds = Vec::new();
    for turn in 0..args.rounds {
        let mut round = Vec::new();
        for index in 0..observers.len() {
            interrupt::check()?;
            let kind = observers[(index + turn) % observers.len()];
            if traffic == Traffic::Idle {
                // Connections of the round before would be older than the observer.
                drop(proxies);
                proxies = Proxies::start(&dir.join("proxies"), traffic.connections())?;
            }
            round.push(observe(kind, traffic, &proxies, args, dir)?);
        }
        rounds.push(round);
    }
    Ok(rounds)
}

const fn load(traffic: Traffic, proxies: &Proxies, seconds: u32) -> Load<'static> {
    let (connections, path) = match traffic {
        Traffic::Keepalive | Traffic::Handshakes => (16, "/small"),
        Traffic::Large => (8, "/large"),
        Traffic::Idle => (8, "/small"),
    };
    Load { connections, seconds, front: proxies.front, path, script: None }
}

fn observe(
    kind: Kind,
    traffic: Traffic,
    proxies: &Proxies,
    args: &Args,
    dir: &Path,
) -> anyhow::Result<Round> {
    let observer = kind.start(dir, proxies.back)?;
    let mut quiet_share = None;
    if traffic == Traffic::Idle {
        Load { connections: IDLE, ..load(traffic, proxies, 2) }
            .run()
            .context("open connections")?;
        let before = processor::seconds(&observer.pids());
        thread::sleep(QUIET);
        let used = processor::seconds(&observer.pids()) - before;
        quiet_share = Some(used / QUIET.as_secs_f64());
    }
    let pids = [proxies.proxy_pids(), proxies.upstream_pids(), observer.pids()];
    let before = pids.each_ref().map(|pids| processor::seconds(pids));
    let seen = load(traffic, proxies, args.seconds).run()?;
    let after = pids.each_ref().map(|pids| processor::seconds(pids));
    let [proxy_us, upstream_us, observer_seconds] =
        [0, 1, 2].map(|index| (after[index] - before[index]) * 1e6 / seen.requests);
    Ok(Round {
        observer: kind,
        seen,
        proxy_us,
        upstream_us,
        observer_seconds,
        quiet_share,
        observer_megabytes: processor::resident_megabytes(&pids[2]),
        lost_events: observer.lost()?,
    })
}

/// A figure of each round of this observer.
fn figures(rounds: &[Vec<Round>], kind: Kind, of: impl Fn(&Round) -> f64) -> Spread {
    let of_kind = rounds.iter().flatten().filter(|round| round.observer == kind);
    Spread::of(of_kind.map(of))
}

/// A figure of each round of this observer, over that of the same round without one.
fn ratios(rounds: &[Vec<Round>], kind: Kind, of: impl Fn(&Round) -> f64) -> Spread {
    Spread::of(rounds.iter().filter_map(|round| {
        let of_kind = |kind| round.iter().find(|round| round.observer == kind).map(&of);
        Some(of_kind(kind)? / of_kind(Kind::Off)?)
    }))
}

fn report(traffic: Traffic, observers: &[Kind], rounds: &[Vec<Round>], args: &Args) {
    println!(
        "\n{}: {} rounds of {} s; median [quartiles] of the rounds' ratios to no observer",
        traffic.title(),
        rounds.len(),
        args.seconds
    );
    println!(
        "without: {:.0} requests/s, p50 {:.0} us, p99 {:.0} us, proxy {:.1} us and upstream \
         {:.1} us of processor time per request",
        figures(rounds, Kind::Off, |round| round.seen.requests_per_second),
        figures(rounds, Kind::Off, |round| round.seen.p50),
        figures(rounds, Kind::Off, |round| round.seen.p99),
        figures(rounds, Kind::Off, |round| round.proxy_us),
        figures(rounds, Kind::Off, |round| round.upstream_us),
    );
    println!(
        "{:<20} {:<21} {:<21} {:<21} {:<21} {:>12} {:>7} {:>6}",
        "OBSERVER", "REQUESTS/s", "P50", "P99", "PROXY'S CPU", "CPU s/1M", "RSS MB", "LOST"
    );
    for &kind in observers.iter().filter(|kind| **kind != Kind::Off) {
        println!(
            "{:<20} {:<21} {:<21} {:<21} {:<21} {:>12.2} {:>7.1} {:>6}",
            kind.as_str(),
            ratios(rounds, kind, |round| round.seen.requests_per_second).to_string(),
            ratios(rounds, kind, |round| round.seen.p50).to_string(),
            ratios(rounds, kind, |round| round.seen.p99).to_string(),
            ratios(rounds, kind, |round| round.proxy_us).to_string(),
            figures(rounds, kind, |round| round.observer_seconds).median(),
            figures(rounds, kind, |round| round.observer_megabytes).median(),
            rounds
                .iter()
                .flatten()
                .filter(|round| round.observer == kind)
                .filter_map(|round| round.lost_events)
                .fold(0.0, |sum, lost| sum + lost),
        );
        let quiet = figures(rounds, kind, |round| round.quiet_share.unwrap_or(f64::NAN));
        if !quiet.median().is_nan() {
            println!("{:<20} {:.2} % of a core while all are idle", "", quiet.median() * 100.0);
        }
    }
}

//! `cargo xtask bench drift`: how long a change of configuration goes unseen under load.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{
    drift::{Flip, MISSING, PLAINTEXT, Scene, seconds_between},
    interrupt,
    process::Daemon,
    requirement,
};

/// Seconds of load around each change.
const SECONDS: u32 = 8;
/// What the product promises.
const LIMIT: f64 = 1.0;

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let mut number = |default| args.next().transpose().map(|given| given.unwrap_or(default));
    let (runs, connections) = (number(5)?, number(64)?);
    interrupt::install()?;
    anyhow::ensure!(requirement::met("drift", &["nginx", "wrk"]), "the bench cannot run");
    println!("RUN  CHANGE                 REQUESTS/s  FROM CONNECTION s  FROM RELOAD s");
    let mut worst: f64 = 0.0;
    let mut slowest = f64::INFINITY;
    for run in 1..=runs {
        interrupt::check()?;
        let scene = Scene::start()?;
        let agent = scene.agent()?;
        for (what, flip, rule) in [
            ("mutual to one-way", Flip::OneWay, MISSING),
            ("one-way to plaintext", Flip::Plaintext, PLAINTEXT),
        ] {
            let log = scene.dir().join(format!("{rule}.log"));
            let mut load = scene.load(connections, SECONDS, &log)?;
            thread::sleep(Duration::from_secs(u64::from(SECONDS) / 2));
            scene.flip(flip)?;
            scene.wait_violation(&agent, rule, 1.0)?;
            let rate = rate(&mut load)?;
            let event = scene
                .event(&agent, "drift_opened", rule)
                .with_context(|| format!("find the event that opened {rule}"))?;
            let took = seconds_between(&event["since"], &event["detected_at"])?;
            let all = event["detection_seconds"].as_f64().unwrap_or(f64::NAN);
            println!("{run:>3}  {what:<22} {rate:>10.0}  {took:>17.3}  {all:>13.3}");
            (worst, slowest) = (worst.max(took), slowest.min(rate));
        }
        let mut load = scene.load(connections, SECONDS, &scene.dir().join("mend.log"))?;
        scene.flip(Flip::Mutual)?;
        for rule in [MISSING, PLAINTEXT] {
            scene.wait_violation(&agent, rule, 0.0)?;
        }
        rate(&mut load)?;
    }
    let good = worst <= LIMIT;
    println!(
        "slowest detection {worst:.3} s after the first offending connection, \
         at {slowest:.0} requests/s or more, ten on a connection: {}",
        if good { "within a second" } else { "more than a second" }
    );
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for wrk to end; the requests per second it made.
fn rate(load: &mut Daemon) -> anyhow::Result<f64> {
    load.wait_exit(Duration::from_secs(u64::from(SECONDS) + 20))?;
    let log = load.log();
    let rate = log.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    rate.context("find the rate in what wrk wrote")?.trim().parse().context("read wrk's rate")
}

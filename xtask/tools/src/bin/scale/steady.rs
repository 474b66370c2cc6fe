//! A minute of heavy traffic beside a full table: does anything grow?

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use hopsight_core::{
    model::Timestamp,
    pipeline::{Limits, Pipeline, Update},
};
use hopsight_export::Exporter;
use hopsight_posture::hops::table::HopLimits;
use serde_json::{Value, json};

use hopsight_tools::recorded::{Script, events::connection, scripts};

use crate::{
    resident::{processor_seconds, resident},
    traffic::{BATCH_NS, Traffic, setting},
};

/// What comes in.
pub struct Load {
    /// For how long, in the events' time.
    pub seconds: u64,
    /// Connections that stay silent all the time.
    pub connections: usize,
    /// Handshakes per second of the events' time.
    pub rate: u64,
    /// Upstreams.
    pub hops: usize,
}

impl Load {
    /// The load that the agent has to bear.
    pub const BUDGET: Self =
        Self { seconds: 60, connections: 1_000_000, rate: 20_000, hops: 10_000 };
}

/// Pause between scrapes, in real time.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

/// Runs it.
pub fn measure(load: &Load) -> anyhow::Result<Value> {
    let limits = Limits { max_connections: load.connections + 50_000, ..Limits::default() };
    let mut pipeline = Pipeline::new(limits);
    let exporter = Exporter::new(HopLimits { max_hops: load.hops, ..HopLimits::default() });
    let mut updates = Vec::new();
    let mut now = Timestamp(1_000_000_000);
    let silent = Script { said: Vec::new() };
    for number in 0..load.connections {
        let mut events = connection(&silent, &setting(number as u64, now, number % load.hops));
        events.truncate(events.len() - 1);
        for event in events {
            pipeline.handle(event, &mut updates);
        }
    }
    let mut traffic = Traffic::new(scripts()?, load.hops, load.connections as u64);
    let per_batch = usize::try_from(load.rate * BATCH_NS / 1_000_000_000)?;
    let per_second = 1_000_000_000 / BATCH_NS;
    let stop = AtomicBool::new(false);
    let mut batches = Vec::new();
    let mut busy = 0.0;
    let mut memory = vec![resident("VmRSS")?];
    let mut reports = 0_u64;
    let mut events = Vec::new();
    let scrapes = thread::scope(|scope| -> anyhow::Result<Vec<f64>> {
        let scraper = scope.spawn(|| {
            let mut times = Vec::new();
            while !stop.load(Relaxed) {
                let begun = processor_seconds();
                let _ = exporter.gather();
                times.push((processor_seconds() - begun) * 1e3);
                thread::sleep(SCRAPE_EVERY);
            }
            times
        });
        for second in 1..=load.seconds {
            for _ in 0..per_second {
                now.0 += BATCH_NS;
                traffic.batch(now, per_batch, &mut events);
                let (begun, used) = (Instant::now(), processor_seconds());
                for event in events.drain(..) {
                    pipeline.handle(event, &mut updates);
                }
                pipeline.tick(now, &mut updates);
                for update in updates.drain(..) {
                    if let Update::Report { report, .. } = update {
                        reports += u64::from(report.is_final);
                        exporter.record(&report);
                    }
                }
                batches.push(begun.elapsed().as_secs_f64() * 1e3);
                busy += processor_seconds() - used;
            }
            exporter.tick(hopsight_system::clock::now());
            if second % 10 == 0 {
                memory.push(resident("VmRSS")?);
            }
        }
        stop.store(true, Relaxed);
        Ok(scraper.join().unwrap_or_default())
    })?;
    batches.sort_by(f64::total_cmp);
    let at = |share: usize| batches[(batches.len() - 1) * share / 1000];
    let handshakes = load.rate * load.seconds;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(json!({
        "seconds": load.seconds,
        "silent_connections": load.connections,
        "handshakes_per_second": load.rate,
        "hops": load.hops,
        "final_reports": reports,
        "handshakes": handshakes,
        "tracked_at_end": pipeline.tracked(),
        "share_of_a_core": busy / load.seconds as f64,
        "us_per_handshake": busy * 1e6 / handshakes as f64,
        "batch_ms": { "p50": at(500), "p99": at(990), "p99.9": at(999), "max": at(1000) },
        "scrapes": scrapes.len(),
        "scrape_ms_max": scrapes.iter().copied().fold(f64::NAN, f64::max),
        "resident_bytes_at_start_and_every_10_s": memory,
        "peak_resident_bytes": resident("VmHWM")?,
    }))
}

/// The result in words.
pub fn describe(result: &Value) -> String {
    let batch = &result["batch_ms"];
    let memory: Vec<String> = result["resident_bytes_at_start_and_every_10_s"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|bytes| (bytes.as_u64().unwrap_or_default() / 1_000_000).to_string())
        .collect();
    format!(
        "{} handshakes/s to {} hops for {} s of their time, beside {} silent connections:\n\
         {:.0} % of a core in processor time ({:.1} us per handshake, exporter included), {} of {} reported\n\
         batches of {} ms: p50 {:.2} ms, p99 {:.2}, p99.9 {:.2}, max {:.2}\n\
         resident MB at the start and every 10 s: {}\n\
         {} scrapes meanwhile, the longest {:.0} ms of processor time",
        result["handshakes_per_second"],
        result["hops"],
        result["seconds"],
        result["silent_connections"],
        result["share_of_a_core"].as_f64().unwrap_or(f64::NAN) * 100.0,
        result["us_per_handshake"].as_f64().unwrap_or(f64::NAN),
        result["final_reports"],
        result["handshakes"],
        BATCH_NS / 1_000_000,
        batch["p50"].as_f64().unwrap_or(f64::NAN),
        batch["p99"].as_f64().unwrap_or(f64::NAN),
        batch["p99.9"].as_f64().unwrap_or(f64::NAN),
        batch["max"].as_f64().unwrap_or(f64::NAN),
        memory.join(", "),
        result["scrapes"],
        result["scrape_ms_max"].as_f64().unwrap_or(f64::NAN),
    )
}

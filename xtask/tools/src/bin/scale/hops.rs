//! `/metrics` of a large hop table, and what a scrape does to the pipeline meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Instant,
};

use hopsight_core::{
    model::Timestamp,
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
};
use hopsight_export::Exporter;
use hopsight_posture::hops::table::HopLimits;
use serde_json::{Value, json};

use hopsight_tools::recorded::scripts;

use crate::{
    resident::{processor_seconds, resident, sleeps},
    traffic::Traffic,
};

const SCRAPES: usize = 11;
/// Reports recorded while another thread scrapes.
const RECORDS: usize = 200_000;

/// Scrapes an exporter that has so many hops, each with connections of several kinds.
pub fn measure(hops: usize) -> anyhow::Result<Value> {
    let scripts = scripts()?;
    let kinds = scripts.len();
    let mut traffic = Traffic::new(scripts, hops, 0);
    let exporter = Exporter::new(HopLimits { max_hops: hops, ..HopLimits::default() });
    let mut reports: Vec<ConnectionReport> = Vec::new();
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    let mut events = Vec::new();
    let mut now = Timestamp(1_000_000_000);
    let before = resident("VmRSS")?;
    // Two connections for each hop, of different recordings.
    for _ in 0..(2 * hops).div_ceil(kinds) {
        now.0 += 1_000_000;
        traffic.batch(now, kinds, &mut events);
        for event in events.drain(..) {
            pipeline.handle(event, &mut updates);
        }
        for update in updates.drain(..) {
            if let Update::Report { report, .. } = update {
                exporter.record(&report);
                if reports.len() < 4096 {
                    reports.push(*report);
                }
            }
        }
    }
    let table = resident("VmRSS")?.saturating_sub(before);

    // In processor time.
    let mut scrapes = Vec::new();
    let mut size = 0;
    for _ in 0..SCRAPES {
        let begun = processor_seconds();
        size = exporter.gather()?.len();
        scrapes.push((processor_seconds() - begun) * 1e3);
    }
    // What the pipeline's thread does, while another one scrapes without a pause.
    let stop = AtomicBool::new(false);
    let (mut records, sleeps) = thread::scope(|scope| -> anyhow::Result<(Vec<f64>, u64)> {
        let scraping = scope.spawn(|| {
            while !stop.load(Relaxed) {
                let _ = exporter.gather();
            }
        });
        let mut times = Vec::with_capacity(RECORDS);
        let slept = sleeps()?;
        for report in reports.iter().cycle().take(RECORDS) {
            let begun = Instant::now();
            exporter.record(report);
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        let slept = sleeps()? - slept;
        stop.store(true, Relaxed);
        let _ = scraping.join();
        Ok((times, slept))
    })?;
    scrapes.sort_by(f64::total_cmp);
    records.sort_by(f64::total_cmp);
    Ok(json!({
        "hops": hops,
        "table_bytes": table,
        "scrapes": SCRAPES,
        "scrape_ms_median": scrapes[SCRAPES / 2],
        "scrape_ms_min": scrapes[0],
        "scrape_ms_max": scrapes[SCRAPES - 1],
        "size_bytes": size,
        "peak_resident_bytes": resident("VmHWM")?,
        "record_us_median_while_scraped": records[records.len() / 2],
        "record_us_p99_while_scraped": records[records.len() / 100 * 99],
        "record_us_max_while_scraped": records[records.len() - 1],
        "records": RECORDS,
        "records_that_waited_for_the_table": sleeps,
    }))
}

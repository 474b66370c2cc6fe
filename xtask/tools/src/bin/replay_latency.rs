//! How long a verdict takes in a capture's own time: `replay_latency FILE...`, with the limits of
//! the live agent.
//!
//! From the packet that decides, and from the opening, to the first report that says how the
//! connection is protected. Nothing but waiting counts: processing takes no time here.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use hopsight_capture::{Source as _, SourceState, replay::ReplaySource};
use hopsight_core::{
    model::{Evidence, Security, Timestamp},
    pipeline::{Limits, Pipeline, Update},
};

/// One first verdict.
struct Said {
    evidence: Evidence,
    after_deciding: Duration,
    after_opening: Duration,
}

fn main() -> anyhow::Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    anyhow::ensure!(!files.is_empty(), "usage: replay_latency FILE...");
    let mut said = Vec::new();
    for file in &files {
        replay(file, &mut said).with_context(|| format!("replay {}", file.display()))?;
    }
    println!(
        "ms from ...           VERDICTS    the deciding packet: p50, p99, max    the opening: p50, p99, max"
    );
    line("all", &said.iter().collect::<Vec<_>>());
    for evidence in [Evidence::Wire, Evidence::Inferred, Evidence::Carried] {
        let of = said.iter().filter(|said| said.evidence == evidence).collect::<Vec<_>>();
        line(evidence.as_str(), &of);
    }
    Ok(())
}

fn replay(file: &std::path::Path, said: &mut Vec<Said>) -> anyhow::Result<()> {
    let mut source = ReplaySource::open(file)?;
    let mut pipeline = Pipeline::new(Limits::default());
    let (mut events, mut updates) = (Vec::new(), Vec::new());
    loop {
        let state = source.poll(Duration::ZERO, &mut events)?;
        for event in events.drain(..) {
            let now = event.at();
            // What was due before this packet is reported at its own time, to a millisecond.
            pipeline.tick(now, &mut updates);
            pipeline.handle(event, &mut updates);
            note(&mut updates, now, said);
        }
        if state == SourceState::Ended {
            pipeline.finish(source.now(), &mut updates);
            note(&mut updates, source.now(), said);
            return Ok(());
        }
    }
}

fn note(updates: &mut Vec<Update>, now: Timestamp, said: &mut Vec<Said>) {
    for update in updates.drain(..) {
        let Update::Report { report, first } = update else { continue };
        if first && report.verdict.security != Security::Unknown {
            said.push(Said {
                evidence: report.verdict.evidence,
                after_deciding: now.since(report.decided_at),
                after_opening: now.since(report.opened_at),
            });
        }
    }
}

fn line(name: &str, said: &[&Said]) {
    let figures = |of: fn(&Said) -> Duration| {
        let mut sorted: Vec<Duration> = said.iter().map(|said| of(said)).collect();
        sorted.sort_unstable();
        let at = |per_cent: usize| {
            let place = sorted.len().saturating_sub(1) * per_cent / 100;
            sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        format!("{:.3}, {:.3}, {:.3}", at(50), at(99), at(100))
    };
    println!(
        "{name:<20} {:>10}    {:<37} {}",
        said.len(),
        figures(|said| said.after_deciding),
        figures(|said| said.after_opening)
    );
}

//! The pipeline thread.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;

use super::KERNEL_PROGRAMS;
use crate::{
    compliance::ComplianceThread,
    run::metrics::{PipelineNumbers, SharedPipelineNumbers, library_health},
};
use hopsight_capture::{LibraryStatuses, Source, StatsHandle};
use hopsight_core::{
    health::ComponentState,
    model::{ClientAuth, Event, Security, Timestamp},
    pipeline::{Pipeline, Update},
    report::ConnectionReport,
};
use hopsight_export::Exporter;
use hopsight_system::{clock::monotonic_now, heart::Heart};

/// Deadlines are looked at together: none is so close that the pipeline wakes for it alone.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// Pause between heartbeats, and the longest wait for events: an agent that has nothing to do hardly
/// runs.
const BEAT: Duration = Duration::from_secs(1);
/// Component name of the library probes in `/readyz`.
const LIBRARY_PROBES: &str = "library_probes";

/// Owns what the pipeline thread works with.
pub struct Worker {
    /// Where events come from.
    pub source: Box<dyn Source + Send>,
    /// What makes reports of them.
    pub pipeline: Pipeline,
    /// Who shows them.
    pub exporter: Exporter,
    /// Who evaluates them against policy, and hands them on.
    pub compliance: ComplianceThread,
    /// Tells when the kernel programs are gone.
    pub capture: StatsHandle,
    /// Absent where libraries are not looked into.
    pub library: Option<LibraryStatuses>,
    /// Where the pipeline's numbers are left for the metrics.
    pub numbers: SharedPipelineNumbers,
    /// Beats while it works.
    pub heart: Heart,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    /// Works until it is told to stop.
    ///
    /// # Errors
    /// If capture breaks.
    pub fn run(mut self) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        let mut updates = Vec::new();
        let mut last_beat = Timestamp::default();
        while !self.stop.load(Ordering::Relaxed) {
            self.heart.beat();
            let wait = self.wait();
            self.source.poll(wait, &mut events).context("read events from the kernel")?;
            for event in events.drain(..) {
                self.pipeline.handle(event, &mut updates);
            }
            let now = monotonic_now();
            self.pipeline.tick(now, &mut updates);
            self.apply(&mut updates, now);
            if now.since(last_beat) >= BEAT {
                last_beat = now;
                self.beat();
            }
        }
        let now = monotonic_now();
        self.pipeline.finish(now, &mut updates);
        self.apply(&mut updates, now);
        self.beat();
        Ok(())
    }

    /// How long to wait for events before time has to pass.
    fn wait(&self) -> Duration {
        let next = self.pipeline.next_deadline();
        next.map_or(BEAT, |at| at.since(monotonic_now()).clamp(SHORTEST_WAIT, BEAT))
    }

    fn apply(&mut self, updates: &mut Vec<Update>, now: Timestamp) {
        for update in updates.drain(..) {
            match update {
                Update::Done(connection) => self.source.done(connection),
                Update::Report { report, first } => {
                    if first && report.verdict.security != Security::Unknown {
                        self.exporter.observe_verdict_latency(now.since(report.decided_at));
                    }
                    if report.is_final && report.is_conflict() {
                        warn_of_conflict(&report);
                    }
                    self.compliance.submit(report, now);
                }
            }
        }
    }

    fn beat(&self) {
        if let Some(cgroup) = self.capture.detached_from() {
            let detail = format!(
                "the cgroup {} was removed, and the programs with it: restart hopsight",
                cgroup.display()
            );
            self.exporter.health().set(KERNEL_PROGRAMS, ComponentState::Failed, detail);
        }
        let (state, detail) = self
            .library
            .as_ref()
            .map_or_else(|| (ComponentState::Ready, "switched off".to_owned()), library_health);
        self.exporter.health().set(LIBRARY_PROBES, state, detail);
        let numbers = PipelineNumbers {
            tracked: self.pipeline.tracked(),
            counters: *self.pipeline.counters(),
            transcripts_unmatched: self.pipeline.transcripts_unmatched(),
            transcripts_damaged: self.pipeline.transcripts_damaged(),
        };
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// Both sides of a disagreement, for whoever has to find out which one was misread.
fn warn_of_conflict(report: &ConnectionReport) {
    let wire = report.wire_client_auth.unwrap_or(ClientAuth::Unknown);
    tracing::warn!(
        src = %report.src,
        dst = %report.dst,
        sni = report.sni.as_deref(),
        tls_version = report.tls_version.as_deref(),
        cipher = report.cipher.as_deref(),
        library = %report.verdict.client_auth,
        %wire,
        "the TLS library and the wire disagree about client authentication; the library is reported"
    );
}

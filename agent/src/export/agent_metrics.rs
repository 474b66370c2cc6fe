//! Numbers about the agent itself that live outside the exporter: capture, pipeline, library.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    metrics::{
        EVENTS_LOST, EVENTS_RECEIVED, EVIDENCE_CONFLICTS, FLOWS_EVICTED, FLOWS_TRACKED,
        LIBRARY_PROCESSES, LIBRARY_TRANSCRIPTS, PROBES_ATTACHED, PROGRAM_RUN_SECONDS,
        PROGRAM_RUNS, REASSEMBLY_DROPPED_BYTES,
    },
    samples::{Collect, Samples},
};
use crate::{
    capture::{
        StatsHandle,
        library::{LibraryEvidence, LibraryStatuses},
    },
    flow::reassembly::Dropped,
    pipeline::{Counters, Eviction},
};

/// What the pipeline says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineNumbers {
    /// Connections tracked.
    pub tracked: usize,
    /// Counts since the start.
    pub counters: Counters,
    /// Library handshakes that expired without a connection.
    pub transcripts_unmatched: u64,
}

/// Shared between the pipeline, which sets it, and scrapes, which read it.
pub type SharedPipelineNumbers = Arc<Mutex<PipelineNumbers>>;

/// Collects them at scrape time.
pub struct AgentMetrics {
    /// The kernel programs' counters.
    pub capture: StatsHandle,
    /// Which processes give library evidence.
    pub library: LibraryStatuses,
    /// The pipeline's numbers.
    pub pipeline: SharedPipelineNumbers,
}

impl Collect for AgentMetrics {
    fn collect(&self, samples: &mut Samples) {
        let capture = self.capture.read();
        for (kind, count) in &capture.received {
            samples.count(EVENTS_RECEIVED, [kind], *count);
        }
        for (kind, count) in &capture.lost {
            samples.count(EVENTS_LOST, [kind], *count);
        }
        for program in &capture.programs {
            samples.set(PROBES_ATTACHED, [&program.name], 1.0);
            let seconds = program.run_time.as_secs_f64();
            samples.set(PROGRAM_RUN_SECONDS, [&program.name], seconds);
            samples.count(PROGRAM_RUNS, [&program.name], program.run_count);
        }
        self.collect_library(samples);
        self.collect_pipeline(samples);
    }
}

impl AgentMetrics {
    fn collect_library(&self, samples: &mut Samples) {
        let mut by_status = std::collections::BTreeMap::<String, u32>::new();
        for process in self.library.read() {
            let status = match &process.evidence {
                LibraryEvidence::Library(_) => "library".to_owned(),
                LibraryEvidence::Inferred { reason, .. } => reason.to_string(),
            };
            *by_status.entry(status).or_default() += 1;
        }
        for (status, processes) in by_status {
            samples.set(LIBRARY_PROCESSES, [&status], f64::from(processes));
        }
    }

    fn collect_pipeline(&self, samples: &mut Samples) {
        let numbers = *self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = &numbers.counters;
        #[expect(clippy::cast_precision_loss, reason = "no table holds 2^53 flows")]
        samples.set(FLOWS_TRACKED, [], numbers.tracked as f64);
        for (reason, count) in [
            (Eviction::TableFull, counters.evicted_table_full),
            (Eviction::Timeout, counters.evicted_timeout),
        ] {
            samples.count(FLOWS_EVICTED, [reason.as_str()], count);
        }
        for reason in Dropped::ALL {
            let bytes = counters.reassembly_drops.get(*reason);
            samples.count(REASSEMBLY_DROPPED_BYTES, [reason.as_str()], bytes);
        }
        samples.count(EVIDENCE_CONFLICTS, [], counters.evidence_conflicts);
        samples.count(LIBRARY_TRANSCRIPTS, ["matched"], counters.transcripts_matched);
        samples.count(LIBRARY_TRANSCRIPTS, ["unmatched"], numbers.transcripts_unmatched);
    }
}

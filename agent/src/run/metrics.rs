//! Numbers about the agent itself that live outside the exporter: capture, pipeline, library.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use hopsight_capture::{
    CaptureStats, LibraryEvidence, LibraryStatus, LibraryStatuses, NoLibrary, StatsHandle,
    loader::{NETWORK_PROGRAMS, PROCESS_PROGRAMS},
};
use hopsight_core::{
    health::ComponentState,
    pipeline::{Counters, Eviction},
    stream::reassembly::Dropped,
};
use hopsight_export::metrics::{
    catalogue::{
        CAPTURE_BUDGET_REACHED, CONNECTIONS_ADOPTED, CONNECTIONS_EVICTED, CONNECTIONS_TRACKED,
        EVENTS_LOST, EVENTS_RECEIVED, EVENTS_UNDECODABLE, EVENTS_UNTRACKED, EVIDENCE_CONFLICTS,
        LIBRARY_BYTES, LIBRARY_PROBE_HITS, LIBRARY_PROCESSES, LIBRARY_TRANSCRIPTS, PROBES_ATTACHED,
        PROGRAM_RUN_SECONDS, PROGRAM_RUNS, REASSEMBLY_DROPPED_BYTES,
    },
    samples::{Collect, Samples},
};

/// What the pipeline reports about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineNumbers {
    /// Connections tracked.
    pub tracked: usize,
    /// Counts since the start.
    pub counters: Counters,
    /// Library handshakes that expired without a connection.
    pub transcripts_unmatched: u64,
    /// Library handshakes that broke the protocol's order, or were cut.
    pub transcripts_damaged: u64,
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

/// Status of a process that gives library evidence.
const LIBRARY: &str = "library";

/// Watched processes, by [`LIBRARY`] or by the reason why not.
fn library_processes(statuses: &[LibraryStatus]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for process in statuses {
        let status = match &process.evidence {
            LibraryEvidence::Library(_) => LIBRARY,
            LibraryEvidence::Inferred { reason, .. } => reason.as_str(),
        };
        *counts.entry(status).or_default() += 1;
    }
    counts
}

/// What is said of the processes with this status: each different thing once, and not too many.
fn details(statuses: &[LibraryStatus], word: &str) -> String {
    const MOST: usize = 4;
    let said = |process: &LibraryStatus| match &process.evidence {
        LibraryEvidence::Library(library) if word == LIBRARY => {
            let version = library.version.as_deref().unwrap_or("OpenSSL");
            Some(format!("{}: {version}", process.name))
        }
        LibraryEvidence::Inferred { reason, detail } if word == reason.as_str() => {
            Some(format!("{}: {detail}", process.name))
        }
        _ => None,
    };
    let different: BTreeSet<String> = statuses.iter().filter_map(said).collect();
    let more = if different.len() > MOST { "; ..." } else { "" };
    let shown: Vec<String> = different.into_iter().take(MOST).collect();
    format!("{}{more}", shown.join("; "))
}

/// The state of the library probes, for `/readyz`: degraded where a process's library could be read
/// but is not.
#[must_use]
pub fn library_health(statuses: &LibraryStatuses) -> (ComponentState, String) {
    let statuses = statuses.read();
    let counts = library_processes(&statuses);
    let hindered = [
        NoLibrary::NoPermission,
        NoLibrary::AttachFailed,
        NoLibrary::UnsupportedBuild,
        NoLibrary::TooManyHits,
        NoLibrary::BeyondQuota,
    ];
    let is_hindered = hindered.iter().any(|reason| counts.contains_key(reason.as_str()));
    let state = if is_hindered { ComponentState::Degraded } else { ComponentState::Ready };
    let words: Vec<_> = counts
        .iter()
        .map(|(word, count)| format!("{word} {count} ({})", details(&statuses, word)))
        .collect();
    let detail = if words.is_empty() { "no watched process".into() } else { words.join(", ") };
    (state, detail)
}

impl Collect for AgentMetrics {
    fn collect(&self, samples: &mut Samples) {
        collect_capture(&self.capture.read(), samples);
        collect_library(&self.library.read(), self.library.attached(), samples);
        let numbers = *self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        collect_pipeline(&numbers, samples);
    }
}

fn collect_capture(capture: &CaptureStats, samples: &mut Samples) {
    for (kind, count) in &capture.received {
        samples.count(EVENTS_RECEIVED, [kind], *count);
    }
    for loss in &capture.lost {
        samples.count(EVENTS_LOST, [loss.kind, loss.reason], loss.count);
    }
    samples.count(EVENTS_UNDECODABLE, [], capture.decode_errors);
    samples.count(CAPTURE_BUDGET_REACHED, [], capture.budget_reached);
    samples.count(CONNECTIONS_ADOPTED, [], capture.adopted);
    for (what, count) in &capture.library {
        match *what {
            "bytes" => samples.count(LIBRARY_BYTES, [], *count),
            "lost" => samples.count(EVENTS_LOST, ["library", "ring_full"], *count),
            "limited" => samples.count(EVENTS_LOST, ["library", "rate"], *count),
            "ticket_limited" => samples.count(EVENTS_LOST, ["library", "ticket_rate"], *count),
            what => samples.count(LIBRARY_PROBE_HITS, [what], *count),
        }
    }
    for program in NETWORK_PROGRAMS {
        // Their links live as long as the source these numbers come from, and the cgroup.
        let attached = u64::from(capture.detached_from.is_none());
        samples.count(PROBES_ATTACHED, [program, "network"], attached);
    }
    for (program, _) in PROCESS_PROGRAMS {
        let attached = capture.programs.iter().any(|loaded| loaded.name == program);
        samples.count(PROBES_ATTACHED, [program, "process"], u64::from(attached));
    }
    // Without the kernel's statistics every program has run zero times.
    for program in capture.programs.iter().filter(|program| program.run_count > 0) {
        let seconds = program.run_time.as_secs_f64();
        samples.set(PROGRAM_RUN_SECONDS, [&program.name], seconds);
        samples.count(PROGRAM_RUNS, [&program.name], program.run_count);
    }
}

fn collect_library(
    statuses: &[LibraryStatus],
    attached: impl IntoIterator<Item = (&'static str, u64)>,
    samples: &mut Samples,
) {
    for (stack, places) in attached {
        samples.count(PROBES_ATTACHED, [stack, "library"], places);
    }
    let by_status = library_processes(statuses);
    let reasons = NoLibrary::ALL.iter().map(|reason| reason.as_str());
    for status in std::iter::once(LIBRARY).chain(reasons) {
        samples.count(LIBRARY_PROCESSES, [status], *by_status.get(status).unwrap_or(&0));
    }
}

fn collect_pipeline(numbers: &PipelineNumbers, samples: &mut Samples) {
    let counters = &numbers.counters;
    samples.count(CONNECTIONS_TRACKED, [], numbers.tracked as u64);
    for reason in Eviction::ALL {
        samples.count(CONNECTIONS_EVICTED, [reason.as_str()], counters.evicted.of(*reason));
    }
    for reason in Dropped::ALL {
        let bytes = counters.reassembly_drops.get(*reason);
        samples.count(REASSEMBLY_DROPPED_BYTES, [reason.as_str()], bytes);
    }
    samples.count(EVENTS_UNTRACKED, [], counters.untracked_events);
    samples.count(EVIDENCE_CONFLICTS, [], counters.evidence_conflicts);
    samples.count(LIBRARY_TRANSCRIPTS, ["matched"], counters.transcripts_matched);
    samples.count(LIBRARY_TRANSCRIPTS, ["unmatched"], numbers.transcripts_unmatched);
    samples.count(LIBRARY_TRANSCRIPTS, ["damaged"], numbers.transcripts_damaged);
}

#[cfg(test)]
mod tests;

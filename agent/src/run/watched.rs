//! What the agent says of its own watching, as `/hops` shows it.

use std::sync::{Arc, PoisonError};

use super::metrics::{AgentMetrics, PipelineNumbers, SharedPipelineNumbers};
use hopsight_capture::{CaptureStats, StatsHandle, loader::OBJECT};
use hopsight_core::{pipeline::Eviction, tls::fingerprint::Fingerprint};
use hopsight_export::{Exporter, Watched, metrics::drift::DriftBoard};
use hopsight_posture::hops::witness::Losses;

/// What library probes saw and could not deliver; everything else of theirs is no loss.
const LOST_OF_LIBRARIES: [&str; 3] = ["lost", "limited", "ticket_limited"];

/// Shows the agent's numbers from now on, and in `/hops` what of them says how it watches.
pub(super) fn register(exporter: &Exporter, board: &Arc<DriftBoard>, metrics: AgentMetrics) {
    let AgentMetrics { capture, pipeline, .. } = &metrics;
    exporter.watched_by(source(capture.clone(), Arc::clone(pipeline), Arc::clone(board)));
    exporter.register(metrics);
}

/// Says it at any time, of an agent that begins now.
fn source(
    capture: StatsHandle,
    numbers: SharedPipelineNumbers,
    board: Arc<DriftBoard>,
) -> impl Fn() -> Watched + Send + Sync + 'static {
    let since = hopsight_system::clock::now().unix_seconds;
    let kernel_programs = Fingerprint::of(OBJECT);
    move || {
        let capture = capture.read();
        let numbers = *numbers.lock().unwrap_or_else(PoisonError::into_inner);
        Watched {
            since,
            kernel_programs,
            policy: board.policy_sha256(),
            events_received: capture.received.iter().map(|(_, count)| count).sum(),
            lost: losses(&capture, &numbers, board.not_evaluated()),
        }
    }
}

fn losses(capture: &CaptureStats, numbers: &PipelineNumbers, evaluations: u64) -> Losses {
    let events: u64 = capture.lost.iter().map(|loss| loss.count).sum();
    let of_libraries = capture.library.iter().filter(|(what, _)| LOST_OF_LIBRARIES.contains(what));
    let of_libraries: u64 = of_libraries.map(|(_, count)| count).sum();
    let evicted = &numbers.counters.evicted;
    Losses {
        events: events + of_libraries,
        undecodable: capture.decode_errors,
        connections: evicted.of(Eviction::TableFull) + evicted.of(Eviction::Memory),
        evaluations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::pipeline::{Counters, Evictions};

    #[test]
    fn every_loss_counts_and_a_handshake_that_takes_too_long_is_none() {
        let mut evicted = Evictions::default();
        for reason in [Eviction::TableFull, Eviction::Memory, Eviction::Timeout] {
            evicted.count(reason);
        }
        let numbers = PipelineNumbers {
            counters: Counters { evicted, ..Counters::default() },
            ..PipelineNumbers::default()
        };
        let capture =
            CaptureStats { decode_errors: 3, ..CaptureStats::counted(|_| 7, |_| 1, |_| 10) };
        let kernel = capture.lost.len() as u64;
        let lost = losses(&capture, &numbers, 5);
        let want = Losses { events: kernel + 30, undecodable: 3, connections: 2, evaluations: 5 };
        assert_eq!(lost, want, "{capture:?}");
    }
}

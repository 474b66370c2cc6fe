//! Drift that is over, because what caused it is gone.

use super::Evaluator;
use hopsight_posture::policy::{
    drift::{Causes, DriftEvent, OpenDrift, Use},
    observation::ProcessStart,
    time::UnixTime,
};
use hopsight_system::process::ProcessKey;

impl Evaluator {
    /// Ends the drift whose causes are out of use, or were not seen for as long as that counts.
    pub(super) fn end_what_is_over(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let Self { exporter, stands_for, .. } = self;
        // Whoever has a session that offends may resume it again.
        let may_resume = |drift: &OpenDrift, causes: &Causes| {
            let runs = |process: &ProcessStart| ProcessKey::from(*process).is_running();
            now.since(drift.last_offending) < *stands_for && causes.processes.iter().any(runs)
        };
        let in_use = |drift: &OpenDrift, causes: &Causes| {
            if may_resume(drift, causes) { Use::InUse } else { exporter.use_of(drift, causes) }
        };
        self.tracker.tick(now, in_use)
    }
}

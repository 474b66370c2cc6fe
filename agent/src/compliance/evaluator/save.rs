//! Writing down what has to outlive the agent.

use super::Evaluator;
use crate::compliance::kept::State;
use hopsight_system::clock::{Boot, monotonic_now};

impl Evaluator {
    /// Whether something has changed that is worth saving at once.
    pub(in crate::compliance) fn is_unsaved(&self) -> bool {
        self.state.is_unsaved(self.exporter.revision())
    }

    /// Saves what has to outlive the agent, if it is time to.
    pub(in crate::compliance) fn save_if_due(&mut self) {
        if self.state.is_due(self.exporter.revision()) {
            self.save();
        }
    }

    /// Saves what has to outlive the agent.
    pub(in crate::compliance) fn save(&mut self) {
        let (hops, revision) = self.exporter.keep();
        let state = || State {
            boot: Some(Boot::this()),
            policies: self.policies.fingerprint(),
            hops,
            drift: self.tracker.snapshot(),
            proxies: Some(self.proxies.keep(monotonic_now())),
            unconfigured: self.unconfigured.keep(),
        };
        self.state.save(state, revision, self.exporter.health());
    }
}

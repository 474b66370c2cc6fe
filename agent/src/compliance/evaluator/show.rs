//! What is shown of the evaluation: of each hop, in the metrics, and in `/readyz`.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use super::{Evaluator, policy_view};
use hopsight_export::metrics::drift::DriftView;
use hopsight_posture::{
    hops::context::{HopCompliance, HopContext},
    policy::time::UnixTime,
};

/// Component name in `/readyz`.
const POLICY: &str = "policy";
/// See [`POLICY`].
const LISTS: &str = "revocation_lists";

impl Evaluator {
    /// Shows which drifts of a hop are open now.
    pub(super) fn show_open(&self, proxy: &Arc<str>, upstream: &Arc<str>) {
        let open = self.tracker.open_of(proxy, upstream);
        self.exporter.describe(proxy, upstream, |known| {
            let compliance = known.compliance.as_ref().map(|known| {
                HopCompliance::new(known.policy.clone(), open, known.exemption.clone())
            });
            HopContext { compliance, ..known.clone() }
        });
    }

    pub(super) fn show(&self) {
        let open: Vec<_> = self.tracker.open().cloned().collect();
        let mut told: HashSet<_> = open
            .iter()
            .map(|drift| (drift.proxy.clone(), drift.upstream.clone(), drift.rule))
            .collect();
        let closed = self.tracker.closed().map(|closed| {
            (closed.drift.proxy.clone(), closed.drift.upstream.clone(), closed.drift.rule)
        });
        let mended = closed.filter(|drift| told.insert(drift.clone())).collect();
        self.board.show(DriftView {
            open,
            mended,
            policy: policy_view::of(&self.exporter, &self.policies),
            pending_reload: self.proxies.pending_reload(),
            workloads: self.proxies.workloads(),
            beyond_limit: self.tracker.dropped(),
        });
    }

    pub(super) fn show_health(&self) {
        let health = self.exporter.health();
        let now = UnixTime::from(SystemTime::now());
        let (state, detail) = self.policies.health(now);
        health.set(POLICY, state, detail);
        if let Some((state, detail)) = self.chains.health() {
            health.set(LISTS, state, detail);
        }
        let configurations = self.proxies.health();
        for (component, state, detail) in
            configurations.into_iter().chain(self.proxies.source_health())
        {
            health.set(component, state, detail);
        }
    }
}

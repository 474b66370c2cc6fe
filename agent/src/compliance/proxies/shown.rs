//! What is shown of the proxies, in metrics and in `/readyz`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::Proxies;
use crate::compliance::{instance::Instance, process::Entry};
use hopsight_core::{health::ComponentState, hops::labels};
use hopsight_identity::source_state::NameSourceState;

impl Proxies {
    /// The proxies that are in pods known by name: label, namespace, kind and name of the workload.
    pub(in crate::compliance) fn workloads(&self) -> Vec<[Arc<str>; 4]> {
        let pods = self.processes.values().filter_map(|entry| match entry {
            Entry::Known(proxy) => Some((proxy.label.clone(), proxy.pod()?)),
            _ => None,
        });
        let mut found: Vec<_> = pods
            .map(|(label, pod)| {
                let workload = &pod.workload;
                let [kind, name] = [&workload.kind, &workload.name].map(|text| labels::label(text));
                [label, labels::label(&pod.namespace), kind, name]
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// The `proxy` labels of the processes that run.
    pub(in crate::compliance) fn running(&self) -> HashSet<Arc<str>> {
        let known = self.processes.values().filter_map(|entry| match entry {
            Entry::Known(proxy) => Some(proxy.label.clone()),
            _ => None,
        });
        known.collect()
    }

    /// Per `proxy` label whether a configuration waits to be loaded.
    pub(in crate::compliance) fn pending_reload(&self) -> Vec<(Arc<str>, bool)> {
        let mut pending: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for instance in self.instances.values() {
            *pending.entry(instance.label.clone()).or_default() |= instance.is_pending();
        }
        pending.into_iter().collect()
    }

    /// The state of reading configurations, for `/readyz`.
    pub(in crate::compliance) fn health(&self) -> (ComponentState, String) {
        let mut problems: Vec<_> = self.instances.values().filter_map(Instance::problem).collect();
        problems.sort();
        match (problems.as_slice(), self.instances.len()) {
            ([], 0) => (ComponentState::Ready, "no nginx seen yet".to_owned()),
            ([], count) => (ComponentState::Ready, format!("{count} read")),
            (problems, _) => (ComponentState::Degraded, problems.join("; ")),
        }
    }

    /// The same for each source of names that is to be asked.
    pub(in crate::compliance) fn source_health(
        &self,
    ) -> Vec<(&'static str, ComponentState, String)> {
        let sources = [("kubernetes", self.sources.kubernetes()), ("cri", self.sources.runtime())];
        let words = |state| match state {
            NameSourceState::Idle(why) => (ComponentState::Ready, why.to_owned()),
            // Names may follow; nothing waits long for them.
            NameSourceState::Starting => (ComponentState::Degraded, "no answer yet".to_owned()),
            NameSourceState::Ready(what) => (ComponentState::Ready, what),
            NameSourceState::Degraded(why) => {
                (ComponentState::Degraded, format!("{why}; processes keep their own names"))
            }
        };
        let named = |(name, state): (_, Option<_>)| {
            let (state, detail) = words(state?);
            Some((name, state, detail))
        };
        sources.into_iter().filter_map(named).collect()
    }
}

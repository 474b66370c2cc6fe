//! What is shown of the proxies, in metrics and in `/readyz`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::Proxies;
use crate::compliance::{instance::Instance, process::Entry};
use hopsight_core::health::ComponentState;
use hopsight_identity::source_state::NameSourceState;
use hopsight_posture::{hops::labels, policy::kind::ProxyKind};

/// The component that reads the configurations of these proxies.
const fn component(kind: ProxyKind) -> &'static str {
    match kind {
        ProxyKind::Nginx => "nginx_configuration",
        ProxyKind::Haproxy => "haproxy_configuration",
        ProxyKind::Envoy => "envoy_configuration",
        ProxyKind::Caddy => "caddy_configuration",
        ProxyKind::Apache => "apache_configuration",
        ProxyKind::Traefik => "traefik_configuration",
    }
}

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

    /// The state of reading configurations, for `/readyz`: of nginx, and of every other kind of proxy
    /// that there is.
    pub(in crate::compliance) fn health(&self) -> Vec<(&'static str, ComponentState, String)> {
        let of = |kind: ProxyKind| {
            let theirs = || self.instances.values().filter(move |one| one.kind() == kind);
            let mut problems: Vec<_> = theirs().filter_map(Instance::problem).collect();
            problems.sort();
            let (state, detail) = match (problems.as_slice(), theirs().count()) {
                ([], 0) => (ComponentState::Ready, format!("no {kind} seen yet")),
                ([], count) => (ComponentState::Ready, format!("{count} read")),
                (problems, _) => (ComponentState::Degraded, problems.join("; ")),
            };
            (component(kind), state, detail)
        };
        let is_shown = |kind: &ProxyKind| *kind == ProxyKind::Nginx || self.kinds.contains(kind);
        ProxyKind::ALL.iter().copied().filter(is_shown).map(of).collect()
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

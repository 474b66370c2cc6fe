//! The processes that open connections, and the nginx instances among them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    instance::{Configuration, Generation, Instance},
    names::Names,
};
use crate::{
    export::health::ComponentState,
    identity::{
        cgroup::CgroupIdentity,
        nginx::{NginxInstance, master_of},
        process::{ProcessFacts, ProcessKey},
    },
    policy::time::UnixTime,
};

/// Processes remembered at most; those beyond are read again for each connection.
const MAX_PROCESSES: usize = 65_536;
/// nginx instances at most.
const MAX_INSTANCES: usize = 1_024;

/// What was found out about a process.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    key: ProcessKey,
    /// Container, pod and unit.
    pub(super) identity: Arc<CgroupIdentity>,
    nginx: Option<Worker>,
}

/// A process of an nginx.
#[derive(Clone, Copy, Debug)]
struct Worker {
    master: ProcessKey,
    /// The configuration it runs with.
    generation: Generation,
    started_at: UnixTime,
}

impl Proxy {
    /// When the configuration was loaded that the process runs with, if it is an nginx: a worker
    /// begins with it.
    pub(super) fn loaded_at(&self) -> Option<UnixTime> {
        self.nginx.map(|worker| worker.started_at)
    }
}

/// Everything known of the proxies; each process and each configuration is read once.
#[derive(Debug)]
pub(super) struct Proxies {
    /// `None` for a process that could not be read; tried again after the next [`Proxies::tick`].
    processes: HashMap<u32, Option<Proxy>>,
    instances: HashMap<ProcessKey, Instance>,
    names: Names,
}

impl Proxies {
    /// No proxies yet.
    pub(super) fn start() -> std::io::Result<Self> {
        let names = Names::start()?;
        Ok(Self { processes: HashMap::new(), instances: HashMap::new(), names })
    }

    /// The process `pid`, whose hops are labelled `label`. A process that is new is read, and so
    /// is the configuration of its nginx: a new worker means that it was loaded.
    pub(super) fn of(&mut self, pid: u32, label: &Arc<str>) -> Option<Proxy> {
        if let Some(known) = self.processes.get(&pid) {
            return known.clone();
        }
        let read = self.read(pid, label);
        if let Err(error) = &read {
            tracing::debug!(pid, "{error:#}");
        }
        let proxy = read.ok();
        if self.processes.len() < MAX_PROCESSES {
            self.processes.insert(pid, proxy.clone());
        }
        proxy
    }

    fn read(&mut self, pid: u32, label: &Arc<str>) -> anyhow::Result<Proxy> {
        let facts = ProcessFacts::read(pid)?;
        let master = master_of(&facts).unwrap_or_else(|error| {
            tracing::debug!(pid, "{error:#}");
            None
        });
        if let Some(master) = &master {
            if let Some(instance) = self.instances.get_mut(&master.key) {
                instance.read(&self.names);
            } else if self.instances.len() < MAX_INSTANCES {
                match NginxInstance::of_master(master) {
                    Ok(nginx) => {
                        let instance = Instance::new(nginx, label.clone(), &self.names);
                        self.instances.insert(master.key, instance);
                    }
                    Err(error) => tracing::warn!(pid, "find the nginx configuration: {error:#}"),
                }
            }
        }
        let nginx = master.map(|master| Worker {
            master: master.key,
            generation: self
                .instances
                .get(&master.key)
                .map(Instance::generation)
                .unwrap_or_default(),
            started_at: facts.started_at,
        });
        Ok(Proxy { key: facts.key, identity: Arc::new(facts.cgroup), nginx })
    }

    /// The configuration that a process of an nginx runs with.
    pub(super) fn configuration(&self, proxy: &Proxy) -> Option<&Configuration> {
        let worker = proxy.nginx?;
        Some(self.instances.get(&worker.master)?.configuration(worker.generation))
    }

    /// Forgets processes that are gone and looks at the files of the others. Call it about once
    /// a second.
    pub(super) fn tick(&mut self) {
        self.processes
            .retain(|_, proxy| proxy.as_ref().is_some_and(|proxy| proxy.key.is_running()));
        self.instances.retain(|_, instance| instance.is_running());
        let renamed = self.names.refresh();
        for instance in self.instances.values_mut() {
            instance.refresh(&self.names);
            if renamed {
                instance.name(&self.names);
            }
        }
    }

    /// Per `proxy` label whether a configuration waits to be loaded.
    pub(super) fn pending_reload(&self) -> Vec<(Arc<str>, bool)> {
        let mut pending: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for instance in self.instances.values() {
            *pending.entry(instance.label.clone()).or_default() |= instance.is_pending();
        }
        pending.into_iter().collect()
    }

    /// How reading configurations goes, for `/readyz`.
    pub(super) fn health(&self) -> (ComponentState, String) {
        let mut problems: Vec<_> = self.instances.values().filter_map(Instance::problem).collect();
        problems.sort();
        match (problems.as_slice(), self.instances.len()) {
            ([], 0) => (ComponentState::Ready, "no nginx seen yet".to_owned()),
            ([], count) => (ComponentState::Ready, format!("{count} read")),
            (problems, _) => (ComponentState::Degraded, problems.join("; ")),
        }
    }
}

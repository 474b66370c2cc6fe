//! The processes that open connections: who they are, and the nginx instances among them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    instance::{Configuration, Generation, Instance},
    names::Names,
};
use hopsight_core::{
    health::ComponentState,
    hops::labels,
    policy::{intent::UpstreamIntent, time::UnixTime},
    workload::{
        cgroup::CgroupIdentity,
        pod::{PodIdentity, ProxyIdentity},
        services::ServicePort,
    },
};
use hopsight_identity::{
    nginx::{NginxInstance, master_of},
    source_state::NameSourceState,
    sources::{Lookup, PodSources},
};
use hopsight_system::process::{ProcessFacts, ProcessKey};

/// Most processes remembered; those beyond are read again for each connection.
const MAX_PROCESSES: usize = 65_536;
/// Pause between questions about the pod of one process.
const ASK_AGAIN: Duration = Duration::from_millis(40);
/// Most nginx instances.
const MAX_INSTANCES: usize = 1_024;

/// What was found out about a process.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    key: ProcessKey,
    /// `proxy` label of its hops.
    pub(super) label: Arc<str>,
    /// Container, pod and unit.
    pub(super) identity: Arc<ProxyIdentity>,
    nginx: Option<Worker>,
    /// When it was first asked for.
    since: Instant,
}

/// A process of an nginx.
#[derive(Clone, Copy, Debug)]
struct Worker {
    master: ProcessKey,
    /// The configuration it is running.
    generation: Generation,
    started_at: UnixTime,
}

impl Proxy {
    /// When the configuration that the process is running was loaded, if it is an nginx: when a
    /// worker started.
    pub(super) fn loaded_at(&self) -> Option<UnixTime> {
        self.nginx.map(|worker| worker.started_at)
    }

    /// Its pod, where it is known by name.
    pub(super) fn pod(&self) -> Option<&PodIdentity> {
        self.identity.kubernetes.as_ref()
    }
}

/// What is known of a process.
#[derive(Clone, Debug)]
enum Entry {
    /// A source of names has not answered yet; first and last asked then.
    Waiting {
        key: ProcessKey,
        since: Instant,
        asked: Instant,
    },
    Known(Proxy),
    /// It could not be read; tried again after the next [`Proxies::tick`].
    Unreadable,
}

/// The answer of [`Proxies::of`].
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// The process.
    Known(Proxy),
    /// Ask again shortly: the name of its hops is being looked up.
    NotYet,
    /// It could not be inspected.
    Gone,
}

/// A name that will not be seen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// A `proxy` label of the processes in a cgroup: they now have another one.
    Proxy(Arc<str>, CgroupIdentity),
    /// An `upstream` label of a proxy: its configuration no longer has it.
    Upstream(Arc<str>, Arc<str>),
}

/// Everything known of the proxies; each process and each configuration is read once.
#[derive(Debug)]
pub(super) struct Proxies {
    processes: HashMap<u32, Entry>,
    instances: HashMap<ProcessKey, Instance>,
    names: Names,
    sources: PodSources,
    /// Labels of processes that now have another one, and their cgroups.
    renamed: HashSet<(Arc<str>, CgroupIdentity)>,
    /// Whether private keys may be read.
    read_keys: bool,
}

impl Proxies {
    /// No proxies yet.
    pub(super) fn start(sources: PodSources, read_keys: bool) -> std::io::Result<Self> {
        Ok(Self {
            processes: HashMap::new(),
            instances: HashMap::new(),
            names: Names::start()?,
            sources,
            renamed: HashSet::new(),
            read_keys,
        })
    }

    /// The process `pid` of this name. One that is new is read, and so is the configuration of its
    /// nginx: a new worker means that it was loaded.
    pub(super) fn of(&mut self, pid: u32, process: &Arc<str>) -> Asked {
        let since = match self.processes.get(&pid) {
            Some(Entry::Known(known)) if self.is_resolving(known) => return Asked::NotYet,
            Some(Entry::Known(known)) => return Asked::Known(known.clone()),
            Some(Entry::Unreadable) => return Asked::Gone,
            Some(Entry::Waiting { asked, .. }) if asked.elapsed() < ASK_AGAIN => {
                return Asked::NotYet;
            }
            Some(Entry::Waiting { since, .. }) => *since,
            None => Instant::now(),
        };
        let entry = self.read(pid, process, since).unwrap_or_else(|error| {
            tracing::debug!(pid, "{error:#}");
            Entry::Unreadable
        });
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&pid) {
            self.processes.insert(pid, entry.clone());
        }
        match entry {
            Entry::Known(proxy) if self.is_resolving(&proxy) => Asked::NotYet,
            Entry::Known(proxy) => Asked::Known(proxy),
            Entry::Waiting { .. } => Asked::NotYet,
            Entry::Unreadable => Asked::Gone,
        }
    }

    fn is_resolving(&self, proxy: &Proxy) -> bool {
        let instance = proxy.nginx.and_then(|worker| self.instances.get(&worker.master));
        instance.is_some_and(|instance| instance.is_resolving(&self.names))
    }

    fn read(&mut self, pid: u32, process: &Arc<str>, since: Instant) -> anyhow::Result<Entry> {
        let facts = ProcessFacts::read(pid)?;
        let kubernetes = match self.sources.find(&facts.cgroup, since) {
            Lookup::Pending => {
                return Ok(Entry::Waiting { key: facts.key, since, asked: Instant::now() });
            }
            Lookup::Known(pod) => Some(*pod),
            Lookup::Unknown => None,
        };
        let label = label_of(kubernetes.as_ref(), process);
        let master = master_of(&facts).unwrap_or_else(|error| {
            tracing::debug!(pid, "{error:#}");
            None
        });
        if let Some(master) = &master {
            if let Some(instance) = self.instances.get_mut(&master.key) {
                instance.read(&mut self.names);
            } else if self.instances.len() < MAX_INSTANCES {
                match NginxInstance::of_master(master) {
                    Ok(nginx) => {
                        let instance =
                            Instance::new(nginx, label.clone(), self.read_keys, &mut self.names);
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
        let identity = Arc::new(ProxyIdentity { cgroup: facts.cgroup, kubernetes });
        Ok(Entry::Known(Proxy { key: facts.key, label, identity, nginx, since }))
    }

    /// The configuration that a process of an nginx is running.
    pub(super) fn configuration(&self, proxy: &Proxy) -> Option<&Configuration> {
        let worker = proxy.nginx?;
        Some(self.instances.get(&worker.master)?.configuration(worker.generation))
    }

    /// What the configurations that run now say of an upstream, of all proxies of this label.
    pub(super) fn configured(
        &self,
        proxy: &str,
        upstream: &str,
    ) -> impl Iterator<Item = &UpstreamIntent> {
        let instances = self.instances.values().filter(move |one| &*one.label == proxy);
        instances.flat_map(move |one| one.named(upstream))
    }

    /// Whether at most one proxy of this label has a configuration with this upstream.
    pub(super) fn is_only_one(&self, proxy: &str, upstream: &str) -> bool {
        let mut instances = self.instances.values().filter(|one| &*one.label == proxy);
        instances.clone().nth(1).is_none()
            || instances.by_ref().filter(|one| one.named(upstream).next().is_some()).count() <= 1
    }

    /// The Service that one of these addresses belongs to: what was asked for comes before what the
    /// service NAT made of it.
    pub(super) fn service(
        &self,
        destination: SocketAddr,
        remote: Option<SocketAddr>,
    ) -> Option<Arc<ServicePort>> {
        let remote = remote.filter(|remote| *remote != destination);
        [Some(destination), remote].into_iter().flatten().find_map(|one| self.sources.service(one))
    }

    /// What the Gateway API intends for the hop from a proxy to a Service; it comes before what the
    /// data plane's own configuration says, which was made from it.
    pub(super) fn gateway_intent(&self, proxy: &Proxy, to: &ServicePort) -> Option<UpstreamIntent> {
        self.sources.intent(proxy.pod()?, to)
    }

    /// Records names that have been looked up meanwhile.
    pub(super) fn refresh_names(&mut self) {
        if self.names.refresh() {
            for instance in self.instances.values_mut() {
                instance.name(&self.names);
            }
        }
    }

    /// Forgets processes that are gone and checks the files of the others. Call it about once a
    /// second.
    pub(super) fn tick(&mut self) {
        self.processes.retain(|_, entry| match entry {
            Entry::Known(proxy) => proxy.key.is_running(),
            Entry::Waiting { key, .. } => key.is_running(),
            Entry::Unreadable => false,
        });
        self.name_late();
        self.instances.retain(|_, instance| instance.is_running());
        self.refresh_names();
        for instance in self.instances.values_mut() {
            instance.refresh(&mut self.names);
        }
    }

    /// Asks again for the pods, and the containers in them, that were not known yet.
    fn name_late(&mut self) {
        for entry in self.processes.values_mut() {
            let Entry::Known(proxy) = entry else { continue };
            if proxy.pod().is_some_and(|pod| pod.container.is_some()) {
                continue;
            }
            let Lookup::Known(pod) = self.sources.find(&proxy.identity.cgroup, proxy.since) else {
                continue;
            };
            if proxy.pod() == Some(&*pod) {
                continue;
            }
            let label = label_of(Some(&pod), &proxy.label);
            let cgroup = proxy.identity.cgroup.clone();
            proxy.identity = Arc::new(ProxyIdentity { cgroup, kubernetes: Some(*pod) });
            let before = std::mem::replace(&mut proxy.label, label);
            if before != proxy.label {
                self.renamed.insert((before, proxy.identity.cgroup.clone()));
                if let Some(worker) = proxy.nginx
                    && let Some(instance) = self.instances.get_mut(&worker.master)
                {
                    instance.label = proxy.label.clone();
                }
            }
        }
    }

    /// The names that will not be seen again, each once.
    pub(super) fn take_retired(&mut self) -> Vec<Retired> {
        let renamed = std::mem::take(&mut self.renamed).into_iter();
        let mut retired: Vec<_> =
            renamed.map(|(label, cgroup)| Retired::Proxy(label, cgroup)).collect();
        for instance in self.instances.values_mut() {
            let gone = instance.take_retired().into_iter();
            retired.extend(gone.map(|label| Retired::Upstream(instance.label.clone(), label)));
        }
        retired
    }

    /// The proxies that are in pods known by name: label, namespace, kind and name of the workload.
    pub(super) fn workloads(&self) -> Vec<[Arc<str>; 4]> {
        let pods = self.processes.values().filter_map(|entry| match entry {
            Entry::Known(proxy) => Some((proxy.label.clone(), proxy.pod()?)),
            Entry::Waiting { .. } | Entry::Unreadable => None,
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
    pub(super) fn running(&self) -> HashSet<Arc<str>> {
        let known = self.processes.values().filter_map(|entry| match entry {
            Entry::Known(proxy) => Some(proxy.label.clone()),
            Entry::Waiting { .. } | Entry::Unreadable => None,
        });
        known.collect()
    }

    /// Per `proxy` label whether a configuration waits to be loaded.
    pub(super) fn pending_reload(&self) -> Vec<(Arc<str>, bool)> {
        let mut pending: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for instance in self.instances.values() {
            *pending.entry(instance.label.clone()).or_default() |= instance.is_pending();
        }
        pending.into_iter().collect()
    }

    /// The state of reading configurations, for `/readyz`.
    pub(super) fn health(&self) -> (ComponentState, String) {
        let mut problems: Vec<_> = self.instances.values().filter_map(Instance::problem).collect();
        problems.sort();
        match (problems.as_slice(), self.instances.len()) {
            ([], 0) => (ComponentState::Ready, "no nginx seen yet".to_owned()),
            ([], count) => (ComponentState::Ready, format!("{count} read")),
            (problems, _) => (ComponentState::Degraded, problems.join("; ")),
        }
    }

    /// The same for each source of names that is to be asked.
    pub(super) fn source_health(&self) -> Vec<(&'static str, ComponentState, String)> {
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

/// `namespace/workload` of a pod; else the process name, or what the proxy is called already.
fn label_of(pod: Option<&PodIdentity>, process: &Arc<str>) -> Arc<str> {
    pod.map_or_else(|| process.clone(), |pod| labels::label(&pod.workload_name()))
}

//! The processes that open connections: who they are, and those among them with a configuration.

mod say;
mod shown;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

pub(super) use self::say::KeptProxies;
pub(super) use super::process::Proxy;
use super::{
    configuration::{Configuration, Generation},
    disk::Disk,
    instance::Instance,
    loaded::KeptLoads,
    names::Names,
    owners::{Asker, Owners},
    process::{Entry, Facts, Runs, Worker},
    users::{HopKey, Users},
};
use hopsight_core::model::{Process, Timestamp};
use hopsight_identity::sources::{Lookup, PodSources};
use hopsight_posture::{
    hops::labels,
    policy::{intent::UpstreamIntent, kind::ProxyKind, time::UnixTime},
    workload::{
        cgroup::CgroupIdentity,
        leg::{Said, Through},
        pod::ProxyIdentity,
        services::ServicePort,
    },
};
use hopsight_system::{
    foreign::Lane,
    process::{ProcessFacts, ProcessKey, ticks_now},
    readers::Readers,
};

/// Most processes remembered, and most of one user; those beyond go by their own name.
const MAX_PROCESSES: usize = 65_536;
const MAX_PROCESSES_OF_ONE: usize = 16_384;
/// Pause between questions about the pod of one process.
const ASK_AGAIN: Duration = Duration::from_millis(40);
/// Most proxies whose configuration is read, and most of one user.
const MAX_INSTANCES: usize = 1_024;
const MAX_INSTANCES_OF_ONE: usize = 256;
/// Most bytes that their configurations take in memory, and most of one user's.
const MAX_BYTES: usize = 160 << 20;
const MAX_BYTES_OF_ONE: usize = 64 << 20;

/// The answer of [`Proxies::of`].
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// The process.
    Known(Proxy),
    /// Ask again shortly: it is being read. What is known so far, and whose it is.
    NotYet(Option<Proxy>, Lane),
    /// Ask again shortly: a source of names is to answer, which takes no longer than it may. Whose it
    /// is.
    Unnamed(Lane),
    /// It could not be inspected.
    Gone,
}

/// A name that will not be seen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// A `proxy` label of the processes in a cgroup: they now have another one.
    Proxy(Arc<str>, CgroupIdentity),
    /// An `upstream` label of a proxy: its configuration no longer has it.
    Upstream(HopKey),
}

/// Everything known of the proxies; each process and each configuration is read once.
#[derive(Debug)]
pub(super) struct Proxies {
    processes: HashMap<u32, Entry>,
    instances: HashMap<ProcessKey, Instance>,
    /// The kinds of proxies that were seen.
    kinds: HashSet<ProxyKind>,
    names: Names,
    sources: PodSources,
    owners: Owners,
    /// Who uses which hop.
    users: Users,
    /// When the oldest worker of an instance began that runs, by its main process.
    oldest: HashMap<ProcessKey, UnixTime>,
    /// What was known before a restart of the loads of instances that have not been seen since.
    kept_loads: HashMap<ProcessKey, KeptLoads>,
    /// An instance has loaded something since somebody asked.
    has_loaded: bool,
    /// When this began, in clock ticks after boot.
    watched_since: u64,
    /// Labels of processes that now have another one, and their cgroups.
    renamed: HashSet<(Arc<str>, CgroupIdentity)>,
    /// Whether private keys may be read.
    read_keys: bool,
}

impl Proxies {
    /// No proxies yet.
    pub(super) fn new(names: Names, sources: PodSources, read_keys: bool) -> Self {
        Self {
            processes: HashMap::new(),
            instances: HashMap::new(),
            kinds: HashSet::new(),
            names,
            sources,
            owners: Owners::new(),
            users: Users::default(),
            oldest: HashMap::new(),
            kept_loads: HashMap::new(),
            has_loaded: false,
            watched_since: ticks_now(),
            renamed: HashSet::new(),
            read_keys,
        }
    }

    /// What is known of a process. One that is new is read, and so is its configuration: a new worker
    /// means that it was loaded.
    pub(super) fn of(&mut self, process: &Process, readers: &Readers) -> Asked {
        let pid = process.pid;
        let entry = match self.processes.remove(&pid) {
            Some(entry) => entry,
            None if self.processes.len() >= MAX_PROCESSES => return Asked::Gone,
            None => self.ask(pid, readers),
        };
        let entry = self.settle(entry, process, readers);
        let asked = match &entry {
            Entry::Unreadable => Asked::Gone,
            Entry::Unread { whose, .. } => Asked::NotYet(None, *whose),
            Entry::Unnamed { whose, .. } => Asked::Unnamed(*whose),
            Entry::Known(proxy) if self.is_undecided(proxy) => {
                Asked::NotYet(Some(Proxy::clone(proxy)), proxy.whose)
            }
            Entry::Known(proxy) => Asked::Known(Proxy::clone(proxy)),
        };
        self.processes.insert(pid, entry);
        asked
    }

    /// What is known of a process, perhaps not yet the configuration that it runs.
    pub(super) fn known(&self, pid: u32) -> Option<&Proxy> {
        match self.processes.get(&pid)? {
            Entry::Known(proxy) => Some(proxy),
            _ => None,
        }
    }

    /// A process of this label whose configuration is known, if there is one.
    pub(super) fn labelled(&self, label: &str) -> Option<&Proxy> {
        self.processes.values().find_map(|entry| match entry {
            Entry::Known(proxy) if *proxy.label == *label && !self.is_undecided(proxy) => {
                Some(&**proxy)
            }
            _ => None,
        })
    }

    /// Whose a process is of which more will be known; `None` for any other.
    pub(super) fn being_read(&self, pid: u32) -> Option<Lane> {
        let entry = self.processes.get(&pid)?;
        let goes_on = match entry {
            Entry::Known(proxy) => self.is_undecided(proxy),
            Entry::Unread { .. } | Entry::Unnamed { .. } => true,
            Entry::Unreadable => false,
        };
        if goes_on { entry.whose() } else { None }
    }

    /// Has a process read.
    fn ask(&self, pid: u32, readers: &Readers) -> Entry {
        let Ok(whose) = Lane::of_process(pid) else { return Entry::Unreadable };
        let theirs = || self.processes.values().filter(|entry| entry.whose() == Some(whose));
        let is_crowded = self.processes.len() >= MAX_PROCESSES_OF_ONE;
        if is_crowded && theirs().count() >= MAX_PROCESSES_OF_ONE {
            return Entry::Unreadable;
        }
        match readers.ask(whose, move || Facts::read(pid, whose)) {
            Some(facts) => Entry::Unread { pid, whose, since: Instant::now(), facts },
            None => Entry::Unreadable,
        }
    }

    /// Goes on with what has arrived meanwhile.
    fn settle(&mut self, entry: Entry, process: &Process, readers: &Readers) -> Entry {
        let (facts, whose, since) = match entry {
            Entry::Unread { pid, whose, since, facts } => match facts.poll() {
                Poll::Pending => return Entry::Unread { pid, whose, since, facts },
                Poll::Ready(None) => return Entry::Unreadable,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(pid, "{error:#}");
                    return Entry::Unreadable;
                }
                Poll::Ready(Some(Ok(facts))) => (facts, whose, since),
            },
            Entry::Unnamed { facts, whose, since, asked } if asked.elapsed() >= ASK_AGAIN => {
                (facts, whose, since)
            }
            settled => return settled,
        };
        let kubernetes = match self.sources.find(&facts.process.cgroup, since) {
            Lookup::Pending => {
                return Entry::Unnamed { facts, whose, since, asked: Instant::now() };
            }
            Lookup::Known(pod) => Some(*pod),
            Lookup::Unknown => None,
        };
        let Facts { process: facts, owner, main } = *facts;
        let main_key = main.as_ref().map_or(facts.key, |(_, main, _)| main.key);
        let label = match &kubernetes {
            Some(pod) => labels::label(&pod.workload_name()),
            None => self.own_label(process, Asker { owner: &owner, main: main_key }),
        };
        let worker = main.map(|(kind, main, of_main)| {
            let started_at = (!kind.is_asked()).then_some(facts.started_at);
            let master = main.key;
            let runs = self.runs(kind, main, of_main, &label, started_at, readers);
            Worker { master, runs, started_at }
        });
        let identity = Arc::new(ProxyIdentity { cgroup: facts.cgroup, kubernetes });
        let key = facts.key;
        Entry::Known(Box::new(Proxy { key, whose, owner, label, identity, worker, since }))
    }

    /// The configuration that a worker runs which was just seen for the first time.
    fn runs(
        &mut self,
        kind: ProxyKind,
        master: ProcessFacts,
        whose: Lane,
        label: &Arc<str>,
        started_at: Option<UnixTime>,
        readers: &Readers,
    ) -> Runs {
        let key = master.key;
        self.kinds.insert(kind);
        let theirs = || self.instances.values().filter(|one| one.lane() == whose).count();
        if !self.instances.contains_key(&key)
            && self.instances.len() < MAX_INSTANCES
            && theirs() < MAX_INSTANCES_OF_ONE
        {
            let kept = self.kept_loads.remove(&key).unwrap_or_default();
            let instance = Instance::new(kind, master, whose, label.clone(), kept, self.read_keys);
            self.instances.insert(key, instance);
        }
        match self.instances.get_mut(&key) {
            Some(instance) => match instance.look(readers) {
                look if instance.has_looked(look) => Runs::of(instance, started_at),
                look => Runs::KnownAfter(look),
            },
            None => Runs::Generation(Generation::default()),
        }
    }

    /// Whether its configuration is still being read, or the host names in it looked up.
    fn is_undecided(&self, proxy: &Proxy) -> bool {
        let Some(worker) = proxy.worker else { return false };
        let Some(instance) = self.instances.get(&worker.master) else { return false };
        matches!(worker.runs, Runs::KnownAfter(_)) || instance.is_resolving(&self.names)
    }

    /// The configuration that a process is running; while that is being found out, the newest there
    /// is.
    pub(super) fn configuration(&self, proxy: &Proxy) -> Option<&Configuration> {
        let worker = proxy.worker?;
        let instance = self.instances.get(&worker.master)?;
        let generation = match worker.runs {
            Runs::Generation(generation) => generation,
            Runs::Newest | Runs::KnownAfter(_) => instance.generation(),
        };
        Some(instance.configuration(generation))
    }

    /// What the files say by now that the configuration of a process's proxy names.
    pub(super) fn disk(&self, proxy: &Proxy) -> Option<&Disk> {
        Some(self.instances.get(&proxy.worker?.master)?.disk())
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

    /// What objects of the Kubernetes API say of the hop from a proxy to a Service, of which `address` is
    /// an endpoint, `through` that proxy; it comes before what the data plane's own configuration says,
    /// which was made from it.
    pub(super) fn said(
        &self,
        proxy: &Proxy,
        to: &ServicePort,
        address: SocketAddr,
        through: Through<'_>,
    ) -> Option<Said> {
        self.sources.said(proxy.pod()?, to, address, through)
    }

    /// Records what has been read and looked up meanwhile.
    pub(super) fn advance(&mut self, readers: &Readers) {
        let (mut in_all, mut of) = (0, HashMap::<_, usize>::new());
        for instance in self.instances.values() {
            in_all += instance.size();
            *of.entry(instance.lane()).or_default() += instance.size();
        }
        for (master, instance) in &mut self.instances {
            let theirs = of.entry(instance.lane()).or_default();
            let room = MAX_BYTES_OF_ONE.saturating_sub(*theirs);
            let room = room.min(MAX_BYTES.saturating_sub(in_all));
            let (before, loaded) = (instance.size(), instance.loaded());
            if !instance.advance(readers, &mut self.names, room) {
                continue;
            }
            self.has_loaded |= instance.loaded() != loaded;
            // What is replaced is counted until the next time.
            let more = instance.size().saturating_sub(before);
            (*theirs, in_all) = (*theirs + more, in_all + more);
            for entry in self.processes.values_mut() {
                if let Entry::Known(proxy) = entry
                    && let Some(worker) = &mut proxy.worker
                    && let Runs::KnownAfter(look) = worker.runs
                    && worker.master == *master
                    && instance.has_looked(look)
                {
                    worker.runs = Runs::of(instance, worker.started_at);
                }
            }
        }
        if self.names.refresh() {
            for instance in self.instances.values_mut() {
                instance.name(&self.names);
            }
        }
    }

    /// Forgets processes that are gone and has the files of the others checked. What nobody has seen for
    /// `stands_for` does not count. Call it about once a second.
    pub(super) fn tick(&mut self, readers: &Readers, now: Timestamp, stands_for: Duration) {
        self.processes.retain(|_, entry| entry.is_running());
        self.name_late();
        self.settle_users(now, stands_for);
        self.advance(readers);
        for instance in self.instances.values_mut() {
            instance.refresh(readers);
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
            let label = labels::label(&pod.workload_name());
            let cgroup = proxy.identity.cgroup.clone();
            proxy.identity = Arc::new(ProxyIdentity { cgroup, kubernetes: Some(*pod) });
            let before = std::mem::replace(&mut proxy.label, label);
            if before != proxy.label {
                self.renamed.insert((before, proxy.identity.cgroup.clone()));
                if let Some(worker) = proxy.worker
                    && let Some(instance) = self.instances.get_mut(&worker.master)
                {
                    instance.label = proxy.label.clone();
                }
            }
        }
    }

    /// The names that will not be seen again, each once. What nobody has seen for `stands_for` does not
    /// count.
    pub(super) fn take_retired(&mut self, stands_for: Duration) -> Vec<Retired> {
        let renamed = std::mem::take(&mut self.renamed).into_iter();
        let mut retired: Vec<_> =
            renamed.map(|(label, cgroup)| Retired::Proxy(label, cgroup)).collect();
        for (main, instance) in &mut self.instances {
            for gone in instance.take_retired(self.oldest.get(main).copied(), stands_for) {
                let hop = (instance.label.clone(), gone);
                self.users.remove(&hop, *main);
                retired.push(Retired::Upstream(hop));
            }
        }
        retired
    }
}

//! One nginx: the configuration it is running, and whether another one waits on disk.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::names::Names;
use hopsight_core::{
    hops::labels,
    policy::{
        certificate::{self, CertificateFinding},
        intent::{Intent, Scheme, ServerAddress, Target, UpstreamIntent},
        lookup::{Found, UpstreamIndex},
        time::UnixTime,
    },
};
use hopsight_identity::{
    foreign_root::ForeignRoot,
    nginx::{NginxInstance, is_newer},
};

/// How long connections wait for the addresses of host names in a new configuration.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long workers of an older configuration may go on opening connections.
const RETIRE_AFTER: Duration = Duration::from_mins(1);

/// One configuration as it was loaded.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    intent: Intent,
    /// When it was first loaded: loading it again without a change does not make it another.
    loaded_at: Option<UnixTime>,
    index: UpstreamIndex,
    /// Per upstream the client certificate its first TLS route names.
    certificates: Vec<Option<Arc<CertificateFinding>>>,
}

impl Configuration {
    /// The upstreams a connection may belong to.
    pub(super) fn find(&self, to: SocketAddr, server_name: Option<&str>) -> Vec<usize> {
        match self.index.find(to, server_name) {
            Found::One(at) => vec![at],
            Found::Several(several) => several,
            Found::None => Vec::new(),
        }
    }

    /// Since when it says what it says.
    pub(super) const fn loaded_at(&self) -> Option<UnixTime> {
        self.loaded_at
    }

    /// An upstream that [`Configuration::find`] has found.
    pub(super) fn upstream(&self, at: usize) -> &UpstreamIntent {
        &self.intent.upstreams[at]
    }

    /// The client certificate that is configured for it.
    pub(super) fn client_certificate(&self, at: usize) -> Option<&Arc<CertificateFinding>> {
        self.certificates.get(at)?.as_ref()
    }

    /// The labels its upstreams have.
    fn labels(&self) -> HashSet<Arc<str>> {
        let label = |upstream: &UpstreamIntent| match &upstream.target {
            Target::Address(ServerAddress::Ip(address)) => Some(labels::address(*address)),
            _ => upstream.stable_name().map(|name| labels::label(&name)),
        };
        self.intent.upstreams.iter().filter_map(label).collect()
    }

    /// The host names in it.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let servers = self.intent.upstreams.iter().flat_map(|upstream| &upstream.servers);
        servers.filter_map(|server| match &server.address {
            ServerAddress::Host(host, _) => Some(host.as_str()),
            ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
        })
    }

    fn name(&mut self, names: &Names) {
        self.index = UpstreamIndex::new(&self.intent, &|host| names.addresses(host));
    }
}

/// Number of a configuration of an instance: those loaded later have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

/// A running nginx and the last good configuration it loaded.
#[derive(Debug)]
pub(super) struct Instance {
    nginx: NginxInstance,
    /// `proxy` label of its hops.
    pub(super) label: Arc<str>,
    current: Configuration,
    /// What workers are running that started before the current one was loaded.
    previous: Option<Configuration>,
    generation: Generation,
    loaded_at: Option<UnixTime>,
    changed_at: Option<UnixTime>,
    pending: bool,
    problem: Option<String>,
    /// When the current configuration was adopted.
    adopted_at: Instant,
    /// Labels of upstreams that a newer configuration no longer has, and since when.
    retired: Vec<(Arc<str>, Instant)>,
    /// Whether private keys may be read, to say whether they match their certificates.
    read_keys: bool,
}

impl Instance {
    /// The instance with what its files say now.
    pub(super) fn new(
        nginx: NginxInstance,
        label: Arc<str>,
        read_keys: bool,
        names: &mut Names,
    ) -> Self {
        let mut instance = Self {
            nginx,
            label,
            current: Configuration::default(),
            previous: None,
            generation: Generation::default(),
            loaded_at: None,
            changed_at: None,
            pending: false,
            problem: None,
            adopted_at: Instant::now(),
            retired: Vec::new(),
            read_keys,
        };
        instance.read(names);
        instance
    }

    /// Whether its master still runs.
    pub(super) fn is_running(&self) -> bool {
        self.nginx.master.is_running()
    }

    /// The configuration of workers that start now.
    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The configuration of a worker that started with this one.
    pub(super) fn configuration(&self, generation: Generation) -> &Configuration {
        match &self.previous {
            Some(previous) if generation < self.generation => previous,
            _ => &self.current,
        }
    }

    /// The upstreams of its configuration that this label is of.
    pub(super) fn named(&self, label: &str) -> impl Iterator<Item = &UpstreamIntent> {
        let upstreams = self.current.intent.upstreams.iter();
        upstreams.filter(move |one| {
            one.stable_name().is_some_and(|name| labels::sanitised(&name) == label)
        })
    }

    /// Whether its upstreams cannot be told apart yet, because their host names are being looked up.
    pub(super) fn is_resolving(&self, names: &Names) -> bool {
        names.waits_for(self.current.hosts()) && self.adopted_at.elapsed() < RESOLVE_PATIENCE
    }

    /// The labels of upstreams that its configuration no longer has, each once, after the workers
    /// that knew them have had time to end.
    pub(super) fn take_retired(&mut self) -> Vec<Arc<str>> {
        let over = self.retired.extract_if(.., |(_, since)| since.elapsed() >= RETIRE_AFTER);
        over.map(|(label, _)| label).collect()
    }

    /// Whether the configuration on disk is newer.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending
    }

    /// What is wrong with its configuration, with the place.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("nginx (master {}): {problem}", self.nginx.master.pid))
    }

    /// Checks whether files changed, and if so whether they were loaded.
    pub(super) fn refresh(&mut self, names: &mut Names) {
        let files = match self.current.intent.files.as_slice() {
            [] => &[self.nginx.main_file.clone()][..],
            files => files,
        };
        let Ok(changed_at) = self.nginx.changed_at(files) else { return };
        if changed_at != self.changed_at || self.pending || self.problem.is_some() {
            self.read(names);
        }
    }

    /// Reads the files if they were loaded, or changed, since they were last read. A new
    /// configuration is in force once workers were started with it: what is only on disk is
    /// checked for mistakes, and counts as pending.
    pub(super) fn read(&mut self, names: &mut Names) {
        let reading = match self.nginx.read() {
            Ok(reading) => reading,
            Err(error) => {
                self.problem = Some(format!("{error:#}"));
                return;
            }
        };
        let was_loaded = self.loaded_at.is_none_or(|known| reading.loaded_at > known);
        self.loaded_at = Some(reading.loaded_at);
        match reading.intent {
            Ok(intent) => {
                self.problem = None;
                self.changed_at = reading.changed_at;
                if was_loaded || self.current.intent.files.is_empty() {
                    self.adopt(intent, names);
                }
            }
            Err(error) => {
                let problem = format!("{error}; the last good configuration counts");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(master = self.nginx.master.pid, "{problem}");
                }
                self.problem = Some(problem);
                self.changed_at = self
                    .nginx
                    .changed_at(&self.current.intent.files)
                    .ok()
                    .flatten()
                    .or(self.changed_at);
            }
        }
        self.pending = self.changed_at.is_some_and(|changed| is_newer(changed, reading.loaded_at));
    }

    fn adopt(&mut self, intent: Intent, names: &mut Names) {
        let root = ForeignRoot::of_process(self.nginx.master.pid);
        let now = UnixTime::from(SystemTime::now());
        let certificate = |upstream: &UpstreamIntent| {
            let route = upstream.routes.iter().find(|route| route.scheme == Scheme::Tls)?;
            let read =
                certificate::configured(root.as_ref().ok()?, &route.tls, now, self.read_keys);
            CertificateFinding::of(&read, now).map(Arc::new)
        };
        let certificates = intent.upstreams.iter().map(certificate).collect();
        let mut loaded =
            Configuration { intent, loaded_at: self.loaded_at, certificates, ..Default::default() };
        for host in loaded.hosts() {
            names.ask(host);
        }
        loaded.name(names);
        if loaded.intent == self.current.intent {
            // The workers of one load do not all start at the same moment.
            loaded.loaded_at = self.current.loaded_at;
            self.current = loaded;
            return;
        }
        let replaced = std::mem::replace(&mut self.current, loaded);
        self.tell_problems();
        let now = Instant::now();
        self.adopted_at = now;
        let labels = self.current.labels();
        self.retired.retain(|(label, _)| !labels.contains(label));
        self.retired.extend(replaced.labels().difference(&labels).map(|gone| (gone.clone(), now)));
        self.previous = (!replaced.intent.files.is_empty()).then_some(replaced);
        self.generation.0 += 1;
    }

    fn tell_problems(&self) {
        for (at, finding) in self.current.certificates.iter().enumerate() {
            for problem in finding.iter().flat_map(|finding| &finding.problems) {
                let upstream = self.current.intent.upstreams[at].target.to_string();
                tracing::warn!(proxy = &*self.label, upstream, "client certificate: {problem}");
            }
        }
    }

    /// Indexes the upstreams again by what is known of their names.
    pub(super) fn name(&mut self, names: &Names) {
        for configuration in self.previous.iter_mut().chain([&mut self.current]) {
            configuration.name(names);
        }
    }
}

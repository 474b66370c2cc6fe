//! One nginx: the configuration it runs with, and whether another one waits on disk.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use super::names::Names;
use crate::{
    identity::{
        foreign_root::ForeignRoot,
        nginx::{NginxInstance, is_newer},
    },
    policy::{
        certificate,
        intent::{Intent, Scheme, ServerAddress, UpstreamIntent},
        lookup::{Found, UpstreamIndex},
        time::UnixTime,
    },
    report::CertificateFacts,
};

/// One configuration as it was loaded.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    intent: Intent,
    index: UpstreamIndex,
    /// Per upstream the client certificate its first TLS route names.
    certificates: Vec<Option<CertificateFacts>>,
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

    /// An upstream that [`Configuration::find`] has found.
    pub(super) fn upstream(&self, at: usize) -> &UpstreamIntent {
        &self.intent.upstreams[at]
    }

    /// The client certificate that is configured for it.
    pub(super) fn client_certificate(&self, at: usize) -> Option<&CertificateFacts> {
        self.certificates.get(at)?.as_ref()
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
    /// What workers run with that were there before the current one was loaded.
    previous: Option<Configuration>,
    generation: Generation,
    loaded_at: Option<UnixTime>,
    changed_at: Option<UnixTime>,
    pending: bool,
    problem: Option<String>,
}

impl Instance {
    /// The instance with what its files say now.
    pub(super) fn new(nginx: NginxInstance, label: Arc<str>, names: &Names) -> Self {
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
        };
        instance.read(names);
        instance
    }

    /// Whether its master still runs.
    pub(super) fn is_running(&self) -> bool {
        self.nginx.master.is_running()
    }

    /// The configuration that workers run with that begin now.
    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The configuration of a worker that began with this one.
    pub(super) fn configuration(&self, generation: Generation) -> &Configuration {
        match &self.previous {
            Some(previous) if generation < self.generation => previous,
            _ => &self.current,
        }
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

    /// Looks whether files changed, and if so whether they were loaded.
    pub(super) fn refresh(&mut self, names: &Names) {
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
    /// configuration is in force when workers were started with it: what is on disk only is
    /// checked for mistakes, and counts as pending.
    pub(super) fn read(&mut self, names: &Names) {
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

    fn adopt(&mut self, intent: Intent, names: &Names) {
        for upstream in &intent.upstreams {
            for server in &upstream.servers {
                if let ServerAddress::Host(host, _) = &server.address {
                    names.ask(host);
                }
            }
        }
        let root = ForeignRoot::of_process(self.nginx.master.pid);
        let now = UnixTime::from(SystemTime::now());
        let certificate = |upstream: &UpstreamIntent| {
            let route = upstream.routes.iter().find(|route| route.scheme == Scheme::Tls)?;
            let found = certificate::configured(root.as_ref().ok()?, &route.tls, now, false);
            found.ok().map(|configured| configured.facts)
        };
        let certificates = intent.upstreams.iter().map(certificate).collect();
        let mut loaded = Configuration { intent, certificates, ..Configuration::default() };
        loaded.name(names);
        if loaded.intent == self.current.intent {
            // The workers of one load do not start all at once.
            self.current = loaded;
            return;
        }
        let replaced = std::mem::replace(&mut self.current, loaded);
        self.previous = (!replaced.intent.files.is_empty()).then_some(replaced);
        self.generation.0 += 1;
    }

    /// Indexes the upstreams anew by what is known of their names.
    pub(super) fn name(&mut self, names: &Names) {
        for configuration in self.previous.iter_mut().chain([&mut self.current]) {
            configuration.name(names);
        }
    }
}

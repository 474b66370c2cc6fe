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

/// A running nginx and the last good configuration it loaded.
#[derive(Debug)]
pub(super) struct Instance {
    nginx: NginxInstance,
    /// `proxy` label of its hops.
    pub(super) label: Arc<str>,
    intent: Intent,
    index: UpstreamIndex,
    /// Per upstream the client certificate its first TLS route names.
    certificates: Vec<Option<CertificateFacts>>,
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
            intent: Intent::default(),
            index: UpstreamIndex::default(),
            certificates: Vec::new(),
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

    /// When it loaded the configuration it runs with.
    pub(super) const fn loaded_at(&self) -> Option<UnixTime> {
        self.loaded_at
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

    /// The upstreams a connection may belong to.
    pub(super) fn find(&self, to: SocketAddr, server_name: Option<&str>) -> Vec<usize> {
        match self.index.find(to, server_name) {
            Found::One(at) => vec![at],
            Found::Several(several) => several,
            Found::None => Vec::new(),
        }
    }

    /// An upstream that [`Instance::find`] has found.
    pub(super) fn upstream(&self, at: usize) -> &UpstreamIntent {
        &self.intent.upstreams[at]
    }

    /// The client certificate that is configured for it.
    pub(super) fn client_certificate(&self, at: usize) -> Option<&CertificateFacts> {
        self.certificates.get(at)?.as_ref()
    }

    /// Looks whether files changed, and if so whether they were loaded.
    pub(super) fn refresh(&mut self, names: &Names) {
        let files = match self.intent.files.as_slice() {
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
                if was_loaded || self.intent.files.is_empty() {
                    self.adopt(intent, names);
                }
            }
            Err(error) => {
                let problem = format!("{error}; the last good configuration counts");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(master = self.nginx.master.pid, "{problem}");
                }
                self.problem = Some(problem);
                self.changed_at =
                    self.nginx.changed_at(&self.intent.files).ok().flatten().or(self.changed_at);
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
        self.certificates = intent.upstreams.iter().map(certificate).collect();
        self.intent = intent;
        self.name(names);
    }

    /// Indexes the upstreams by what is known of their names.
    pub(super) fn name(&mut self, names: &Names) {
        self.index = UpstreamIndex::new(&self.intent, &|host| names.addresses(host));
    }
}

//! Where names of pods come from: the Kubernetes API and the container runtime, each asked only
//! once there is a proxy in a container. Neither is required.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    cri::CriClient,
    kubernetes::{KubernetesOptions, Watch},
};
use crate::source_state::NameSourceState;
use hopsight_posture::workload::{
    cgroup::CgroupIdentity,
    leg::{Said, Through},
    pod::PodIdentity,
    services::ServicePort,
};

/// How long a process in a pod is left without a name while a source may still give it one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause between questions to the container runtime about containers it did not know.
const CRI_INTERVAL: Duration = Duration::from_secs(2);

/// Which sources to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// The Kubernetes API.
    pub kubernetes: KubernetesOptions,
    /// The CRI socket of the container runtime; if absent, it is not asked. Whoever may speak to it
    /// is as good as root on the node.
    pub cri_socket: Option<PathBuf>,
}

/// What the sources say about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Its pod.
    Known(Box<PodIdentity>),
    /// One of them has not answered yet.
    Pending,
    /// None knows it, or the process is in no pod.
    Unknown,
}

/// The sources, started when they are needed.
#[derive(Debug)]
pub struct PodSources {
    options: SourceOptions,
    watch: Option<Result<Watch, String>>,
    cri: Option<Cri>,
}

/// What was asked of the container runtime.
#[derive(Debug)]
struct Cri {
    client: Result<CriClient, String>,
    /// Nothing was asked before.
    asked_at: Option<Instant>,
    problem: Option<String>,
}

impl PodSources {
    /// Nothing has been asked yet.
    #[must_use]
    pub const fn new(options: SourceOptions) -> Self {
        Self { options, watch: None, cri: None }
    }

    /// The pod of a process with this cgroup, which was first asked for at `since`.
    pub fn find(&mut self, cgroup: &CgroupIdentity, since: Instant) -> Lookup {
        if cgroup.pod.is_none() && cgroup.container.is_none() {
            return Lookup::Unknown;
        }
        if cgroup.pod.is_some() && self.options.kubernetes.enabled && self.watch.is_none() {
            let started = Watch::start(&self.options.kubernetes);
            self.watch = Some(started.map_err(|error| format!("{error:#}")));
        }
        let watch = self.watch.as_ref().and_then(|watch| watch.as_ref().ok());
        if let Some(found) = watch.and_then(|watch| watch.tables().pod(cgroup)) {
            return Lookup::Known(Box::new(found));
        }
        // The runtime answers at once, the API after its first listing.
        if let Some(found) = self.ask_runtime(cgroup) {
            return Lookup::Known(Box::new(found));
        }
        let starting = self.watch.as_ref().is_some_and(|watch| {
            watch.as_ref().is_ok_and(|watch| watch.state() == NameSourceState::Starting)
        });
        if starting && since.elapsed() < PATIENCE { Lookup::Pending } else { Lookup::Unknown }
    }

    fn ask_runtime(&mut self, cgroup: &CgroupIdentity) -> Option<PodIdentity> {
        let socket = self.options.cri_socket.as_ref()?;
        let cri = self.cri.get_or_insert_with(|| Cri {
            client: CriClient::new(socket, &self.options.kubernetes.labels)
                .map_err(|error| format!("{error:#}")),
            asked_at: None,
            problem: None,
        });
        let Ok(client) = &mut cri.client else { return None };
        if let Some(known) = client.known().find(cgroup) {
            return Some(known);
        }
        if cri.asked_at.is_some_and(|at| at.elapsed() < CRI_INTERVAL) {
            return None;
        }
        cri.asked_at = Some(Instant::now());
        match client.refresh() {
            Ok(()) => cri.problem = None,
            Err(error) => {
                let problem = format!("{error:#}");
                if cri.problem.as_ref() != Some(&problem) {
                    tracing::warn!("container runtime: {problem}");
                }
                cri.problem = Some(problem);
            }
        }
        client.known().find(cgroup)
    }

    /// The Service a connection to `address` goes to, where Services are watched.
    #[must_use]
    pub fn service(&self, address: SocketAddr) -> Option<Arc<ServicePort>> {
        self.watch.as_ref()?.as_ref().ok()?.tables().service(address)
    }

    /// What objects of the Kubernetes API say of the hop from a container to a Service, of which
    /// `address` is an endpoint, `through` that container.
    #[must_use]
    pub fn said(
        &self,
        from: &PodIdentity,
        to: &ServicePort,
        address: SocketAddr,
        through: Through<'_>,
    ) -> Option<Said> {
        self.watch.as_ref()?.as_ref().ok()?.tables().said(from, to, address, through)
    }

    /// The state of the Kubernetes API, if it is to be asked.
    #[must_use]
    pub fn kubernetes(&self) -> Option<NameSourceState> {
        self.options.kubernetes.enabled.then(|| match &self.watch {
            None => NameSourceState::Idle("no proxy in a pod seen yet"),
            Some(Err(error)) => NameSourceState::Degraded(error.clone()),
            Some(Ok(watch)) => watch.state(),
        })
    }

    /// The state of the container runtime, if it is to be asked.
    #[must_use]
    pub fn runtime(&self) -> Option<NameSourceState> {
        self.options.cri_socket.as_ref()?;
        Some(match &self.cri {
            None => NameSourceState::Idle("no proxy in a container seen yet"),
            Some(Cri { client: Err(error), .. }) => NameSourceState::Degraded(error.clone()),
            Some(Cri { problem: Some(problem), .. }) => NameSourceState::Degraded(problem.clone()),
            Some(Cri { client: Ok(client), .. }) => {
                NameSourceState::Ready(format!("{} pods known", client.known().len()))
            }
        })
    }
}

//! Names from the Kubernetes API: the pods of this node and, where that is asked for, the Services,
//! the Gateways and the policies of meshes of the cluster.
//!
//! The tables are pure. [`Watch`] fills them from a thread of its own; a build without the feature
//! `kubernetes` has one that says so.

#[cfg(feature = "kubernetes")]
mod board;
#[cfg(feature = "kubernetes")]
mod convert;
#[cfg(feature = "kubernetes")]
mod follow;
#[cfg(feature = "kubernetes")]
mod gateway;
#[cfg(feature = "kubernetes")]
mod istio;
#[cfg(feature = "kubernetes")]
mod kinds;
#[cfg(feature = "kubernetes")]
mod lenient;
#[cfg(feature = "kubernetes")]
mod linkerd;
#[cfg(feature = "kubernetes")]
mod skipped;
#[cfg(feature = "kubernetes")]
mod small;
#[cfg(feature = "kubernetes")]
mod status;
#[cfg_attr(not(feature = "kubernetes"), path = "watch_absent.rs")]
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

pub use self::watch::Watch;
#[cfg(feature = "kubernetes")]
use hopsight_posture::workload::{gateway::BackendRoute, objects::Objects};
use hopsight_posture::workload::{
    gateway::GatewayTable,
    istio::IstioTable,
    leg::{Leg, Said, Through},
    linkerd::LinkerdTable,
    pod::PodIdentity,
    pods::PodTable,
    services::{ServicePort, ServiceTable},
};

/// What to ask the API server for, and where it is; `[kubernetes]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "keys of the configuration file, each its own")]
pub struct KubernetesOptions {
    /// Whether to ask at all; the first proxy found in a pod starts it.
    pub enabled: bool,
    /// Kubeconfig file; if absent, the service account of the agent's own pod.
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node, whose pods are watched; if absent, the environment variable `NODE_NAME`,
    /// else the host name.
    pub node: Option<String>,
    /// Labels of the pods that are shown.
    pub labels: Vec<String>,
    /// Watch the Services and EndpointSlices of the whole cluster, to name upstreams. For small
    /// clusters: every agent does it.
    pub services: bool,
    /// Watch BackendTLSPolicies, Gateways and routes, as what is intended and said to be in force;
    /// implies `services`.
    pub gateway: bool,
    /// Watch what Istio and Linkerd ask of the connections that their proxies open; implies
    /// `services`, and the pods of other nodes are watched as well.
    pub mesh: bool,
}

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            kubeconfig: None,
            node: None,
            labels: Vec::new(),
            services: false,
            gateway: false,
            mesh: false,
        }
    }
}

/// Everything the watches know.
#[derive(Debug, Default)]
struct Tables {
    pods: PodTable,
    /// The pods of other nodes.
    others: PodTable,
    services: ServiceTable,
    gateways: GatewayTable,
    istio: IstioTable,
    linkerd: LinkerdTable,
}

#[cfg(feature = "kubernetes")]
impl Tables {
    /// The routes of the Gateway API of one kind.
    fn routes(&mut self, kind: &'static str) -> &mut Objects<BackendRoute> {
        self.gateways.routes.entry(kind).or_default()
    }
}

/// Filled by the watches, asked by others.
#[derive(Clone, Debug, Default)]
pub struct SharedTables(Arc<Mutex<Tables>>);

impl SharedTables {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod of a process with this cgroup.
    #[must_use]
    pub fn pod(
        &self,
        cgroup: &hopsight_posture::workload::cgroup::CgroupIdentity,
    ) -> Option<PodIdentity> {
        self.lock().pods.find(cgroup)
    }

    /// The Service that a connection to `address` goes to.
    #[must_use]
    pub fn service(&self, address: SocketAddr) -> Option<Arc<ServicePort>> {
        self.lock().services.find(address)
    }

    /// What objects say of the hop from a container to a Service, of which `address` is an endpoint,
    /// `through` that container.
    #[must_use]
    pub fn said(
        &self,
        from: &PodIdentity,
        to: &ServicePort,
        address: SocketAddr,
        through: Through<'_>,
    ) -> Option<Said> {
        let tables = self.lock();
        let endpoint = address.ip();
        let leg = Leg {
            from,
            pod: tables.pods.record(from),
            to,
            address,
            endpoint: tables.pods.at(endpoint).or_else(|| tables.others.at(endpoint)),
            through,
        };
        let by_gateway = tables.gateways.said(&leg);
        by_gateway.or_else(|| tables.istio.said(&leg)).or_else(|| tables.linkerd.said(&leg))
    }
}

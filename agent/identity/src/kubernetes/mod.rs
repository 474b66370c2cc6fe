//! Names from the Kubernetes API: the pods of this node and, where that is asked for, the Services
//! and the Gateways of the cluster.
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
#[cfg_attr(not(feature = "kubernetes"), path = "watch_absent.rs")]
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

pub use self::watch::Watch;
use hopsight_posture::{
    policy::{intent::UpstreamIntent, status::StatusClaim},
    workload::{
        gateway::GatewayTable,
        pod::PodIdentity,
        pods::PodTable,
        services::{ServicePort, ServiceTable},
    },
};

/// What to ask the API server for, and where it is; `[kubernetes]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
        }
    }
}

/// Everything the watches know.
#[derive(Debug, Default)]
struct Tables {
    pods: PodTable,
    services: ServiceTable,
    gateways: GatewayTable,
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

    /// What the Gateway API intends for the hop from a Gateway's pod to a Service.
    #[must_use]
    pub fn intent(&self, pod: &PodIdentity, to: &ServicePort) -> Option<UpstreamIntent> {
        let gateway = (pod.namespace.clone(), pod.gateway.clone()?);
        self.lock().gateways.intent(&gateway, to)
    }

    /// What objects of the Gateway API say to be in force for that hop.
    #[must_use]
    pub fn claims(&self, pod: &PodIdentity, to: &ServicePort) -> Vec<StatusClaim> {
        let Some(gateway) = pod.gateway.clone() else { return Vec::new() };
        self.lock().gateways.claims(&(pod.namespace.clone(), gateway), to)
    }
}

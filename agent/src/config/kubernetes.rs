//! Where names of pods and services come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::{kubernetes::KubernetesOptions, sources::SourceOptions};

/// The Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Ask it for the pods of this node, once a proxy was found in one.
    pub enabled: bool,
    /// Kubeconfig file; the service account of the agent's own pod without.
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node; the environment's `NODE_NAME`, or else the host name, without.
    pub node: Option<String>,
    /// Labels of pods that are shown.
    pub labels: Vec<String>,
    /// Watch the Services and EndpointSlices of the whole cluster.
    pub services: bool,
    /// Watch BackendTLSPolicies and Gateways as what is intended.
    pub gateway: bool,
}

impl Default for Kubernetes {
    fn default() -> Self {
        let KubernetesOptions { enabled, kubeconfig, node, labels, services, gateway } =
            KubernetesOptions::default();
        Self { enabled, kubeconfig, node, labels, services, gateway }
    }
}

/// The container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cri {
    /// Its CRI socket; not asked without.
    pub socket: Option<PathBuf>,
}

impl Kubernetes {
    /// The same, with the container runtime, in the words of the sources.
    #[must_use]
    pub fn sources(&self, cri: &Cri) -> SourceOptions {
        let Self { enabled, kubeconfig, node, labels, services, gateway } = self.clone();
        SourceOptions {
            kubernetes: KubernetesOptions { enabled, kubeconfig, node, labels, services, gateway },
            cri_socket: cri.socket.clone(),
        }
    }

    /// Each rule on the values here, and what to say where it is broken.
    pub(super) fn rules(&self, cri: &Cri) -> [(bool, &'static str); 3] {
        let absolute = cri.socket.as_ref().is_none_or(|socket| socket.is_absolute());
        [
            (self.labels.len() <= 16, "kubernetes.labels: 16 labels at most"),
            (
                self.node.as_ref().is_none_or(|node| !node.is_empty()),
                "kubernetes.node is not empty; leave it out to use NODE_NAME",
            ),
            (absolute, "cri.socket must be an absolute path"),
        ]
    }
}

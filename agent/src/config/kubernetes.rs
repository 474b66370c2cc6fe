//! Where names of pods and services come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use hopsight_identity::{kubernetes::KubernetesOptions, sources::SourceOptions};

/// The container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cri {
    /// Its CRI socket; if absent, it is not asked.
    pub socket: Option<PathBuf>,
}

/// Both, in the words of the sources.
pub(super) fn sources(kubernetes: &KubernetesOptions, cri: &Cri) -> SourceOptions {
    SourceOptions { kubernetes: kubernetes.clone(), cri_socket: cri.socket.clone() }
}

/// Each rule about the values here, and what to say where it is broken.
pub(super) fn rules(kubernetes: &KubernetesOptions, cri: &Cri) -> [(bool, &'static str); 3] {
    let absolute = cri.socket.as_ref().is_none_or(|socket| socket.is_absolute());
    [
        (kubernetes.labels.len() <= 16, "kubernetes.labels: at most 16 labels"),
        (
            kubernetes.node.as_ref().is_none_or(|node| !node.is_empty()),
            "kubernetes.node must not be empty; leave it out to use NODE_NAME",
        ),
        (absolute, "cri.socket must be an absolute path"),
    ]
}

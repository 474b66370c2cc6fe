//! A pod and the workload it belongs to. Pure.

use std::{collections::BTreeMap, sync::Arc};

use hopsight_core::vocabulary;
use serde::{Deserialize, Serialize};

use super::cgroup::CgroupIdentity;

/// Label that a Deployment's ReplicaSet gives its pods: the hash that ends the ReplicaSet's name.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Label that StatefulSets and DaemonSets give their pods.
const CONTROLLER_REVISION_HASH: &str = "controller-revision-hash";
/// Label that StatefulSets alone give their pods.
const STATEFULSET_POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

vocabulary! {
    /// Who said so.
    PodSource {
        /// The Kubernetes API.
        Api => "api",
        /// The container runtime, over its CRI socket.
        Cri => "cri",
    }
}

/// What runs a pod: the controller an operator wrote, or the pod itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `DaemonSet`, `StatefulSet`, ...; `Pod` for one without a controller.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A pod, and which of its containers is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub pod: Arc<str>,
    /// Name of the container in the pod; absent where the source does not know it (yet).
    pub container: Option<Arc<str>>,
    /// What runs it.
    pub workload: Workload,
    /// The labels of the pod that the configuration asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The Gateway whose data plane the pod is (label `gateway.networking.k8s.io/gateway-name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Arc<str>>,
    /// Who said so.
    pub source: PodSource,
}

impl PodIdentity {
    /// `namespace/workload`, which stays when pods come and go.
    #[must_use]
    pub fn workload_name(&self) -> String {
        format!("{}/{}", self.namespace, self.workload.name)
    }
}

/// Who a proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyIdentity {
    /// Container, pod and unit, by its cgroup.
    #[serde(flatten)]
    pub cgroup: CgroupIdentity,
    /// The pod by name, where a source was asked and knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<PodIdentity>,
}

/// The controlling owner of a pod (`metadata.ownerReferences` with `controller: true`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// The workload of a pod by its owner. A ReplicaSet whose name ends with the pod's template hash
/// stands for the Deployment that made it, so that a rollout does not change the name.
#[must_use]
pub fn workload_of_owner(
    pod: &str,
    labels: &BTreeMap<String, String>,
    owner: Option<Owner<'_>>,
) -> Workload {
    let itself = Workload { kind: "Pod".to_owned(), name: pod.to_owned() };
    let Some(Owner { kind, name }) = owner else { return itself };
    match kind {
        // The mirror of a static pod belongs to its node.
        "Node" => itself,
        "ReplicaSet" => {
            let deployment = labels.get(POD_TEMPLATE_HASH).and_then(|hash| before(name, hash));
            match deployment {
                Some(name) => Workload { kind: "Deployment".to_owned(), name: name.to_owned() },
                None => Workload { kind: kind.to_owned(), name: name.to_owned() },
            }
        }
        _ => Workload { kind: kind.to_owned(), name: name.to_owned() },
    }
}

/// The workload of a pod by its name and labels alone, which is all a container runtime knows.
#[must_use]
pub fn workload_of_labels(pod: &str, labels: &BTreeMap<String, String>) -> Workload {
    let without_last = || pod.rsplit_once('-').map(|(name, _)| name);
    let found = if let Some(hash) = labels.get(POD_TEMPLATE_HASH) {
        let replica_set = without_last();
        replica_set.and_then(|name| before(name, hash)).map(|name| ("Deployment", name))
    } else if labels.contains_key(STATEFULSET_POD_NAME) {
        without_last().map(|name| ("StatefulSet", name))
    } else if labels.contains_key(CONTROLLER_REVISION_HASH) {
        without_last().map(|name| ("DaemonSet", name))
    } else {
        None
    };
    let (kind, name) = found.unwrap_or(("Pod", pod));
    Workload { kind: kind.to_owned(), name: name.to_owned() }
}

/// What stands before `-hash` at the end of a name.
fn before<'a>(name: &'a str, hash: &str) -> Option<&'a str> {
    name.strip_suffix(hash)?.strip_suffix('-').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn workloads() {
        let hash = &[(POD_TEMPLATE_HASH, "7d9c5b6d8")][..];
        let revision = &[(CONTROLLER_REVISION_HASH, "6c5f")][..];
        let stateful = &[(CONTROLLER_REVISION_HASH, "db-6c5f"), (STATEFULSET_POD_NAME, "db-0")][..];
        let deployment_pod = "edge-7d9c5b6d8-x2x4z";
        for (name, pod, pairs, owner, by_owner, by_labels) in [
            (
                "deployment",
                deployment_pod,
                hash,
                Some(("ReplicaSet", "edge-7d9c5b6d8")),
                "Deployment/edge",
                "Deployment/edge",
            ),
            (
                "a replica set of its own",
                "edge-x2x4z",
                &[],
                Some(("ReplicaSet", "edge")),
                "ReplicaSet/edge",
                "Pod/edge-x2x4z",
            ),
            (
                "a label that is not the name's end",
                "edge-x2x4z",
                hash,
                Some(("ReplicaSet", "edge")),
                "ReplicaSet/edge",
                "Pod/edge-x2x4z",
            ),
            (
                "daemon set",
                "edge-b8x7n",
                revision,
                Some(("DaemonSet", "edge")),
                "DaemonSet/edge",
                "DaemonSet/edge",
            ),
            (
                "stateful set",
                "db-0",
                stateful,
                Some(("StatefulSet", "db")),
                "StatefulSet/db",
                "StatefulSet/db",
            ),
            (
                "static pod",
                "edge-node1",
                &[],
                Some(("Node", "node1")),
                "Pod/edge-node1",
                "Pod/edge-node1",
            ),
            ("bare pod", "edge", &[], None, "Pod/edge", "Pod/edge"),
            (
                "custom controller",
                "edge-1",
                &[],
                Some(("CloneSet", "edge")),
                "CloneSet/edge",
                "Pod/edge-1",
            ),
        ] {
            let labels = labels(pairs);
            let owner = owner.map(|(kind, name)| Owner { kind, name });
            let text = |found: Workload| format!("{}/{}", found.kind, found.name);
            assert_eq!(text(workload_of_owner(pod, &labels, owner)), by_owner, "{name}");
            assert_eq!(text(workload_of_labels(pod, &labels)), by_labels, "{name}");
        }
    }
}

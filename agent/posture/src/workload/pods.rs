//! Pods, by what a cgroup path says of them, and by their addresses. Pure.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use crate::workload::{
    cgroup::CgroupIdentity,
    pod::{PodIdentity, PodSource, Workload},
    selector::Labels,
};

/// Pods kept at most; a kubelet runs some hundred, and this is for small clusters.
pub const MAX_PODS: usize = 10_000;

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// Its UID as the API server gives it.
    pub uid: String,
    /// The UID the kubelet uses in cgroup paths, where that is another one: a static pod's hash
    /// (annotation `kubernetes.io/config.hash`).
    pub static_uid: Option<String>,
    /// Who it is, its container left open.
    pub identity: PodIdentity,
    /// Its containers: runtime id and name.
    pub containers: Vec<(String, Arc<str>)>,
    /// All its labels.
    pub labels: Labels,
    /// The addresses that are its own; none of one that shares its node's, or has ended.
    pub addresses: Vec<IpAddr>,
    /// Ports of its containers that have names.
    pub ports: Vec<(Arc<str>, u16)>,
    /// Ports that a mesh's proxy in it leaves to the program.
    pub skipped_ports: Vec<RangeInclusive<u16>>,
}

impl PodRecord {
    /// Whether one of its containers has this name.
    #[must_use]
    pub fn has_container(&self, name: &str) -> bool {
        self.containers.iter().any(|(_, container)| &**container == name)
    }
}

/// Pods by UID, and by what else is theirs alone.
#[derive(Clone, Debug, Default)]
pub struct PodTable {
    pods: HashMap<String, PodRecord>,
    /// UID by static UID, container id, address, or `namespace/name`; none is like another.
    aliases: HashMap<String, String>,
}

impl PodTable {
    /// Adds a pod, or replaces what was known of it. Says whether there was room for it.
    pub fn apply(&mut self, pod: PodRecord) -> bool {
        self.remove(&pod.uid);
        if self.pods.len() >= MAX_PODS {
            return false;
        }
        let ids = pod.containers.iter().map(|(id, _)| id).chain(&pod.static_uid).cloned();
        let addresses = pod.addresses.iter().map(|one| one.to_canonical().to_string());
        let name = full_name(&pod.identity);
        for alias in ids.chain(addresses).chain([name]) {
            self.aliases.insert(alias, pod.uid.clone());
        }
        self.pods.insert(pod.uid.clone(), pod);
        true
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        if self.pods.remove(uid).is_some() {
            self.aliases.retain(|_, of| of != uid);
        }
    }

    /// The pod of a process, and which container it runs in.
    #[must_use]
    pub fn find(&self, cgroup: &CgroupIdentity) -> Option<PodIdentity> {
        let container = cgroup.container.as_ref().map(|container| container.id.as_str());
        let uid = cgroup.pod.as_ref().map(|pod| pod.uid.as_str());
        let known = [uid, container]
            .into_iter()
            .flatten()
            .find_map(|id| self.pods.get(id).or_else(|| self.pods.get(self.aliases.get(id)?)))?;
        let name = container.and_then(|id| {
            known.containers.iter().find(|(known, _)| known == id).map(|(_, name)| name.clone())
        });
        Some(PodIdentity { container: name, ..known.identity.clone() })
    }

    /// The pod that has this address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<&PodRecord> {
        self.pods.get(self.aliases.get(&address.to_canonical().to_string())?)
    }

    /// All that is known of a pod.
    #[must_use]
    pub fn record(&self, pod: &PodIdentity) -> Option<&PodRecord> {
        self.pods.get(self.aliases.get(&full_name(pod))?)
    }

    /// Number of pods.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

fn full_name(pod: &PodIdentity) -> String {
    format!("{}/{}", pod.namespace, pod.pod)
}

/// The id in a `containerID` of the API: `containerd://<id>`.
#[must_use]
pub fn container_id(of_api: &str) -> &str {
    of_api.split_once("://").map_or(of_api, |(_runtime, id)| id)
}

/// A pod's identity without its container.
#[must_use]
pub fn identity(
    namespace: &str,
    pod: &str,
    workload: Workload,
    all_labels: &Labels,
    wanted_labels: &[String],
    source: PodSource,
) -> PodIdentity {
    let wanted = |key: &String| Some((key.clone(), all_labels.get(key)?.clone()));
    PodIdentity {
        namespace: namespace.into(),
        pod: pod.into(),
        container: None,
        workload,
        labels: wanted_labels.iter().filter_map(wanted).collect(),
        gateway: all_labels.get(GATEWAY_NAME).map(|name| name.as_str().into()),
        source,
    }
}

/// Label of the pods that are a Gateway's data plane (GEP-1762).
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f1";
    const ADDRESS: &str = "10.1.0.7";
    const STATIC_UID: &str = "9c1a2b3c4d5e6f708192a3b4c5d6e7f8";

    fn record(name: &str, containers: &[(&str, &str)]) -> PodRecord {
        let labels = [("app".to_owned(), "edge".to_owned()), ("x".to_owned(), "y".to_owned())];
        let workload = Workload { kind: "Pod".into(), name: name.into() };
        let wanted = ["app".to_owned(), "absent".to_owned()];
        PodRecord {
            uid: UID.into(),
            static_uid: Some(STATIC_UID.into()),
            identity: identity(
                "web",
                name,
                workload,
                &labels.clone().into(),
                &wanted,
                PodSource::Api,
            ),
            containers: containers
                .iter()
                .map(|(id, name)| ((*id).into(), (*name).into()))
                .collect(),
            labels: labels.into(),
            addresses: vec![ADDRESS.parse().unwrap()],
            ports: Vec::new(),
            skipped_ports: Vec::new(),
        }
    }

    fn find(table: &PodTable, path: &str) -> Option<String> {
        let found = table.find(&CgroupIdentity::of_path(path))?;
        let container = found.container.as_deref().unwrap_or("-").to_owned();
        Some(format!("{}/{} {container}", found.namespace, found.pod))
    }

    #[test]
    fn pods_are_found_by_each_of_their_ids() {
        let mut table = PodTable::default();
        table.apply(record("edge-1", &[]));
        assert_eq!(find(&table, &format!("/kubepods/pod{UID}/{ID}")).unwrap(), "web/edge-1 -");
        // Its status comes later.
        table.apply(record("edge-1", &[(ID, "nginx")]));
        for (name, path, expected) in [
            ("by UID", format!("/kubepods/pod{UID}/{ID}"), Some("web/edge-1 nginx")),
            ("static pod", format!("/kubepods/pod{STATIC_UID}/{ID}"), Some("web/edge-1 nginx")),
            (
                "by container alone",
                format!("/system.slice/cri-containerd-{ID}.scope"),
                Some("web/edge-1 nginx"),
            ),
            ("another pod", "/kubepods/pod00000000-0000-0000-0000-000000000000".to_owned(), None),
            ("no container", "/system.slice/nginx.service".to_owned(), None),
        ] {
            assert_eq!(find(&table, &path).as_deref(), expected, "{name}");
        }
        let found = table.find(&CgroupIdentity::of_path(&format!("/kubepods/pod{UID}"))).unwrap();
        assert_eq!(found.labels.keys().collect::<Vec<_>>(), ["app"], "only what was asked for");
        for address in [ADDRESS, "::ffff:10.1.0.7"] {
            let there = table.at(address.parse().unwrap()).unwrap();
            assert_eq!(there.labels["x"], "y", "{address}");
        }
        assert_eq!(table.at("10.1.0.8".parse().unwrap()), None);
        assert!(table.record(&found).unwrap().has_container("nginx"));
        table.remove(UID);
        assert!(table.is_empty() && table.aliases.is_empty());
    }

    #[test]
    fn runtimes_are_cut_from_container_ids() {
        assert_eq!(container_id("containerd://abc"), "abc");
        assert_eq!(container_id("abc"), "abc");
    }
}

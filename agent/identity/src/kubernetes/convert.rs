//! From objects of the API to what is kept of them. Only the fields that are used are read, so
//! that the rest of an object (`managedFields`, specs, environments) is dropped while it is parsed.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    api::{ApiResource, NotUsed, Object, ObjectMeta},
    core::GroupVersionKind,
};
use serde::Deserialize;

use super::skipped;
use hopsight_posture::workload::{
    pod::{Owner, PodSource, workload_of_owner},
    pods::{PodRecord, container_id, identity},
    services::{ObjectName, ServiceRecord, SliceRecord},
};

/// A kind of the Kubernetes API.
pub(super) fn kind(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Namespace and name; both empty where an object has none, which none of the kinds here may.
pub(super) fn name_of(meta: &ObjectMeta) -> ObjectName {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    (text(&meta.namespace), text(&meta.name))
}

/// A Pod.
pub(super) type Pod = Object<PodSpec, PodStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    host_network: bool,
    containers: Vec<ContainerSpec>,
    init_containers: Vec<InitContainerSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct InitContainerSpec {
    name: String,
    args: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerSpec {
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: Option<Arc<str>>,
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    addresses: Vec<PodAddress>,
    #[serde(rename = "containerStatuses")]
    containers: Vec<ContainerStatus>,
    #[serde(rename = "initContainerStatuses")]
    init_containers: Vec<ContainerStatus>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral_containers: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodAddress {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// Labels that are kept of one pod; one with more is not known by its address.
const MAX_LABELS: usize = 64;
/// Ports with names that are kept of one pod.
const MAX_PORTS: usize = 64;

/// Annotation of a static pod's mirror: the UID that the kubelet itself gave the pod.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

pub(super) fn pod(pod: Pod, wanted_labels: &[String]) -> Option<PodRecord> {
    let ObjectMeta { uid, labels, annotations, owner_references, .. } = &pod.metadata;
    let (namespace, name) = name_of(&pod.metadata);
    let no_labels = BTreeMap::new();
    let labels = labels.as_ref().unwrap_or(&no_labels);
    let owner = owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let owner = owner.map(|owner| Owner { kind: &owner.kind, name: &owner.name });
    let workload = workload_of_owner(&name, labels, owner);
    let status = pod.status.unwrap_or_default();
    // The address of one that has ended may be another's by now.
    let is_over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
    let has_own = !is_over && !pod.spec.host_network && labels.len() <= MAX_LABELS;
    let addresses = status.addresses.iter().filter_map(|one| one.ip.parse().ok());
    let annotation = |key: &str| annotations.as_ref()?.get(key).map(String::as_str);
    let init = pod.spec.init_containers.iter().map(|one| (&*one.name, &*one.args));
    let skipped_ports = skipped::ports(annotation, init);
    let ports = pod.spec.containers.into_iter().flat_map(|container| container.ports);
    let statuses = status
        .containers
        .into_iter()
        .chain(status.init_containers)
        .chain(status.ephemeral_containers);
    Some(PodRecord {
        uid: uid.clone()?,
        static_uid: annotations.as_ref().and_then(|all| all.get(CONFIG_HASH)).cloned(),
        identity: identity(&namespace, &name, workload, labels, wanted_labels, PodSource::Api),
        containers: statuses
            .filter_map(|status| {
                Some((container_id(&status.container_id?).to_owned(), status.name.into()))
            })
            .collect(),
        labels: labels
            .iter()
            .take(MAX_LABELS)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        addresses: addresses.filter(|_| has_own).collect(),
        ports: ports
            .filter_map(|one| Some((one.name?, one.container_port)))
            .take(MAX_PORTS)
            .collect(),
        skipped_ports,
    })
}

/// A Service.
pub(super) type Service = Object<ServiceSpec, NotUsed>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Vec<ServicePortSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServicePortSpec {
    name: Option<Arc<str>>,
    port: u16,
}

pub(super) fn service(service: Service) -> ServiceRecord {
    let ServiceSpec { cluster_ip, cluster_ips, ports } = service.spec;
    // "None" of a headless Service is no address.
    let mut addresses: Vec<_> =
        cluster_ips.iter().chain(&cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = ports.into_iter().map(|port| (port.port, some_name(port.name))).collect();
    ServiceRecord { addresses, ports }
}

/// Label of an EndpointSlice: its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) fn slice(slice: EndpointSlice) -> Option<SliceRecord> {
    let service = slice.metadata.labels?.remove(SERVICE_NAME)?.into();
    let addresses = slice.endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
    let ports = slice.ports.into_iter().flatten();
    Some(SliceRecord {
        service,
        addresses: addresses.filter_map(|address| address.parse().ok()).collect(),
        ports: ports
            .filter_map(|port| {
                Some((u16::try_from(port.port?).ok()?, some_name(port.name.map(Into::into))))
            })
            .collect(),
    })
}

/// The only port of a Service may have no name, which its slices write as an empty one.
fn some_name(name: Option<Arc<str>>) -> Option<Arc<str>> {
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use hopsight_posture::workload::cgroup::CgroupIdentity;

    fn object<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_as_the_api_server_sends_it() {
        let id = "a".repeat(64);
        let value = json!({
            "metadata": {
                "name": "edge-7d9c5b6d8-x2x4z", "namespace": "web", "uid": "u-1",
                "labels": {"pod-template-hash": "7d9c5b6d8", "app": "edge"},
                "annotations": {"kubernetes.io/config.hash": "h-1"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-7d9c5b6d8", "uid": "r", "controller": true}
                ],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]
            },
            "spec": {"nodeName": "node1", "containers": [{"name": "nginx", "image": "nginx", "ports": [
                {"name": "tls", "containerPort": 8443, "protocol": "TCP"}, {"containerPort": 9000}
            ]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}], "containerStatuses": [
                {"name": "nginx", "containerID": format!("containerd://{id}"), "ready": true},
                {"name": "waiting"}
            ]}
        });
        let ended = |phase: &str| {
            let mut value = value.clone();
            value["status"]["phase"] = json!(phase);
            pod(object(value), &[]).unwrap().addresses.len()
        };
        assert_eq!((ended("Running"), ended("Succeeded")), (2, 0));
        let record = pod(object(value), &["app".to_owned()]).unwrap();
        assert_eq!(record.ports, [("tls".into(), 8443)]);
        assert_eq!(record.labels.len(), 2, "all labels, whatever is shown");
        assert_eq!((record.uid.as_str(), record.static_uid.as_deref()), ("u-1", Some("h-1")));
        assert_eq!(record.identity.workload_name(), "web/edge");
        assert_eq!(record.identity.labels["app"], "edge");
        let mut table = hopsight_posture::workload::pods::PodTable::default();
        table.apply(record);
        let found = table.find(&CgroupIdentity::of_path(&format!("/x/{id}"))).unwrap();
        assert_eq!(found.container.as_deref(), Some("nginx"));
    }

    #[test]
    fn services_and_slices() {
        let value = json!({
            "metadata": {"name": "payments", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"],
                     "ports": [{"name": "https", "port": 443, "targetPort": "tls"}]}
        });
        let found = service(object(value));
        assert_eq!((found.addresses.len(), found.ports.len()), (2, 1));
        let headless =
            json!({"metadata": {}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
        assert_eq!(service(object(headless)).addresses.len(), 0);
        let value = json!({
            "metadata": {"name": "payments-x", "labels": {"kubernetes.io/service-name": "payments"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.7"], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": 8443, "protocol": "TCP"}, {"name": "", "port": 80}]
        });
        let found = slice(object(value)).unwrap();
        assert_eq!(found.ports, [(8443, Some("https".into())), (80, None)]);
        assert_eq!(&*found.service, "payments");
    }
}

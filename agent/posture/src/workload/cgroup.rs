//! Container, pod and unit of a process, from its cgroup path. Pure.
//!
//! Runtimes write the container id, and the kubelet the pod's UID and class, into the names of
//! cgroup directories. Two drivers exist: `cgroupfs` (`/kubepods/burstable/pod<UID>/<id>`) and
//! `systemd` (`/kubepods.slice/.../kubepods-burstable-pod<UID with _>.slice/<runtime>-<id>.scope`).

use serde::{Deserialize, Serialize};

use hopsight_core::vocabulary;

vocabulary! {
    /// Who made the container.
    Runtime {
        /// containerd through its CRI plugin, or nerdctl.
        Containerd => "containerd",
        /// CRI-O.
        CriO => "cri-o",
        /// Docker.
        Docker => "docker",
        /// Podman.
        Podman => "podman",
        /// The path does not say (`cgroupfs` driver).
        Unknown => "unknown",
    }
}

vocabulary! {
    /// Quality-of-service class of a pod, in the kubelet's spelling.
    QosClass {
        /// All resources are guaranteed.
        Guaranteed => "guaranteed",
        /// Some are.
        Burstable => "burstable",
        /// None is.
        BestEffort => "besteffort",
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Container {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Who made it.
    pub runtime: Runtime,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodCgroup {
    /// Its UID with dashes. For a static pod that is the hash the kubelet computed, which the API
    /// server knows as the annotation `kubernetes.io/config.hash`.
    pub uid: String,
    /// Its class.
    pub qos: QosClass,
}

/// The slice of what users run (systemd.special(7)). A user's own manager makes cgroups in it as the
/// user likes, also ones that are called like a container.
const USERS: &str = "user.slice";

/// What a cgroup path says. What it does not say stays `None`: a process of the machine itself
/// has a unit at most, a container outside of Kubernetes no pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CgroupIdentity {
    /// The outermost container: what is below it is of its own making.
    pub container: Option<Container>,
    /// The pod.
    pub pod: Option<PodCgroup>,
    /// The innermost systemd service or scope that is no container, as systemd escapes it; of what
    /// belongs to a user the outermost, for what is below is of the user's making.
    pub unit: Option<String>,
}

impl CgroupIdentity {
    /// Reads the text of `/proc/PID/cgroup`: the unified (v2) line, or where that says nothing
    /// the first v1 hierarchy that does.
    #[must_use]
    pub fn of_process(proc_cgroup: &str) -> Self {
        let path = |line: &'_ str| line.splitn(3, ':').nth(2).map(str::to_owned);
        let (unified, others): (Vec<_>, Vec<_>) =
            proc_cgroup.lines().partition(|line| line.starts_with("0::"));
        let identities = unified.into_iter().chain(others).filter_map(path);
        let mut best = Self::default();
        for identity in identities.map(|path| Self::of_path(&path)) {
            if best.container.is_none() && identity.container.is_some() {
                return identity;
            }
            if best == Self::default() {
                best = identity;
            }
        }
        best
    }

    /// Reads one cgroup path.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let mut identity = Self::default();
        let is_a_users = path.split('/').find(|part| !matches!(*part, "" | "..")) == Some(USERS);
        // `slice:prefix:name` is a path in systemd's notation that was taken literally.
        for segment in path.split(['/', ':']) {
            if is_a_users {
                if is_unit(segment) {
                    identity.unit = Some(segment.to_owned());
                    break;
                }
            } else if let Some(pod) = pod(segment) {
                identity.pod = Some(pod);
            } else if let Some(container) = container(segment) {
                identity.container = Some(container);
                identity.unit = None;
                break;
            } else if is_unit(segment) {
                identity.unit = Some(segment.to_owned());
            }
        }
        // The class of the `cgroupfs` driver is a directory of its own.
        if let Some(pod) = &mut identity.pod {
            for segment in path.split('/') {
                match segment {
                    "burstable" => pod.qos = QosClass::Burstable,
                    "besteffort" => pod.qos = QosClass::BestEffort,
                    _ => {}
                }
            }
        }
        identity
    }
}

/// `pod<UID>`, or `[<parent>-]kubepods[-<class>]-pod<UID with _>.slice`.
fn pod(segment: &str) -> Option<PodCgroup> {
    let (before, uid) = match segment.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?,
        None => ("", segment.strip_prefix("pod")?),
    };
    if !before.is_empty() && !before.contains("kubepods") {
        return None;
    }
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&byte| byte == b'-').count();
    if digits != 32 || digits + dashes != uid.len() || !matches!(dashes, 0 | 4) {
        return None;
    }
    let qos = match before.rsplit('-').next() {
        Some("burstable") => QosClass::Burstable,
        Some("besteffort") => QosClass::BestEffort,
        _ => QosClass::Guaranteed,
    };
    Some(PodCgroup { uid, qos })
}

/// `<id>`, or `<runtime>-<id>.scope`.
fn container(segment: &str) -> Option<Container> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    let runtime = match runtime {
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        "libpod" => Runtime::Podman,
        "" => Runtime::Unknown,
        // `crio-conmon-<id>` and `libpod-conmon-<id>` are the monitors beside a container.
        _ => return None,
    };
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| Container { id: id.to_owned(), runtime })
}

fn is_unit(segment: &str) -> bool {
    segment
        .rsplit_once('.')
        .is_some_and(|(name, kind)| !name.is_empty() && matches!(kind, "service" | "scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "1f2e3d4c-5b6a-4978-8695-a4b3c2d1e0f1";
    const UID_SLICE: &str = "1f2e3d4c_5b6a_4978_8695_a4b3c2d1e0f1";
    const STATIC_UID: &str = "9c1a2b3c4d5e6f708192a3b4c5d6e7f8";

    /// `pod/qos container/runtime unit`, with `-` for what is not there.
    fn words(identity: &CgroupIdentity) -> String {
        let pod = identity.pod.as_ref().map(|pod| format!("{}/{}", pod.uid, pod.qos));
        let container = identity.container.as_ref();
        let container =
            container.map(|container| format!("{}/{}", container.id, container.runtime));
        [pod, container, identity.unit.clone()]
            .map(|part| part.unwrap_or_else(|| "-".to_owned()))
            .join(" ")
            .replace(ID, "ID")
            .replace(OTHER, "OTHER")
            .replace(UID, "UID")
            .replace(STATIC_UID, "STATIC")
    }

    fn path(template: &str) -> String {
        template
            .replace("UID_SLICE", UID_SLICE)
            .replace("STATIC", STATIC_UID)
            .replace("OTHER", OTHER)
            .replace("UID", UID)
            .replace("ID", ID)
    }

    #[test]
    fn paths_of_every_runtime() {
        for (template, expected) in [
            // Kubernetes, cgroupfs driver.
            ("/kubepods/podUID/ID", "UID/guaranteed ID/unknown -"),
            ("/kubepods/burstable/podUID/ID", "UID/burstable ID/unknown -"),
            ("/kubepods/besteffort/podUID/ID", "UID/besteffort ID/unknown -"),
            ("/kubepods/burstable/podSTATIC/ID", "STATIC/burstable ID/unknown -"),
            ("/kubepods/besteffort/podUID", "UID/besteffort - -"),
            // Kubernetes, systemd driver.
            (
                "/kubepods.slice/kubepods-podUID_SLICE.slice/cri-containerd-ID.scope",
                "UID/guaranteed ID/containerd -",
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_SLICE.slice/cri-containerd-ID.scope",
                "UID/burstable ID/containerd -",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_SLICE.slice/crio-ID.scope",
                "UID/besteffort ID/cri-o -",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_SLICE.slice/crio-ID.scope/container",
                "UID/besteffort ID/cri-o -",
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_SLICE.slice/docker-ID.scope",
                "UID/burstable ID/docker -",
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/cri-containerd-ID.scope",
                "STATIC/burstable ID/containerd -",
            ),
            // A monitor is not the container.
            (
                "/kubepods.slice/kubepods-podUID_SLICE.slice/crio-conmon-ID.scope",
                "UID/guaranteed - crio-conmon-ID.scope",
            ),
            // kind: a kubelet with a parent of its own, in a container, as seen from inside; from
            // outside it is one container, which may make what it likes.
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID_SLICE.slice/cri-containerd-ID.scope",
                "UID/burstable ID/containerd -",
            ),
            (
                "/docker/OTHER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID_SLICE.slice/cri-containerd-ID.scope",
                "- OTHER/unknown -",
            ),
            (
                "/kubepods.slice/kubepods-podUID_SLICE.slice/cri-containerd-ID.scope/kubepods-podSTATIC.slice/cri-containerd-OTHER.scope",
                "UID/guaranteed ID/containerd -",
            ),
            ("/kubelet/kubepods/burstable/podUID/ID", "UID/burstable ID/unknown -"),
            // containerd that was given a systemd path with the cgroupfs driver.
            (
                "/system.slice/containerd.service/kubepods-burstable-podUID_SLICE.slice:cri-containerd:ID",
                "UID/burstable ID/unknown -",
            ),
            // As seen from inside of another cgroup namespace.
            ("/../../podUID/ID", "UID/guaranteed ID/unknown -"),
            ("/../cri-containerd-ID.scope", "- ID/containerd -"),
            // Containers without Kubernetes.
            ("/docker/ID", "- ID/unknown -"),
            ("/system.slice/docker-ID.scope", "- ID/docker -"),
            ("/machine.slice/libpod-ID.scope/container", "- ID/podman -"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
                "- - user@1000.service",
            ),
            ("/system.slice/nerdctl-ID.scope", "- ID/containerd -"),
            ("/default/ID", "- ID/unknown -"),
            ("/ecs/9781c248-0edd-4cdb-9a93-f63cb662a5d3/ID", "- ID/unknown -"),
            ("/docker/ID/system.slice/nginx.service", "- ID/unknown -"),
            // No container.
            ("/system.slice/nginx.service", "- - nginx.service"),
            ("/system.slice/system-nginx.slice/nginx@edge.service", "- - nginx@edge.service"),
            ("/system.slice/dev\\x2dproxy.service", "- - dev\\x2dproxy.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "- - session-3.scope"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/caddy.service",
                "- - user@1000.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/kubepods-podUID_SLICE.slice/cri-containerd-ID.scope",
                "- - user@1000.service",
            ),
            ("/", "- - -"),
            ("", "- - -"),
            // Names that only look like one.
            ("/kubepods/podcast/ID", "- ID/unknown -"),
            ("/system.slice/docker.service", "- - docker.service"),
            ("/app-pod0123.slice/nginx.service", "- - nginx.service"),
            ("/kubepods/pod/0123", "- - -"),
            ("/.service", "- - -"),
        ] {
            let identity = CgroupIdentity::of_path(&path(template));
            assert_eq!(words(&identity), expected, "{template}");
        }
    }

    #[test]
    fn both_versions_of_proc_cgroup() {
        for (name, text, expected) in [
            ("v2", "0::/system.slice/nginx.service\n", "- - nginx.service"),
            (
                "v1",
                "12:pids:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n",
                "UID/burstable ID/unknown -",
            ),
            (
                "hybrid, the unified hierarchy is used",
                "4:memory:/user.slice\n1:name=systemd:/system.slice/a.service\n0::/kubepods/podUID/ID\n",
                "UID/guaranteed ID/unknown -",
            ),
            (
                "hybrid, the unified hierarchy is empty",
                "9:name=systemd:/system.slice/docker-ID.scope\n8:pids:/\n0::/\n",
                "- ID/docker -",
            ),
            (
                "a unit in the unified hierarchy does not hide a container",
                "4:memory:/docker/ID\n0::/system.slice/containerd.service\n",
                "- ID/unknown -",
            ),
            ("empty", "", "- - -"),
            ("nonsense", "0\n::\nx:y\n", "- - -"),
        ] {
            let identity = CgroupIdentity::of_process(&path(text));
            assert_eq!(words(&identity), expected, "{name}");
        }
    }
}

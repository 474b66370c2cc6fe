//! The half of the CRI that runs pods, spoken as the kubelet speaks it.
//!
//! Field numbers are those of `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`; what is not needed is
//! left out.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use prost::Message;
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Starting a container takes some hundred milliseconds on an idle machine.
const TIMEOUT: Duration = Duration::from_mins(1);
/// `NamespaceMode.NODE`: the machine's own.
const NODE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(btree_map = "string, string", tag = "6")]
    labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SandboxSecurityContext>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<ContainerSecurityContext>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerSecurityContext {
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
}

/// Any request that has nothing but an id.
#[derive(Clone, PartialEq, Message)]
struct IdRequest {
    #[prost(string, tag = "1")]
    id: String,
}

/// An answer that says nothing.
#[derive(Clone, PartialEq, Message)]
struct Empty {}

/// A pod as the caller describes it.
#[derive(Clone, Debug)]
pub struct Pod<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// UID, with dashes.
    pub uid: &'a str,
    /// Labels.
    pub labels: &'a [(&'a str, &'a str)],
}

/// A client of a container runtime.
#[derive(Debug)]
pub struct Cri {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Cri {
    /// Connects to the socket.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let connected = runtime.block_on(endpoint.timeout(TIMEOUT).connect());
        Ok(Self { channel: connected.context("connect to the CRI socket")?, runtime })
    }

    /// Runs a pod in the machine's network.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn run_pod(&self, pod: &Pod<'_>) -> anyhow::Result<RunningPod<'_>> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.name.into(),
                uid: pod.uid.into(),
                namespace: pod.namespace.into(),
            }),
            log_directory: String::new(),
            labels: pod
                .labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            linux: Some(LinuxPodSandboxConfig {
                // Where the kubelet's `cgroupfs` driver puts it.
                cgroup_parent: format!("/kubepods/burstable/pod{}", pod.uid),
                security_context: Some(SandboxSecurityContext {
                    namespace_options: Some(NamespaceOption { network: NODE }),
                }),
            }),
        };
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let answer: RunPodSandboxResponse = self.ask("RunPodSandbox", request)?;
        Ok(RunningPod { cri: self, sandbox: answer.pod_sandbox_id, config })
    }

    /// Ends and removes a pod with its containers.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn remove_pod(&self, sandbox: &str) -> anyhow::Result<()> {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let _: Empty = self.ask(method, IdRequest { id: sandbox.to_owned() })?;
        }
        Ok(())
    }

    /// Ends and removes every pod.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn remove_all_pods(&self) -> anyhow::Result<()> {
        let ListPodSandboxResponse { items } = self.ask("ListPodSandbox", Empty {})?;
        items.iter().try_for_each(|sandbox| self.remove_pod(&sandbox.id))
    }

    fn ask<Q, A>(&self, method: &str, question: Q) -> anyhow::Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.runtime.block_on(async {
            let mut client = Grpc::new(self.channel.clone());
            client.ready().await.context("wait for the container runtime")?;
            let path = format!("/runtime.v1.RuntimeService/{method}").parse()?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = client.unary(tonic::Request::new(question), path, codec).await;
            answer.map(tonic::Response::into_inner).with_context(|| method.to_owned())
        })
    }
}

/// A pod; dropping it ends and removes it with its containers.
#[derive(Debug)]
pub struct RunningPod<'a> {
    cri: &'a Cri,
    sandbox: String,
    config: PodSandboxConfig,
}

impl RunningPod<'_> {
    /// Starts a container in it: its id. `mounts` are (in the container, on the machine).
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn start_container(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        mounts: &[(&Path, &Path)],
    ) -> anyhow::Result<String> {
        let path = |path: &Path| path.display().to_string();
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into() }),
            image: Some(ImageSpec { image: image.into() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            mounts: mounts
                .iter()
                .map(|(inside, outside)| Mount {
                    container_path: path(inside),
                    host_path: path(outside),
                })
                .collect(),
            log_path: String::new(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurityContext {
                    namespace_options: Some(NamespaceOption { network: NODE }),
                }),
            }),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let CreateContainerResponse { container_id } = self.cri.ask("CreateContainer", request)?;
        let _: Empty = self.cri.ask("StartContainer", IdRequest { id: container_id.clone() })?;
        Ok(container_id)
    }
}

impl Drop for RunningPod<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cri.remove_pod(&self.sandbox) {
            eprintln!("remove pod {}: {error:#}", self.sandbox);
        }
    }
}

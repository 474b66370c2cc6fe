//! The client: two questions, asked when a container is not known.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use hyper::http::uri::PathAndQuery;
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::messages::{
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse,
};
use hopsight_posture::workload::{
    pod::{PodSource, workload_of_labels},
    pods::{PodRecord, PodTable, identity},
};

/// An answer takes some milliseconds; a runtime that takes longer is not waited for.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The largest answer: some kilobytes per pod.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Asks a container runtime for its pods.
#[derive(Debug)]
pub struct CriClient {
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    socket: String,
    labels: Vec<String>,
    known: PodTable,
}

impl CriClient {
    /// A client of the runtime at this socket, which is opened for each question. `labels` of pods
    /// are kept.
    ///
    /// # Errors
    /// When the path cannot be written as an address.
    pub fn new(socket: &Path, labels: &[String]) -> anyhow::Result<Self> {
        let socket = socket.to_str().context("the path of the CRI socket is not UTF-8")?.to_owned();
        let endpoint = Endpoint::from_shared(format!("unix://{socket}"))
            .context("use the path of the CRI socket")?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start an async runtime for the CRI socket")?;
        Ok(Self { runtime, endpoint, socket, labels: labels.to_vec(), known: PodTable::default() })
    }

    /// What was known when it was last asked.
    #[must_use]
    pub const fn known(&self) -> &PodTable {
        &self.known
    }

    /// Asks for everything again. What was known before stays known if that fails.
    ///
    /// # Errors
    /// When the runtime does not answer in time, or not with these messages.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        let (sandboxes, containers) = self
            .runtime
            .block_on(async {
                let channel = self.endpoint.connect().await.context("connect")?;
                let sandboxes: ListPodSandboxResponse =
                    ask(channel.clone(), "ListPodSandbox", ListPodSandboxRequest {}).await?;
                let containers: ListContainersResponse =
                    ask(channel, "ListContainers", ListContainersRequest {}).await?;
                anyhow::Ok((sandboxes, containers))
            })
            .with_context(|| format!("ask the container runtime at {}", self.socket))?;
        self.known = pods(sandboxes, &containers, &self.labels);
        Ok(())
    }
}

async fn ask<Q, A>(channel: Channel, method: &str, question: Q) -> anyhow::Result<A>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    client.ready().await.with_context(|| format!("wait to ask {method}"))?;
    let path: PathAndQuery = format!("/runtime.v1.RuntimeService/{method}").parse()?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = client.unary(tonic::Request::new(question), path, codec).await;
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => anyhow::bail!("{method}: {}: {}", status.code(), status.message()),
    }
}

/// The pods of a runtime. Containers whose sandbox is not there are left out.
fn pods(
    sandboxes: ListPodSandboxResponse,
    containers: &ListContainersResponse,
    labels: &[String],
) -> PodTable {
    let mut table = PodTable::default();
    for sandbox in sandboxes.items {
        let Some(meta) = sandbox.metadata else { continue };
        let inside = containers.containers.iter().filter(|one| one.pod_sandbox_id == sandbox.id);
        let mut ids: Vec<(String, std::sync::Arc<str>)> = inside
            .filter_map(|one| Some((one.id.clone(), one.metadata.as_ref()?.name.as_str().into())))
            .collect();
        // The sandbox's own process is in the pod as well.
        ids.push((sandbox.id, "sandbox".into()));
        let workload = workload_of_labels(&meta.name, &sandbox.labels);
        let who = identity(
            &meta.namespace,
            &meta.name,
            workload,
            &sandbox.labels,
            labels,
            PodSource::Cri,
        );
        table.apply(PodRecord {
            uid: meta.uid,
            static_uid: None,
            identity: who,
            containers: ids,
            labels: sandbox.labels,
            addresses: Vec::new(),
            ports: Vec::new(),
            skipped_ports: Vec::new(),
        });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::messages::{Container, ContainerMetadata, PodSandbox, PodSandboxMetadata};
    use hopsight_posture::workload::cgroup::CgroupIdentity;

    #[test]
    fn containers_belong_to_their_sandbox() {
        let (sandbox, container, stray) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let labels = [("pod-template-hash", "7d9c"), ("app", "edge")];
        let metadata = PodSandboxMetadata {
            name: "edge-7d9c-x2x4z".into(),
            uid: "u".into(),
            namespace: "web".into(),
        };
        let sandboxes = ListPodSandboxResponse {
            items: vec![
                PodSandbox {
                    id: sandbox.clone(),
                    metadata: Some(metadata),
                    labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
                },
                PodSandbox::default(),
            ],
        };
        let of = |id: &str, sandbox: &str| Container {
            id: id.into(),
            pod_sandbox_id: sandbox.into(),
            metadata: Some(ContainerMetadata { name: "nginx".into() }),
        };
        let containers = ListContainersResponse {
            containers: vec![of(&container, &sandbox), of(&stray, "gone")],
        };
        let table = pods(sandboxes, &containers, &["app".to_owned()]);
        let find = |id: &str| table.find(&CgroupIdentity::of_path(&format!("/x/{id}")));
        let found = find(&container).unwrap();
        assert_eq!(found.container.as_deref(), Some("nginx"));
        assert_eq!(found.workload_name(), "web/edge");
        assert_eq!((found.labels["app"].as_str(), found.source), ("edge", PodSource::Cri));
        assert_eq!(find(&stray), None);
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let mut client = CriClient::new(Path::new("/nonexistent/cri.sock"), &[]).unwrap();
        let error = format!("{:#}", client.refresh().unwrap_err());
        assert!(error.contains("/nonexistent/cri.sock"), "{error}");
    }
}

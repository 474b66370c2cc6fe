//! The watches: one connection to the API server per kind of object, with back-off.

use std::{
    collections::HashSet,
    fmt, fs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, future, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, Config, Resource,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{
    KubernetesOptions, SharedTables,
    board::Board,
    convert::{self, kind, name_of},
};
use crate::source_state::NameSourceState;
use hopsight_posture::workload::services::ObjectName;

/// Objects per page of a listing.
const PAGE: u32 = 250;
/// Pause between attempts to find the API server's address and credentials.
const RETRY: Duration = Duration::from_secs(30);

/// The running watches; dropping this ends them.
pub struct Watch {
    tables: SharedTables,
    board: Board,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts the watches on a thread of their own. An API server that cannot be reached is tried
    /// again forever; [`Watch::state`] says why.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(options: &KubernetesOptions) -> anyhow::Result<Self> {
        let (tables, board) = (SharedTables::default(), Board::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start an async runtime for the Kubernetes API")?;
        let thread = thread::Builder::new()
            .name("kubernetes".to_owned())
            .spawn({
                let (tables, board, options) = (tables.clone(), board.clone(), options.clone());
                move || {
                    runtime.block_on(async {
                        let all = run(options, tables, board);
                        pin_mut!(all);
                        // Whichever comes first; only `stopped` ever does.
                        let _ = future::select(all, stopped).await;
                    });
                }
            })
            .context("start the thread for the Kubernetes API")?;
        Ok(Self { tables, board, stop: Some(stop), thread: Some(thread) })
    }

    /// The state of the watches.
    #[must_use]
    pub fn state(&self) -> NameSourceState {
        self.board.state(Instant::now())
    }

    /// What they have found.
    #[must_use]
    pub const fn tables(&self) -> &SharedTables {
        &self.tables
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported by it.
            let _ = thread.join();
        }
    }
}

async fn run(options: KubernetesOptions, tables: SharedTables, board: Board) {
    const CONNECTION: &str = "connection";
    let client = loop {
        match connect(&options).await {
            Ok(client) => break client,
            Err(error) => board.fails(CONNECTION, format!("{error:#}")),
        }
        tokio::time::sleep(RETRY).await;
    };
    board.forget(CONNECTION);
    let pods = watch_pods(&client, &options, &tables, &board);
    let (services, gateway) = (options.services || options.gateway, options.gateway);
    let services = async {
        if services {
            future::join(
                watch_services(&client, &tables, &board),
                watch_slices(&client, &tables, &board),
            )
            .await;
        }
    };
    let gateway = async {
        if gateway {
            future::join(
                watch_policies(&client, &tables, &board),
                watch_gateways(&client, &tables, &board),
            )
            .await;
        }
    };
    Box::pin(future::join3(pods, services, gateway)).await;
}

async fn connect(options: &KubernetesOptions) -> anyhow::Result<Client> {
    let config = match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("read the kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use the kubeconfig {}", path.display()))?
        }
        None => Config::incluster().context(
            "find the service account of this pod (outside of a pod set kubernetes.kubeconfig)",
        )?,
    };
    Client::try_from(config).context("connect to the Kubernetes API")
}

/// The name under which the API server knows this node.
fn node_name(options: &KubernetesOptions) -> String {
    let environment = || std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
    let host = || {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_ascii_lowercase()
    };
    options.node.clone().or_else(environment).unwrap_or_else(host)
}

async fn watch_pods(
    client: &Client,
    options: &KubernetesOptions,
    tables: &SharedTables,
    board: &Board,
) {
    let resource = kind("", "v1", "Pod");
    let pods: Api<convert::Pod> = Api::all_with(client.clone(), &resource);
    let selector = format!("spec.nodeName={}", node_name(options));
    let mut listed = hopsight_posture::workload::pods::PodTable::default();
    follow("pods", pods, &resource, watcher::Config::default().fields(&selector), board, |event| {
        match event {
            Event::Init => listed = hopsight_posture::workload::pods::PodTable::default(),
            Event::InitApply(pod) => {
                if let Some(pod) = convert::pod(pod, &options.labels) {
                    listed.apply(pod);
                }
            }
            Event::InitDone => tables.lock().pods = std::mem::take(&mut listed),
            Event::Apply(pod) => {
                if let Some(pod) = convert::pod(pod, &options.labels) {
                    tables.lock().pods.apply(pod);
                }
            }
            Event::Delete(pod) => {
                if let Some(uid) = &pod.metadata.uid {
                    tables.lock().pods.remove(uid);
                }
            }
        }
    })
    .await;
}

async fn watch_services(client: &Client, tables: &SharedTables, board: &Board) {
    let resource = kind("", "v1", "Service");
    let api: Api<convert::Service> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    follow("services", api, &resource, watcher::Config::default(), board, |event| {
        let services = &mut tables.lock().services;
        match named(event, &mut names, |service: &convert::Service| name_of(&service.metadata)) {
            Named::Set(name, service) => {
                services.set_service(name, Some(convert::service(service)));
            }
            Named::Remove(name) => services.set_service(name, None),
            Named::Listed(names) => services.retain_services(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

async fn watch_slices(client: &Client, tables: &SharedTables, board: &Board) {
    let api: Api<EndpointSlice> = Api::all(client.clone());
    let mut names = HashSet::new();
    follow("endpointslices", api, &(), watcher::Config::default(), board, |event| {
        let services = &mut tables.lock().services;
        match named(event, &mut names, |slice: &EndpointSlice| name_of(&slice.metadata)) {
            Named::Set(name, slice) => services.set_slice(name, convert::slice(slice)),
            Named::Remove(name) => services.set_slice(name, None),
            Named::Listed(names) => services.retain_slices(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

async fn watch_policies(client: &Client, tables: &SharedTables, board: &Board) {
    let resource = kind("gateway.networking.k8s.io", "v1", "BackendTLSPolicy");
    let api: Api<convert::Policy> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    follow("backendtlspolicies", api, &resource, watcher::Config::default(), board, |event| {
        let gateways = &mut tables.lock().gateways;
        match named(event, &mut names, |policy: &convert::Policy| name_of(&policy.metadata)) {
            Named::Set(name, policy) => gateways.set_policy(name, convert::policy(policy)),
            Named::Remove(name) => gateways.set_policy(name, None),
            Named::Listed(names) => gateways.retain_policies(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

async fn watch_gateways(client: &Client, tables: &SharedTables, board: &Board) {
    let resource = kind("gateway.networking.k8s.io", "v1", "Gateway");
    let api: Api<convert::GatewayObject> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    follow("gateways", api, &resource, watcher::Config::default(), board, |event| {
        let gateways = &mut tables.lock().gateways;
        match named(event, &mut names, |one: &convert::GatewayObject| name_of(&one.metadata)) {
            Named::Set(name, one) => gateways.set_gateway(name, Some(convert::gateway(one))),
            Named::Remove(name) => gateways.set_gateway(name, None),
            Named::Listed(names) => gateways.retain_gateways(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

/// A change of an object that is kept by its name.
enum Named<K> {
    Set(ObjectName, K),
    Remove(ObjectName),
    /// The names of a listing that is complete; what is not among them is gone.
    Listed(HashSet<ObjectName>),
    Nothing,
}

fn named<K>(
    event: Event<K>,
    listed: &mut HashSet<ObjectName>,
    name: impl Fn(&K) -> ObjectName,
) -> Named<K> {
    match event {
        Event::Init => {
            listed.clear();
            Named::Nothing
        }
        Event::InitApply(object) => {
            let name = name(&object);
            listed.insert(name.clone());
            Named::Set(name, object)
        }
        Event::InitDone => Named::Listed(std::mem::take(listed)),
        Event::Apply(object) => Named::Set(name(&object), object),
        Event::Delete(object) => Named::Remove(name(&object)),
    }
}

/// Lists and watches one kind of object forever. What was listed stays known while the API server
/// does not answer.
async fn follow<K>(
    what: &'static str,
    api: Api<K>,
    _kind: &K::DynamicType,
    config: watcher::Config,
    board: &Board,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    board.starts(what);
    // Without back-off an error would be asked for again at once, and forever.
    let events = watcher(api, config.page_size(PAGE)).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let shows_it_works =
                    matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_));
                take(event);
                if shows_it_works {
                    board.works(what);
                }
            }
            // What was watched is too old for the server (410 Gone): listing again is routine.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                tracing::debug!(what, "listing again: {status}");
            }
            Err(error) => board.fails(what, words(&error)),
        }
    }
}

/// An error with its causes, on one line.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text.replace(['\n', '\r'], " ")
}

//! The watches: one connection to the API server per kind of object, with back-off.

use std::{
    collections::HashSet,
    fmt, fs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{future, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher::{self, Event},
};
use tokio::sync::oneshot;

use super::{
    KubernetesOptions, SharedTables, Tables,
    board::Board,
    convert::{self, kind, name_of},
    follow::{Named, follow, named},
    kinds::{too_many, watch_gateway_api, watch_meshes},
};
use crate::source_state::NameSourceState;
use hopsight_posture::workload::{
    pods::{MAX_PODS, PodTable},
    services::MAX_OBJECTS,
};

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
    let pods = watch_pods(Pods::OfNode, &client, &options, &tables, &board);
    let KubernetesOptions { services, gateway, mesh, .. } = options;
    let services = async {
        if services || gateway || mesh {
            future::join(
                watch_services(&client, &tables, &board),
                watch_slices(&client, &tables, &board),
            )
            .await;
        }
    };
    let gateway = async {
        if gateway {
            watch_gateway_api(&client, &tables, &board).await;
        }
    };
    let mesh = async {
        if mesh {
            let others = watch_pods(Pods::Elsewhere, &client, &options, &tables, &board);
            future::join(others, watch_meshes(&client, &tables, &board)).await;
        }
    };
    Box::pin(future::join4(pods, services, gateway, mesh)).await;
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

/// Which pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pods {
    /// Those of this node, whose processes are seen.
    OfNode,
    /// All others, which connections go to.
    Elsewhere,
}

async fn watch_pods(
    which: Pods,
    client: &Client,
    options: &KubernetesOptions,
    tables: &SharedTables,
    board: &Board,
) {
    let api: Api<convert::Pod> = Api::all_with(client.clone(), &kind("", "v1", "Pod"));
    let (what, operator, table): (_, _, fn(&mut Tables) -> &mut PodTable) = match which {
        Pods::OfNode => ("pods", "=", |tables| &mut tables.pods),
        Pods::Elsewhere => ("pods of other nodes", "!=", |tables| &mut tables.others),
    };
    let selector = format!("spec.nodeName{operator}{}", node_name(options));
    let mut listed = PodTable::default();
    let mut room = Room::new(what, MAX_PODS, board);
    follow(what, api, watcher::Config::default().fields(&selector), board, |event| match event {
        Event::Init => {
            listed = PodTable::default();
            room.begins();
        }
        Event::InitApply(pod) => {
            if let Some(pod) = convert::pod(pod, &options.labels) {
                room.had(listed.apply(pod));
            }
        }
        Event::InitDone => {
            *table(&mut tables.lock()) = std::mem::take(&mut listed);
            room.ends();
        }
        Event::Apply(pod) => {
            if let Some(pod) = convert::pod(pod, &options.labels) {
                room.had(table(&mut tables.lock()).apply(pod));
            }
        }
        Event::Delete(pod) => {
            if let Some(uid) = &pod.metadata.uid {
                table(&mut tables.lock()).remove(uid);
            }
        }
    })
    .await;
}

/// Whether there is room for all objects of a kind, as far as they came since its last listing began.
struct Room<'a> {
    what: &'static str,
    limit: usize,
    board: &'a Board,
    is_full: bool,
}

impl<'a> Room<'a> {
    const fn new(what: &'static str, limit: usize, board: &'a Board) -> Self {
        Self { what, limit, board, is_full: false }
    }

    /// A listing begins.
    const fn begins(&mut self) {
        self.is_full = false;
    }

    /// There was room for an object, or not.
    fn had(&mut self, room: bool) {
        if !room && !std::mem::replace(&mut self.is_full, true) {
            self.board.leaves_out(self.what, Some(too_many(self.limit)));
        }
    }

    /// A listing is complete.
    fn ends(&self) {
        if !self.is_full {
            self.board.leaves_out(self.what, None);
        }
    }
}

async fn watch_services(client: &Client, tables: &SharedTables, board: &Board) {
    const WHAT: &str = "services";
    let api: Api<convert::Service> = Api::all_with(client.clone(), &kind("", "v1", "Service"));
    let (mut names, mut room) = (HashSet::new(), Room::new(WHAT, MAX_OBJECTS, board));
    follow(WHAT, api, watcher::Config::default(), board, |event| {
        let services = &mut tables.lock().services;
        match named(event, &mut names, |service: &convert::Service| name_of(&service.metadata)) {
            Named::Set(name, service) => {
                room.had(services.set_service(name, Some(convert::service(service))));
            }
            Named::Remove(name) => drop(services.set_service(name, None)),
            Named::Listed(names) => {
                services.retain_services(&names);
                room.ends();
            }
            Named::Nothing => room.begins(),
        }
    })
    .await;
}

async fn watch_slices(client: &Client, tables: &SharedTables, board: &Board) {
    const WHAT: &str = "endpointslices";
    let api: Api<EndpointSlice> = Api::all(client.clone());
    let (mut names, mut room) = (HashSet::new(), Room::new(WHAT, MAX_OBJECTS, board));
    follow(WHAT, api, watcher::Config::default(), board, |event| {
        let services = &mut tables.lock().services;
        match named(event, &mut names, |slice: &EndpointSlice| name_of(&slice.metadata)) {
            Named::Set(name, slice) => room.had(services.set_slice(name, convert::slice(slice))),
            Named::Remove(name) => drop(services.set_slice(name, None)),
            Named::Listed(names) => {
                services.retain_slices(&names);
                room.ends();
            }
            Named::Nothing => room.begins(),
        }
    })
    .await;
}

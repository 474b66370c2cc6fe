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
    KubernetesOptions, SharedTables,
    board::Board,
    convert::{self, kind, name_of},
    follow::{Named, follow, follow_if_served, named},
    gateway,
};
use crate::source_state::NameSourceState;

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
            let routes = ROUTES.iter().map(|route| watch_routes(route, &client, &tables, &board));
            future::join3(
                watch_policies(&client, &tables, &board),
                watch_gateways(&client, &tables, &board),
                future::join_all(routes),
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
    let api: Api<gateway::Policy> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    follow("backendtlspolicies", api, &resource, watcher::Config::default(), board, |event| {
        let gateways = &mut tables.lock().gateways;
        match named(event, &mut names, |policy: &gateway::Policy| name_of(&policy.metadata)) {
            Named::Set(name, policy) => gateways.set_policy(name, gateway::policy(policy)),
            Named::Remove(name) => gateways.set_policy(name, None),
            Named::Listed(names) => gateways.retain_policies(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

async fn watch_gateways(client: &Client, tables: &SharedTables, board: &Board) {
    let resource = kind("gateway.networking.k8s.io", "v1", "Gateway");
    let api: Api<gateway::GatewayObject> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    follow("gateways", api, &resource, watcher::Config::default(), board, |event| {
        let gateways = &mut tables.lock().gateways;
        match named(event, &mut names, |one: &gateway::GatewayObject| name_of(&one.metadata)) {
            Named::Set(name, one) => gateways.set_gateway(name, Some(gateway::gateway(one))),
            Named::Remove(name) => gateways.set_gateway(name, None),
            Named::Listed(names) => gateways.retain_gateways(&names),
            Named::Nothing => {}
        }
    })
    .await;
}

/// A kind of route, in one version of the API.
struct RouteKind {
    kind: &'static str,
    version: &'static str,
    /// What it is called in the state of the watches, and among the routes that are known.
    what: &'static str,
}

/// Not every cluster has all of them: what is not served is no fault.
const ROUTES: [RouteKind; 5] = [
    RouteKind { kind: "HTTPRoute", version: "v1", what: "httproutes" },
    RouteKind { kind: "GRPCRoute", version: "v1", what: "grpcroutes" },
    RouteKind { kind: "TLSRoute", version: "v1", what: "tlsroutes" },
    // Of clusters before version 1.5 of the Gateway API.
    RouteKind { kind: "TLSRoute", version: "v1alpha2", what: "tlsroutes v1alpha2" },
    RouteKind { kind: "TCPRoute", version: "v1alpha2", what: "tcproutes" },
];

async fn watch_routes(route: &RouteKind, client: &Client, tables: &SharedTables, board: &Board) {
    let RouteKind { kind: of, version, what } = *route;
    let resource = kind("gateway.networking.k8s.io", version, of);
    let api: Api<gateway::RouteObject> = Api::all_with(client.clone(), &resource);
    let mut names = HashSet::new();
    // The same route may be known in several versions.
    let key = |name| (of, version, name);
    follow_if_served(what, api, &resource, board, |event| {
        let gateways = &mut tables.lock().gateways;
        match named(event, &mut names, |one: &gateway::RouteObject| name_of(&one.metadata)) {
            Named::Set(name, one) => gateways.set_route(key(name), Some(gateway::route(one))),
            Named::Remove(name) => gateways.set_route(key(name), None),
            Named::Listed(names) => gateways.retain_routes((of, version), &names),
            Named::Nothing => {}
        }
    })
    .await;
}

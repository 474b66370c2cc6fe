//! The kinds of objects that are kept by their names, all in the same way.

use std::{collections::HashSet, fmt};

use futures_util::{
    FutureExt as _,
    future::{self, LocalBoxFuture},
};
use kube::{Api, Client, api::Object, runtime::watcher};
use serde::de::DeserializeOwned;

use super::{
    SharedTables, Tables,
    board::Board,
    convert::{kind, name_of},
    follow::{Named, follow, follow_served, named},
    gateway, istio, linkerd,
};
use hopsight_posture::workload::objects::Objects;

/// Whether every cluster that is asked has this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// That it is not served is a fault.
    Required,
    /// That it is not served is none.
    Optional,
}

/// A kind of object.
struct Kind<K, T> {
    group: &'static str,
    name: &'static str,
    /// The versions that it may be served in, which are the same objects; the first there is counts.
    versions: &'static [&'static str],
    /// What it is called in the state of the watches.
    what: &'static str,
    presence: Presence,
    /// What is kept of one, if anything.
    kept: fn(K) -> Option<T>,
    /// Where that is.
    table: fn(&mut Tables) -> &mut Objects<T>,
}

impl<S, U, T> Kind<Object<S, U>, T>
where
    S: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    U: Clone + Default + DeserializeOwned + fmt::Debug + Send + 'static,
{
    /// Keeps what there is of it, forever.
    fn watch<'a>(
        self,
        client: &'a Client,
        tables: &'a SharedTables,
        board: &'a Board,
    ) -> LocalBoxFuture<'a, ()>
    where
        T: 'a,
    {
        let Self { group, name, versions, what, presence, kept, table } = self;
        let mut names = HashSet::new();
        let take = move |event| {
            let mut tables = tables.lock();
            let objects = table(&mut tables);
            match named(event, &mut names, |one: &Object<S, U>| name_of(&one.metadata)) {
                Named::Set(name, one) => objects.set(name, kept(one)),
                Named::Remove(name) => objects.set(name, None),
                Named::Listed(names) => objects.retain(&names),
                Named::Nothing => {}
            }
        };
        let api = |version| Api::all_with(client.clone(), &kind(group, version, name));
        match presence {
            Presence::Required => {
                follow(what, api(versions[0]), watcher::Config::default(), board, take)
                    .boxed_local()
            }
            Presence::Optional => {
                let versions = versions.iter().map(|version| api(version)).collect();
                follow_served(what, versions, board, take).boxed_local()
            }
        }
    }
}

/// The Gateway API.
pub(super) async fn watch_gateway_api(client: &Client, tables: &SharedTables, board: &Board) {
    const GROUP: &str = "gateway.networking.k8s.io";
    let policies = Kind {
        group: GROUP,
        name: "BackendTLSPolicy",
        versions: &["v1"],
        what: "backendtlspolicies",
        presence: Presence::Required,
        kept: gateway::policy,
        table: |tables| &mut tables.gateways.policies,
    };
    let gateways = Kind {
        group: GROUP,
        name: "Gateway",
        versions: &["v1"],
        what: "gateways",
        presence: Presence::Required,
        kept: |one| Some(gateway::gateway(one)),
        table: |tables| &mut tables.gateways.gateways,
    };
    let route = |name, versions, what, table| Kind {
        group: GROUP,
        name,
        versions,
        what,
        presence: Presence::Optional,
        kept: |one| Some(gateway::route(one)),
        table,
    };
    let routes = [
        route("HTTPRoute", &["v1"], "httproutes", |tables| tables.routes("HTTPRoute")),
        route("GRPCRoute", &["v1"], "grpcroutes", |tables| tables.routes("GRPCRoute")),
        // The older one is of clusters before version 1.5 of the Gateway API.
        route("TLSRoute", &["v1", "v1alpha2"], "tlsroutes", |tables| tables.routes("TLSRoute")),
        route("TCPRoute", &["v1alpha2"], "tcproutes", |tables| tables.routes("TCPRoute")),
    ];
    let routes = routes.into_iter().map(|route| route.watch(client, tables, board));
    let others = [policies.watch(client, tables, board), gateways.watch(client, tables, board)];
    future::join_all(routes.chain(others)).await;
}

/// Istio and Linkerd, of which a cluster has one at most.
pub(super) async fn watch_meshes(client: &Client, tables: &SharedTables, board: &Board) {
    let rules = Kind {
        group: "networking.istio.io",
        name: "DestinationRule",
        versions: &["v1", "v1beta1"],
        what: "destinationrules",
        presence: Presence::Optional,
        kept: istio::rule,
        table: |tables| &mut tables.istio.rules,
    };
    let peers = Kind {
        group: "security.istio.io",
        name: "PeerAuthentication",
        versions: &["v1", "v1beta1"],
        what: "peerauthentications",
        presence: Presence::Optional,
        kept: |one| Some(istio::peer(one)),
        table: |tables| &mut tables.istio.peers,
    };
    let servers = Kind {
        group: linkerd::GROUP,
        name: "Server",
        versions: &["v1beta3", "v1beta2", "v1beta1"],
        what: "servers",
        presence: Presence::Optional,
        kept: |one| Some(linkerd::server(one)),
        table: |tables| &mut tables.linkerd.servers,
    };
    let policies = Kind {
        group: linkerd::GROUP,
        name: "AuthorizationPolicy",
        versions: &["v1alpha1"],
        what: "authorizationpolicies",
        presence: Presence::Optional,
        kept: |one| Some(linkerd::policy(one)),
        table: |tables| &mut tables.linkerd.policies,
    };
    let authentications = Kind {
        group: linkerd::GROUP,
        name: "MeshTLSAuthentication",
        versions: &["v1alpha1"],
        what: "meshtlsauthentications",
        presence: Presence::Optional,
        kept: |_: linkerd::AuthenticationObject| Some(()),
        table: |tables| &mut tables.linkerd.authentications,
    };
    let authorizations = Kind {
        group: linkerd::GROUP,
        name: "ServerAuthorization",
        versions: &["v1beta1", "v1alpha1"],
        what: "serverauthorizations",
        presence: Presence::Optional,
        kept: |one| Some(linkerd::authorization(one)),
        table: |tables| &mut tables.linkerd.authorizations,
    };
    future::join_all([
        rules.watch(client, tables, board),
        peers.watch(client, tables, board),
        servers.watch(client, tables, board),
        policies.watch(client, tables, board),
        authentications.watch(client, tables, board),
        authorizations.watch(client, tables, board),
    ])
    .await;
}

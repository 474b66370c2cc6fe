//! The kinds of objects that are kept by their names, all in the same way.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use futures_util::{
    FutureExt as _,
    future::{self, LocalBoxFuture},
};
use kube::{
    Api, Client,
    api::Object,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;

use super::{
    SharedTables, Tables,
    board::Board,
    convert::{kind, name_of},
    follow::{Named, follow, follow_served, named},
    gateway, istio,
    lenient::Lenient,
    linkerd,
};
use hopsight_posture::workload::{
    objects::Objects,
    services::{MAX_OBJECTS, ObjectName},
};

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
    S: Clone + Default + DeserializeOwned + fmt::Debug + Send + 'static,
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
        let mut taken = Taken::default();
        let take = move |event| {
            let told = {
                let mut tables = tables.lock();
                taken.take(event, kept, table(&mut tables))
            };
            board.leaves_out(what, told);
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

/// An object of which each part may have another shape than is known.
type Written<S, U> = Object<Lenient<S>, Lenient<U>>;

/// What was taken of one kind.
#[derive(Default)]
struct Taken {
    /// Those of a listing under way.
    names: HashSet<ObjectName>,
    /// Those of which something cannot be read, and what.
    unread: BTreeMap<ObjectName, String>,
    /// There was no room for one, since the last listing began.
    is_full: bool,
}

impl Taken {
    /// Takes a change over, and says what is not known for it.
    fn take<S: Clone, U: Clone, T>(
        &mut self,
        event: Event<Written<S, U>>,
        kept: fn(Object<S, U>) -> Option<T>,
        objects: &mut Objects<T>,
    ) -> Option<String> {
        self.is_full &= !matches!(event, Event::Init);
        match named(event, &mut self.names, |one: &Written<S, U>| name_of(&one.metadata)) {
            Named::Set(name, one) => {
                let Object { types, metadata, spec, status } = one;
                self.unread.remove(&name);
                let status = status.map(|Lenient(status)| status).transpose();
                let status = status.unwrap_or_else(|error| {
                    self.leave_out(&name, "status", &error);
                    None
                });
                let one = match spec.0 {
                    Ok(spec) => kept(Object { types, metadata, spec, status }),
                    Err(error) => {
                        self.leave_out(&name, "spec", &error);
                        None
                    }
                };
                self.is_full |= !objects.set(name, one);
            }
            Named::Remove(name) => {
                self.unread.remove(&name);
                objects.set(name, None);
            }
            Named::Listed(names) => {
                self.unread.retain(|name, _| names.contains(name));
                objects.retain(&names);
            }
            Named::Nothing => {}
        }
        self.told()
    }

    fn leave_out(&mut self, name: &ObjectName, part: &str, error: &str) {
        if self.unread.len() < MAX_OBJECTS {
            self.unread.insert(name.clone(), format!("{part}: {error}"));
        }
    }

    fn told(&self) -> Option<String> {
        let unread = self.unread.first_key_value().map(|((namespace, name), error)| {
            let count = self.unread.len();
            format!("{count} cannot be read, such as {namespace}/{name}: {error}")
        });
        let full = self.is_full.then(|| too_many(MAX_OBJECTS));
        unread.into_iter().chain(full).reduce(|one, other| format!("{one}; {other}"))
    }
}

/// What is told of a kind with more objects than are kept.
pub(super) fn too_many(limit: usize) -> String {
    format!("there are more than {limit}, and the others are not known")
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::status::Status, *};

    fn rule(name: &str, spec: &Value, status: &Value) -> Written<istio::RuleSpec, Status> {
        let metadata = json!({"name": name, "namespace": "shop", "generation": 1});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    }

    #[test]
    fn one_of_another_shape_leaves_the_others_as_they_are() {
        let (mut taken, mut rules) = (Taken::default(), Objects::default());
        let good = json!({"conditions": [{"type": "Reconciled", "status": "True"}]});
        let mut take = |event| taken.take(event, istio::rule, &mut rules);
        let spec = json!({"host": "a"});
        assert_eq!(take(Event::Init), None);
        assert_eq!(take(Event::InitApply(rule("a", &spec, &good))), None);
        let bare: Written<istio::RuleSpec, Status> =
            serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "shop"}}))
                .unwrap();
        assert_eq!(take(Event::InitApply(bare)), None, "one that says nothing");
        let told = take(Event::InitApply(rule("b", &spec, &json!({"conditions": 7})))).unwrap();
        assert!(told.starts_with("1 cannot be read, such as shop/b: status: "), "{told}");
        let told = take(Event::InitApply(rule("c", &json!({"host": {}}), &good))).unwrap();
        assert!(told.starts_with("2 cannot be read, such as shop/b: "), "{told}");
        assert!(take(Event::InitDone).is_some());
        assert_eq!(
            take(Event::Apply(rule("b", &spec, &good))).map(|told| told.len() > 50),
            Some(true)
        );
        assert_eq!(take(Event::Delete(rule("c", &spec, &good))), None);
        let are_good = |name: &str| {
            let of = ("shop".into(), name.into());
            rules.get(&of).map(|rule| rule.conditions.are_good())
        };
        assert_eq!((are_good("a"), are_good("b"), are_good("c")), (Some(true), Some(true), None));
    }

    #[test]
    fn a_kind_that_is_gone_has_no_objects_and_what_is_too_much_is_told() {
        let (mut taken, mut all) = (Taken::default(), Objects::default());
        let kept = |_: linkerd::AuthenticationObject| Some(());
        let one = |number: usize| -> Written<linkerd::AuthenticationSpec, kube::api::NotUsed> {
            let metadata = json!({"name": number.to_string(), "namespace": "shop"});
            serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()
        };
        for number in 0..=MAX_OBJECTS {
            let told = taken.take(Event::Apply(one(number)), kept, &mut all);
            assert_eq!(told.is_some(), number == MAX_OBJECTS, "{number}");
        }
        assert_eq!(taken.take(Event::Init, kept, &mut all), None);
        taken.take(Event::InitDone, kept, &mut all);
        assert_eq!(all.iter().count(), 0);
    }
}

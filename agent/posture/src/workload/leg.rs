//! A hop from a proxy in a pod to a Service, and what objects of the Kubernetes API say of it. Pure.

use std::net::SocketAddr;

use super::{pod::PodIdentity, pods::PodRecord, services::ObjectName, services::ServicePort};
use crate::policy::{
    intent::{
        Place, Route, Scheme, Servers, Setting, Stated, Target, Text, TlsIntent, UpstreamIntent,
    },
    status::{Promise, StatusClaim},
};

/// The two ends of a connection, as objects may be for it.
#[derive(Clone, Copy, Debug)]
pub struct Leg<'a> {
    /// The container that opens it, and its pod.
    pub from: &'a PodIdentity,
    /// All that is known of that pod.
    pub pod: Option<&'a PodRecord>,
    /// Where it goes.
    pub to: &'a ServicePort,
    /// The address of the endpoint.
    pub address: SocketAddr,
    /// The pod there, if there is one that is known.
    pub endpoint: Option<&'a PodRecord>,
    /// The way that it took inside of the proxy.
    pub through: Through<'a>,
}

/// What is known of the way that a connection took inside of its proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Through<'a> {
    /// The clusters that may have opened it, by their names in the proxy's own configuration; `None` where
    /// nobody knows what clusters it has.
    pub clusters: Option<&'a [&'a str]>,
    /// The server name that was sent.
    pub server_name: Option<&'a str>,
}

impl Leg<'_> {
    /// Whether it stays within its pod: what a sidecar hands on to the program that it stands before, in
    /// the clear and at the pod's own address.
    pub(super) fn is_within_pod(&self) -> bool {
        self.endpoint.is_some_and(|PodRecord { identity, .. }| {
            (&identity.namespace, &identity.pod) == (&self.from.namespace, &self.from.pod)
        })
    }
}

/// What objects say of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What they intend.
    pub intent: UpstreamIntent,
    /// What they say to be in force.
    pub claims: Vec<StatusClaim>,
}

/// The object as a place to look at; line 0 stands for all of it.
pub(super) fn place(kind: &str, (namespace, name): &ObjectName) -> Place {
    Place { file: format!("{kind} {namespace}/{name}").into(), line: 0 }
}

/// The route that an object makes.
pub(super) fn route(kind: &str, at: Place, scheme: Scheme, tls: TlsIntent) -> Route {
    Route::new(kind, at, scheme, tls)
}

/// The client certificate that a mesh gives the proxy, which is checked as well as the upstream's.
pub(super) fn mutual(certificate: &str, trusted: &str, at: &Place) -> TlsIntent {
    TlsIntent {
        certificate: Some(Setting { value: Text::from(certificate), at: at.clone() }),
        verify: Some(Setting { value: true, at: at.clone() }),
        trusted_certificate: Some(Setting { value: trusted.to_owned(), at: at.clone() }),
        ..TlsIntent::default()
    }
}

/// What is intended for a Service, by these ways to it; which of the `others` is gone is decided at run
/// time.
pub(super) fn intent(to: &ServicePort, route: Route, others: Vec<Route>) -> UpstreamIntent {
    UpstreamIntent {
        target: Target::Group(to.label()),
        servers: Vec::new(),
        listing: Servers::Dynamic,
        routes: vec![route],
        by_variable: others.into(),
    }
}

/// What is promised by an object that is in force, if all that is intended comes from it.
pub(super) fn claims(at: &Place, condition: &str, intent: &UpstreamIntent) -> Vec<StatusClaim> {
    let promises = [
        (Promise::Tls, intent.scheme() == Scheme::Tls),
        (Promise::ClientCertificate, intent.client_certificate() == Stated::Yes),
        (Promise::Verification, intent.verify() == Stated::Yes),
    ];
    let claim =
        |promise| StatusClaim { object: at.clone(), condition: condition.to_owned(), promise };
    promises.into_iter().filter(|(_, is)| *is).map(|(promise, _)| claim(promise)).collect()
}

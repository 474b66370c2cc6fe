//! What is read of Traefik's configuration: of the static one where the dynamic one is, of the dynamic
//! one how services are spoken to. Everything else is passed over unread.

#![expect(clippy::zero_sized_map_values, reason = "serde gathers what is left in maps")]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::written::{Certificates, RouterTls, flag, number, words};
use crate::policy::lenient::{Lenient, Passed, leniently};

leniently! {
    Static: Lenient::any_case,
    Dynamic: Lenient::any_case,
    Providers: Lenient::with_fields(&["file"]),
    TcpTransport: Lenient::with_fields(&["tls"]),
    Transport: Lenient::with_fields(&[
        "serverName",
        "insecureSkipVerify",
        "rootCAs",
        "certificates",
        "peerCertURI",
        "minVersion",
        "maxVersion",
        "cipherSuites",
        "spiffe",
    ]),
}

/// The configuration that Traefik is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct Static {
    /// Where the dynamic configuration comes from.
    pub providers: Providers,
    /// How services are spoken to that name no transport.
    pub(super) servers_transport: Option<Transport>,
    /// The same over TCP.
    pub(super) tcp_servers_transport: Option<TcpTransport>,
    /// Its API.
    pub api: Option<Api>,
    /// Addresses that it listens at.
    pub entry_points: BTreeMap<String, EntryPoint>,
}

/// Providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Providers {
    /// Files.
    pub file: Option<FileProvider>,
    /// Others, which are not asked.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Passed>,
}

/// The file provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FileProvider {
    /// One file.
    pub filename: String,
    /// All files of a directory and those below it.
    pub directory: String,
    /// Whether what changes is loaded; it is unless said.
    pub watch: Option<bool>,
}

/// The API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Api {
    /// It listens at the entry point `traefik`, without a router.
    pub insecure: bool,
}

/// An entry point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EntryPoint {
    /// Where it listens.
    pub address: String,
}

/// A dynamic configuration, or a part of it in a file of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Dynamic {
    pub(super) http: Http,
    pub(super) tcp: Tcp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Http {
    pub(super) services: BTreeMap<String, Service<HttpServer>>,
    pub(super) middlewares: BTreeMap<String, Middleware>,
    pub(super) servers_transports: BTreeMap<String, Transport>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tcp {
    pub(super) routers: BTreeMap<String, TcpRouter>,
    pub(super) services: BTreeMap<String, Service<TcpServer>>,
    pub(super) servers_transports: BTreeMap<String, TcpTransport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service<S> {
    pub(super) load_balancer: Option<LoadBalancer<S>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoadBalancer<S> {
    #[serde(default = "Vec::new")]
    pub(super) servers: Vec<S>,
    #[serde(default)]
    pub(super) servers_transport: String,
    #[serde(default)]
    pub(super) health_check: Option<HealthCheck>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct HttpServer {
    pub(super) url: String,
    #[serde(deserialize_with = "number")]
    pub(super) weight: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct TcpServer {
    pub(super) address: String,
    #[serde(deserialize_with = "flag")]
    pub(super) tls: bool,
}

/// Health checks, where they speak otherwise than traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct HealthCheck {
    pub(super) scheme: String,
    pub(super) mode: String,
    /// What TCP servers are sent.
    pub(super) send: String,
    #[serde(deserialize_with = "number")]
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct TcpRouter {
    pub(super) service: String,
    pub(super) tls: Option<RouterTls>,
}

/// `serversTransport`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub(super) struct Transport {
    pub(super) server_name: String,
    #[serde(deserialize_with = "flag")]
    pub(super) insecure_skip_verify: bool,
    #[serde(rename = "rootCAs", deserialize_with = "words")]
    pub(super) root_cas: Vec<String>,
    pub(super) certificates: Certificates,
    #[serde(rename = "peerCertURI")]
    pub(super) peer_cert_uri: String,
    pub(super) min_version: String,
    pub(super) max_version: String,
    #[serde(deserialize_with = "words")]
    pub(super) cipher_suites: Vec<String>,
    pub(super) spiffe: Option<Passed>,
    /// Whatever else is said: what is not known may change everything.
    #[serde(flatten)]
    pub(super) more: BTreeMap<String, Passed>,
}

/// Of `tcp.serversTransports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct TcpTransport {
    pub(super) tls: Option<Transport>,
    /// As of [`Transport`].
    #[serde(flatten)]
    pub(super) more: BTreeMap<String, Passed>,
}

/// A middleware that connects to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Middleware {
    pub(super) forward_auth: Option<ForwardAuth>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ForwardAuth {
    pub(super) address: String,
    pub(super) tls: Option<ClientTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClientTls {
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: String,
    #[serde(deserialize_with = "flag")]
    pub(super) insecure_skip_verify: bool,
}

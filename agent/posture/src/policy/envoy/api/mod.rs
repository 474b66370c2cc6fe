//! What is read of Envoy's messages (envoy.admin.v3, envoy.config.bootstrap.v3, envoy.config.cluster.v3,
//! envoy.extensions.transport_sockets.tls.v3), in the JSON of protobuf: the fields that say how an
//! upstream is spoken to, under both of their spellings. Everything else is passed over unread, so that
//! neither keys nor other secrets are kept.

mod listener;
mod socket;
mod value;

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::policy::lenient::{Lenient, Passed, leniently};

pub(super) use self::{
    listener::{Listener, Mentions},
    socket::{
        CommonTls, NameMatcher, Named, SecretName, SocketMatch, Source, TransportSocket,
        TypedSocket, ValidationContext,
    },
    value::{Enumerated, Scalar},
};

/// An answer to `/config_dump?include_eds`.
#[derive(Debug, Default, Deserialize)]
pub struct ConfigDump {
    #[serde(default)]
    pub(super) configs: Vec<Dumped>,
}

/// One kind of configuration in it; which one shows in what it has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dumped {
    #[serde(rename = "@type")]
    pub(super) type_url: String,
    pub(super) static_clusters: Vec<DumpedCluster>,
    pub(super) dynamic_active_clusters: Vec<DumpedCluster>,
    pub(super) dynamic_warming_clusters: Vec<DumpedCluster>,
    pub(super) static_endpoint_configs: Vec<DumpedEndpoints>,
    pub(super) dynamic_endpoint_configs: Vec<DumpedEndpoints>,
    pub(super) static_listeners: Vec<DumpedListener>,
    pub(super) dynamic_listeners: Vec<DumpedListener>,
    pub(super) static_route_configs: Mentions,
    pub(super) dynamic_route_configs: Mentions,
    pub(super) static_secrets: Vec<DumpedSecret>,
    pub(super) dynamic_active_secrets: Vec<DumpedSecret>,
    pub(super) dynamic_warming_secrets: Vec<DumpedSecret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DumpedCluster {
    pub(super) cluster: Cluster,
    /// RFC 3339.
    pub(super) last_updated: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DumpedEndpoints {
    pub(super) endpoint_config: LoadAssignment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DumpedListener {
    pub(super) listener: Listener,
    pub(super) active_state: Option<ListenerState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListenerState {
    pub(super) listener: Listener,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DumpedSecret {
    pub(super) name: String,
    pub(super) secret: Secret,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Secret {
    pub(super) name: String,
    #[serde(alias = "validationContext")]
    pub(super) validation_context: Option<ValidationContext>,
}

/// A bootstrap file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Bootstrap {
    /// Where the admin interface is, if there is one.
    pub admin: Option<Admin>,
    #[serde(alias = "staticResources")]
    pub(super) static_resources: StaticResources,
    #[serde(alias = "dynamicResources")]
    pub(super) dynamic_resources: Option<DynamicResources>,
}

leniently! { Bootstrap: Lenient::as_written, }

/// The admin interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Where it listens.
    pub address: Option<Address>,
}

impl Bootstrap {
    /// Takes over what another one says beside it (`--config-yaml`).
    pub fn merge(&mut self, over: Self) {
        self.admin = over.admin.or(self.admin.take());
        self.static_resources.clusters.extend(over.static_resources.clusters);
        self.static_resources.listeners.extend(over.static_resources.listeners);
        self.static_resources.secrets.extend(over.static_resources.secrets);
        self.dynamic_resources = over.dynamic_resources.or(self.dynamic_resources.take());
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StaticResources {
    pub(super) clusters: Vec<Cluster>,
    pub(super) listeners: Vec<Listener>,
    pub(super) secrets: Vec<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DynamicResources {
    #[serde(alias = "cdsConfig")]
    pub(super) cds_config: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cluster {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) discovery: Option<Enumerated>,
    /// Discovery by an extension.
    #[serde(rename = "cluster_type", alias = "clusterType")]
    pub(super) custom: Option<Extension>,
    #[serde(alias = "loadAssignment")]
    pub(super) load_assignment: Option<LoadAssignment>,
    #[serde(alias = "edsClusterConfig")]
    pub(super) eds_cluster_config: Option<EdsConfig>,
    #[serde(alias = "transportSocket")]
    pub(super) transport_socket: Option<TransportSocket>,
    #[serde(alias = "transportSocketMatches")]
    pub(super) transport_socket_matches: Vec<SocketMatch>,
    /// What chooses among these in another way.
    #[serde(alias = "transportSocketMatcher")]
    pub(super) transport_socket_matcher: Option<IgnoredAny>,
    #[serde(alias = "healthChecks")]
    pub(super) health_checks: Vec<HealthCheck>,
    #[serde(alias = "typedExtensionProtocolOptions")]
    pub(super) typed_extension_protocol_options: BTreeMap<String, ProtocolOptions>,
}

/// What stands for a cluster that is not Envoy's own, and for one that consists of others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extension {
    pub(super) name: String,
    #[serde(alias = "typedConfig")]
    pub(super) typed_config: Option<TypedCluster>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TypedCluster {
    #[serde(rename = "@type")]
    pub(super) type_url: String,
    /// A list of names, of the one kind that is looked at.
    pub(super) clusters: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HealthCheck {
    /// What it says of itself in place of what an endpoint says.
    #[serde(rename = "transport_socket_match_criteria", alias = "transportSocketMatchCriteria")]
    pub(super) criteria: Option<Criteria>,
    #[serde(alias = "tcpHealthCheck")]
    pub(super) tcp_health_check: Option<TcpHealthCheck>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TcpHealthCheck {
    pub(super) send: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EdsConfig {
    #[serde(alias = "serviceName")]
    pub(super) service_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProtocolOptions {
    #[serde(alias = "upstreamHttpProtocolOptions")]
    pub(super) upstream_http_protocol_options: Option<UpstreamHttp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UpstreamHttp {
    #[serde(alias = "autoSni")]
    pub(super) auto_sni: bool,
    #[serde(alias = "autoSanValidation")]
    pub(super) auto_san_validation: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadAssignment {
    #[serde(alias = "clusterName")]
    pub(super) cluster_name: String,
    pub(super) endpoints: Vec<Locality>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Locality {
    #[serde(alias = "lbEndpoints")]
    pub(super) lb_endpoints: Vec<LbEndpoint>,
    #[serde(deserialize_with = "value::whole")]
    pub(super) priority: u32,
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LbEndpoint {
    pub(super) endpoint: Endpoint,
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    /// Further ones, of which the one is taken that answers.
    #[serde(alias = "additionalAddresses")]
    pub(super) additional_addresses: Vec<AdditionalAddress>,
    #[serde(alias = "healthCheckConfig")]
    pub(super) health_check_config: CheckedAt,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AdditionalAddress {
    pub(super) address: Address,
}

/// Where an endpoint is checked, if not where it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CheckedAt {
    /// Port; 0 for the one of the address.
    #[serde(alias = "portValue", deserialize_with = "value::whole")]
    pub(super) port_value: u16,
    pub(super) address: Option<Address>,
    #[serde(alias = "disableActiveHealthCheck")]
    pub(super) disable_active_health_check: bool,
}

/// Where something is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// IP address or host name, and port.
    #[serde(alias = "socketAddress")]
    pub socket_address: Option<SocketAddress>,
    /// A socket in the file system.
    pub pipe: Option<Pipe>,
    /// A listener of the same Envoy.
    #[serde(rename = "envoy_internal_address", alias = "envoyInternalAddress")]
    pub(super) internal: Option<Passed>,
}

/// IP address or host name, and port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SocketAddress {
    /// IP address or host name.
    pub address: String,
    /// Port; 0 if it has none, or by name.
    #[serde(alias = "portValue", deserialize_with = "value::whole")]
    pub port_value: u16,
}

/// A socket in the file system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pipe {
    /// Its path; `@` begins an abstract one.
    pub path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    #[serde(alias = "filterMetadata")]
    pub(super) filter_metadata: Filters,
}

/// What endpoints say of themselves for the choice of a transport socket; the rest is passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    #[serde(rename = "envoy.transport_socket_match")]
    pub(super) transport_socket_match: Criteria,
}

/// Values by which transport sockets are chosen.
pub(super) type Criteria = BTreeMap<String, Scalar>;

//! What is read of Envoy's messages (envoy.admin.v3, envoy.config.bootstrap.v3, envoy.config.cluster.v3,
//! envoy.extensions.transport_sockets.tls.v3), in the JSON of protobuf: the fields that say how an
//! upstream is spoken to, under both of their spellings. Everything else is passed over unread, so that
//! neither keys nor other secrets are kept.

mod listener;
mod socket;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de::IgnoredAny};

pub(super) use self::{
    listener::{FilterChain, Listener},
    socket::{
        CommonTls, NameMatcher, Named, SecretName, SocketMatch, Source, TransportSocket,
        TypedSocket, ValidationContext,
    },
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
    #[serde(alias = "validationContext")]
    pub(super) validation_context: Option<ValidationContext>,
}

/// A bootstrap file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Bootstrap {
    /// Where the admin interface is, if there is one.
    pub admin: Option<Admin>,
    #[serde(alias = "staticResources")]
    pub(super) static_resources: StaticResources,
    #[serde(alias = "dynamicResources")]
    pub(super) dynamic_resources: Option<DynamicResources>,
}

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
        self.dynamic_resources = over.dynamic_resources.or(self.dynamic_resources.take());
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StaticResources {
    pub(super) clusters: Vec<Cluster>,
    pub(super) listeners: Vec<Listener>,
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
    pub(super) custom: Option<IgnoredAny>,
    #[serde(alias = "loadAssignment")]
    pub(super) load_assignment: Option<LoadAssignment>,
    #[serde(alias = "edsClusterConfig")]
    pub(super) eds_cluster_config: Option<EdsConfig>,
    #[serde(alias = "transportSocket")]
    pub(super) transport_socket: Option<TransportSocket>,
    #[serde(alias = "transportSocketMatches")]
    pub(super) transport_socket_matches: Vec<SocketMatch>,
    #[serde(alias = "typedExtensionProtocolOptions")]
    pub(super) typed_extension_protocol_options: BTreeMap<String, ProtocolOptions>,
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
}

/// IP address or host name, and port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SocketAddress {
    /// IP address or host name.
    pub address: String,
    /// Port; 0 if it has none, or by name.
    #[serde(alias = "portValue")]
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
    pub(super) transport_socket_match: BTreeMap<String, Scalar>,
}

/// A value of an enumeration, by its name or its number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Enumerated {
    Name(String),
    Number(i64),
}

impl Enumerated {
    /// Whether it is the value of this name and number. Envoy takes names in any case
    /// (`case_insensitive_enum_parsing`), and protobuf takes numbers that stand in quotes.
    pub(super) fn is(&self, name: &str, number: i64) -> bool {
        match self {
            Self::Number(value) => *value == number,
            Self::Name(text) => {
                text.eq_ignore_ascii_case(name) || text.trim().parse() == Ok(number)
            }
        }
    }
}

impl fmt::Display for Enumerated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Enumerated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Name(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Name(name) => Self::Name(name),
            // Protobuf takes `1.0` as well.
            #[expect(clippy::cast_possible_truncation, reason = "what is too great is no value")]
            Written::Number(number) => Self::Number(number as i64),
        })
    }
}

/// A value that can be compared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Number(f64),
    Text(String),
    Other(IgnoredAny),
}

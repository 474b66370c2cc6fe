//! What is read of Caddy's configuration (its JSON structure: apps/http): the fields that say how an
//! upstream is spoken to. Everything else is passed over unread.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::policy::lenient::Lenient;

/// A configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Config {
    /// Its admin interface.
    pub admin: Option<Admin>,
    pub(super) apps: Apps,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is derived, which is no method of the trait.
        Self::deserialize(Lenient::any_case(deserializer))
    }
}

/// The admin interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// There is none.
    pub disabled: bool,
    /// Where it listens; `localhost:2019` if nothing is said.
    pub listen: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Apps {
    pub(super) http: Http,
    pub(super) layer4: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Http {
    pub(super) servers: BTreeMap<String, Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) routes: Vec<Route>,
    pub(super) named_routes: BTreeMap<String, Route>,
    pub(super) errors: Option<Routes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    pub(super) handle: Vec<Handler>,
}

/// What is known of handlers: `reverse_proxy`, and those that hold others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Handler {
    #[serde(rename = "handler")]
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
    pub(super) errors: Option<Routes>,
    pub(super) handle_response: Vec<Routes>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) dynamic_upstreams: Option<IgnoredAny>,
    pub(super) transport: Option<Box<Transport>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) dial: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Transport {
    pub(super) protocol: String,
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tls {
    pub(super) ca: Option<Provider>,
    pub(super) root_ca_pool: Vec<IgnoredAny>,
    pub(super) root_ca_pem_files: Vec<String>,
    pub(super) client_certificate_file: String,
    pub(super) client_certificate_key_file: String,
    pub(super) client_certificate_automate: String,
    pub(super) insecure_skip_verify: bool,
    pub(super) server_name: String,
    pub(super) except_ports: Vec<String>,
}

/// Where authorities come from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) provider: String,
    pub(super) pem_files: Vec<String>,
}

//! What is read of Caddy's configuration (its JSON structure: apps/http): the fields that say how an
//! upstream is spoken to. Everything else is passed over unread.

#![expect(clippy::zero_sized_map_values, reason = "serde gathers what is left in maps")]

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::policy::lenient::{Lenient, Passed, leniently};

/// A configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Config {
    /// Its admin interface.
    pub admin: Option<Admin>,
    pub(super) apps: Apps,
}

leniently! {
    Config: Lenient::any_case,
    Tls: Lenient::with_fields(&[
        "ca",
        "root_ca_pool",
        "root_ca_pem_files",
        "client_certificate_file",
        "client_certificate_key_file",
        "client_certificate_automate",
        "insecure_skip_verify",
        "server_name",
        "except_ports",
    ]),
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
    pub(super) health_checks: HealthChecks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HealthChecks {
    pub(super) active: Active,
}

/// Checks of health that are requests of their own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Active {
    pub(super) path: String,
    pub(super) uri: String,
    /// Where they go, if not where requests do.
    pub(super) port: u16,
    /// The same, as a whole.
    pub(super) upstream: String,
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
#[serde(default, remote = "Self")]
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
    /// Whatever else is said: what is not known may change everything.
    #[serde(flatten)]
    pub(super) more: BTreeMap<String, Passed>,
}

/// Where authorities come from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) provider: String,
    pub(super) pem_files: Vec<String>,
}

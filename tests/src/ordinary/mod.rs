//! Proxies in ordinary use: an agent that was there first, a proxy that starts under it and is asked
//! at once, and what is said of every connection against what the upstreams logged.
//!
//! [`stacks`] lists the proxies with the configuration that an operator would write, `site` is what
//! runs around one of them, [`judge`] compares, [`run()`] does one after the other.

mod apache;
mod idle;
pub mod judge;
pub mod launch;
mod node;
mod run;
mod site;
pub mod stacks;
mod traffic_server;
mod written;

pub use idle::{Cost, cost_of_idling};
pub use launch::Program;
pub use node::{HealthyNode, as_rules_test};
pub use run::{Length, run};
pub use site::{Answers, Hop, Kind, Site};

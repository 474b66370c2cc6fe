//! What should be, beside what is: the intent of a proxy's configuration, the operator's policy,
//! and the drift between them and the observation.
//!
//! Everything here is pure. Files come through [`files::ConfigFiles`], time is an argument.

pub mod apache;
pub mod caddy;
pub mod certificate;
#[cfg(test)]
mod described;
pub mod drift;
pub mod environment;
pub mod envoy;
pub mod exempt;
pub mod files;
pub mod glob;
pub mod haproxy;
pub mod identities;
pub mod intent;
pub mod kind;
mod lenient;
pub mod lint;
pub mod lookup;
pub mod nginx;
pub mod observation;
pub mod on_disk;
pub mod rules;
pub mod status;
pub mod suggest;
pub mod time;
pub mod traefik;

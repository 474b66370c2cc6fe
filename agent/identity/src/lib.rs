//! Who the two ends of a hop are, as the machine tells: file systems of other processes, proxies with
//! a configuration, the Kubernetes API and the container runtime.

pub mod admin;
pub mod apache;
mod bounded;
pub mod caddy;
pub mod configured;
pub mod cri;
mod environment;
pub mod envoy;
pub mod foreign_root;
pub mod haproxy;
pub mod kubernetes;
pub mod nginx;
pub mod onward;
pub mod reading;
pub mod source_state;
pub mod sources;
pub mod traefik;
mod workers;

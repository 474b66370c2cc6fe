//! Metrics: what there are ([`catalogue`]), where their values come from, and how they are written.

pub mod arrivals;
pub mod catalogue;
pub mod drift;
#[cfg(feature = "otlp")]
mod families;
pub(crate) mod hops;
pub mod policy;
pub(crate) mod process;
pub mod samples;
pub(crate) mod text;

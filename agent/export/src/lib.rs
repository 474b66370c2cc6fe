//! What leaves the agent: metrics, the hop table, connection events, the page.
//!
//! [`Exporter`] is all that the pipeline has to know.

pub mod attestation;
mod changes;
pub mod events;
mod exporter;
pub mod fleet;
pub mod health;
pub mod http;
pub mod inventory;
mod markup;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
mod printable;
pub mod report;
pub mod time;
mod watching;

pub use exporter::Exporter;
pub use watching::Watched;

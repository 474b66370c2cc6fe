//! What leaves the agent: metrics, the hop table, connection events, the page.

pub mod hop;
pub mod hops;
pub mod labels;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;

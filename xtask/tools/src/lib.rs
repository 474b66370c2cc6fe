//! What the tools share: recorded and made-up connections, the benchmarked cases, recorded flights, truth.

pub mod cases;
pub mod dashboards;
pub mod flights;
pub mod made_up;
pub mod recorded;
pub mod truth;

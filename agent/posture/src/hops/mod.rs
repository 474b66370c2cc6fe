//! Hops: what connections from a proxy to an upstream are grouped into, and what each is now.

pub mod authentication;
pub mod certificates;
pub mod change;
pub mod context;
pub mod counts;
pub mod cryptography;
pub mod ends;
pub mod evaluation;
pub mod fleet_view;
pub mod hop;
pub mod kept;
pub mod labels;
pub mod moment;
pub mod older_sessions;
pub mod onward;
mod pool;
pub mod renewal;
pub mod server;
pub mod share;
mod silence;
pub mod state;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod treatment;
mod turns;
pub mod witness;

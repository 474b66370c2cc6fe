//! What the tests of every crate share. Without dependencies, so that it costs none of them time.

mod captures;
mod shared;

pub use captures::captures;
pub use shared::shared;

//! What the tests of every crate share. Without dependencies, so that it costs none of them time.

mod captures;
pub mod crafted;
mod explained;
mod not_run;
mod shared;

pub use captures::captures;
pub use explained::Explained;
pub use not_run::{LEDGER, not_run};
pub use shared::shared;

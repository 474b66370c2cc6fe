//! Evidence from inside the TLS library of a proxy.

pub mod placement;

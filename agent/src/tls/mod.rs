//! TLS: what bytes, library observations and record lengths say about a handshake.

pub mod flights;

//! Tests that drive proxies as fast as they go, one at a time.

mod drift;
mod traffic;

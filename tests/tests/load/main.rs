//! Tests that drive proxies as fast as they go. A binary of its own, because an agent sees every
//! nginx of the machine, and cargo runs one binary at a time.

mod drift;
mod traffic;

//! The probes inside OpenSSL, against real programs.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod chains;
mod clients;
mod cost;
mod endurance;
mod inside;
mod late;
mod lifecycle;
mod proxies;
mod sequences;
mod support;

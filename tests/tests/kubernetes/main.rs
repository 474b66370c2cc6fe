//! The Kubernetes watches: against a stand-in for faults, against a real API server for the rest.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod agent;
mod faults;
mod real;
mod status;

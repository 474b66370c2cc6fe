//! Hostile traffic past the real agent: verdicts are right or unknown, memory stays bounded, and
//! nothing is attributed to the wrong hop.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod chains;
mod crowd;
mod mangle;
mod relay;
mod reuse;
mod segments;
mod tun;
mod upstreams;

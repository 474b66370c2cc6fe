//! Live tests: real proxies, real upstreams, the real agent. One binary, to link once.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod chains;
mod clock;
mod early_data;
mod groups;
mod hops;
mod intent;
mod inventory;
mod lifecycle;
mod matrix;
mod mend;
mod mid_stream;
mod ordinary;
mod outlived;
mod outputs;
mod owners;
mod stacks;
mod topology;
mod unaccepted;

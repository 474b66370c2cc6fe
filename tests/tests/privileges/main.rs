//! What the agent needs, what it gives up, and what it cannot do afterwards.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod canary;
mod capabilities;
mod daemon;
mod forbidden;
mod running;

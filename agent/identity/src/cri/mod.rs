//! Names of pods from the container runtime, over its CRI socket (`runtime.v1.RuntimeService`).
//!
//! The socket knows static pods and goes on when the API server does not, but whoever may open it
//! is root on the node: it is asked only where the configuration names it.

#[cfg_attr(not(feature = "cri"), path = "client_absent.rs")]
mod client;
#[cfg(feature = "cri")]
mod messages;

pub use self::client::CriClient;

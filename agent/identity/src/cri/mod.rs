//! Names of pods from the container runtime, over its CRI socket (`runtime.v1.RuntimeService`).
//!
//! The runtime knows static pods and answers when the API server does not, but whoever may open its
//! socket is as good as root on the node: it is asked only where the configuration names it.

#[cfg_attr(not(feature = "cri"), path = "client_absent.rs")]
mod client;
#[cfg(feature = "cri")]
mod messages;

pub use self::client::CriClient;

//! What takes a plaintext connection further, where that may encrypt it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use hopsight_core::vocabulary;

vocabulary! {
    /// Whether what leaves the proxy in the clear goes on encrypted. The connection itself is
    /// plaintext either way.
    ContinuesEncrypted {
        /// It does: a tunnel encrypts every packet.
        Yes => "yes",
        /// A mesh's proxy on this node takes it over; what it makes of it is not known.
        Unknown => "unknown",
    }
}

/// What takes a plaintext connection further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Onward {
    /// Whether it goes on encrypted.
    pub continues_encrypted: ContinuesEncrypted,
    /// Who or what takes it, for people.
    pub by: Arc<str>,
}

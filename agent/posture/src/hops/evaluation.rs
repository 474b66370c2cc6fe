//! What is known of a connection beside its report.

use super::onward::Onward;
use crate::policy::{
    certificate::{ChainWord, Revocation},
    drift::Compliance,
};

/// When workers of a proxy started, seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workers {
    /// The one that opened the connection.
    pub own: f64,
    /// The oldest of those that run, and of it.
    pub oldest: f64,
}

/// What is known of a connection beside its report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// When the configuration was loaded that the connection was opened with, seconds since the
    /// Unix epoch; absent where that is not known.
    pub loaded_at: Option<f64>,
    /// The workers of the proxy that opened it; absent where nothing is known of them.
    pub workers: Option<Workers>,
    /// The configuration that the connection was opened with checks the upstream's certificate on every
    /// route.
    pub is_to_verify: bool,
    /// What it says about its hop; absent where it was not evaluated.
    pub compliance: Option<Compliance>,
    /// What takes it further where it is plaintext; absent where nothing is known that would encrypt
    /// it.
    pub onward: Option<Onward>,
    /// Where the chain leads that the upstream presented; absent where nobody looked.
    pub chain: Option<ChainWord>,
    /// Where the chain leads that the proxy presented, by the CAs that the upstream names in its
    /// request; absent where that was not seen.
    pub client_chain: Option<ChainWord>,
    /// Whether the certificates are revoked that the upstream and the proxy presented; absent where
    /// nobody looked.
    pub revocation: [Option<Revocation>; 2],
    /// In a full handshake, nobody has lists and no response came along: what was told of revocation before
    /// rests on nothing any more.
    pub is_unlisted: bool,
}

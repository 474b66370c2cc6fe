//! What is said of one certificate.

use serde::{Deserialize, Serialize};

/// Facts of one X.509 certificate (RFC 5280).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Subject distinguished name, RFC 4514 style.
    pub subject: String,
    /// Issuer distinguished name.
    pub issuer: String,
    /// Subject alternative names, each as `DNS:…`, `IP:…`, `URI:…` or `email:…`.
    pub sans: Vec<String>,
    /// Serial number, lower-case hex without separators.
    pub serial: String,
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Public key type and size or curve, such as `rsa2048`, `p256`, `ed25519`.
    pub public_key: String,
    /// Signature algorithm, such as `ecdsa-with-SHA256`.
    pub signature: String,
    /// Number of certificates sent with it (the chain's length, itself included).
    pub chain_length: usize,
}

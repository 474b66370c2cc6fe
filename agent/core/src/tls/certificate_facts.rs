//! What is said of one certificate.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    fingerprint::Fingerprint,
    key_usage::{ExtendedKeyUse, KeyUse},
};
use crate::vocabulary;

vocabulary! {
    /// Why there is nothing to say of a certificate.
    CertificateAbsence {
        /// None was sent: it was not asked for, there was none, or a session was resumed.
        NotSent => "not_sent",
        /// It was sent under encryption (TLS 1.3), and no library showed it.
        Encrypted => "encrypted",
        /// It was sent compressed (RFC 8879), which is not unpacked.
        Compressed => "compressed",
        /// It was sent and is no X.509 certificate that can be read: damaged, or a raw public key
        /// (RFC 7250).
        Unreadable => "unreadable",
        /// It was sent, but the proof that its key is the sender's was not seen.
        Unproven => "unproven",
        /// The handshake was not seen as far.
        NotSeen => "not_seen",
    }
}

/// Facts of one X.509 certificate (RFC 5280).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Subject distinguished name: its parts in the certificate's order with `, ` between them,
    /// values escaped as in RFC 4514.
    pub subject: String,
    /// Issuer distinguished name.
    pub issuer: String,
    /// Subject alternative names, each as `DNS:…`, `IP:…`, `URI:…`, `email:…`, `dirname:…`, `RID:…`
    /// or `other:…`.
    pub sans: Vec<String>,
    /// Serial number, lower-case hex without separators.
    pub serial: String,
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Public key type and size or curve, such as `rsa2048`, `p256`, `ed25519`, `sm2`;
    /// `ec-explicit-256` where the curve is spelled out and not named.
    pub public_key: String,
    /// Signature algorithm, such as `ecdsa-with-SHA256`.
    pub signature: String,
    /// Number of certificates sent with it (the chain's length, itself included).
    pub chain_length: usize,
    /// What it is told by; `None` where an agent wrote this that did not say it.
    #[serde(default)]
    pub sha256: Option<Fingerprint>,
    /// What its key may be used for; `None` where it does not say.
    #[serde(default)]
    pub key_usage: Option<Box<[KeyUse]>>,
    /// What for, by purpose; `None` where it does not say.
    #[serde(default)]
    pub extended_key_usage: Option<Box<[ExtendedKeyUse]>>,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`); `None` where an agent wrote this that did
    /// not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<Fingerprint>,
    /// How many signed certificate timestamps it has in it (RFC 6962 section 3.3).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timestamps: u16,
    /// The certificates that were sent behind it, in their order: those that are X.509 and among the
    /// first [`MAX_ISSUERS`](super::certificate::MAX_ISSUERS). Empty where it was not seen in a
    /// handshake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Arc<IssuerFacts>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) const fn is_zero(count: &u16) -> bool {
    *count == 0
}

/// Facts of a certificate that was sent behind another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IssuerFacts {
    /// As of [`CertificateFacts`].
    pub subject: String,
    /// As of [`CertificateFacts`].
    pub issuer: String,
    /// As of [`CertificateFacts`].
    pub serial: String,
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// As of [`CertificateFacts`].
    pub public_key: String,
    /// As of [`CertificateFacts`].
    pub signature: String,
    /// What it is told by.
    pub sha256: Fingerprint,
}

/// How the URI of a SPIFFE ID begins, as a subject alternative name.
const SPIFFE: &str = "URI:spiffe://";

impl CertificateFacts {
    /// Its SPIFFE ID; `None` where it has several, as none may (X509-SVID section 2).
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        let is_one = |san: &&String| {
            let scheme = san.get(..SPIFFE.len());
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
        };
        let mut all = self.sans.iter().filter(is_one);
        let first = all.next()?.get("URI:".len()..);
        first.filter(|_| all.next().is_none())
    }

    /// What tells whose it is when it is renewed: its SPIFFE ID, its subject where it has none, and its
    /// alternative names where it has neither.
    #[must_use]
    pub fn identity(&self) -> Cow<'_, str> {
        match self.spiffe_id() {
            Some(id) => id.into(),
            None if self.subject.is_empty() => self.sorted_sans().join(", ").into(),
            None => self.subject.as_str().into(),
        }
    }

    /// Its alternative names in an order that is the same whatever theirs is.
    #[must_use]
    pub fn sorted_sans(&self) -> Vec<&str> {
        let mut sans: Vec<_> = self.sans.iter().map(String::as_str).collect();
        sans.sort_unstable();
        sans
    }

    /// The share of its lifetime that is left at `now` (seconds since the Unix epoch), from 1 to less
    /// than 0 once it has ended; 0 where it has none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "seconds of a few thousand years are exact")]
    pub fn share_left(&self, now: f64) -> f64 {
        let lifetime = self.not_after.saturating_sub(self.not_before) as f64;
        if lifetime > 0.0 { (self.not_after as f64 - now) / lifetime } else { 0.0 }
    }
}

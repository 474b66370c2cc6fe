//! Certificates and keys named by a configuration: what they say, whether they belong together,
//! and whether a certificate chains to a CA. Functions over bytes; nothing is kept.

mod chain;
mod configured;
mod expected;
mod finding;
mod key;
mod list;
mod listed;
mod named;
mod presented;
mod refused;
pub mod requested;
mod revocation;
mod revoked;
mod signature;
mod staple;
#[cfg(test)]
mod staple_tests;
mod trust;

use thiserror::Error;
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer as _};

pub use chain::{Chain, chain};
pub use configured::{Configured, NotConfigured, configured};
pub use expected::by_all_routes;
pub use finding::{CertificateFinding, ChainWord, KeyWord};
pub use key::{KeyMatch, NoAnswer, key_matches};
pub use presented::{ChainFinding, Purpose, presented};
pub use revocation::{
    Revocation, RevocationFinding, RevocationReason, RevocationSource, RevocationWord, Shown,
    Standing, revocation,
};
pub use revoked::Revoked;
pub use trust::{Trust, Trusts};

use hopsight_core::tls::{certificate as tls, certificate_facts::CertificateFacts};

/// Certificates of one file that are looked at. The bundle of a public trust store has some 150.
const MAX_CERTIFICATES: usize = 1_000;

/// Why a file could not be read as certificates.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// No `BEGIN CERTIFICATE` in it.
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    /// The PEM armour is broken.
    #[error("the PEM encoding is broken: {0}")]
    Pem(String),
    /// More than are looked at.
    #[error("there are more than {MAX_CERTIFICATES} certificates in it")]
    TooMany,
    /// A certificate in it is no X.509.
    #[error("certificate {position} is not X.509: {problem}")]
    Malformed {
        /// Which one, from 1.
        position: usize,
        /// What the parser says.
        problem: String,
    },
    /// There is no certificate revocation list in it.
    #[error("there is no revocation list in it")]
    NoList,
    /// A list in it is no X.509 CRL.
    #[error("revocation list {position} cannot be read: {problem}")]
    MalformedList {
        /// Which one, from 1.
        position: usize,
        /// What the parser says.
        problem: String,
    },
    /// More lists, or more certificates in them, than are looked at.
    #[error("more certificates are revoked in it than are looked at")]
    TooManyRevoked,
}

/// The certificates of a PEM file, in its order: for a client certificate file the first is the
/// client's own, the others its chain.
///
/// # Errors
/// When there is none, or one cannot be parsed.
pub fn read(pem: &[u8]) -> Result<Vec<CertificateFacts>, CertificateError> {
    let blocks = certificates(pem)?;
    parsed(&blocks)?;
    let total = blocks.len();
    (0..)
        .zip(blocks)
        .map(|(first, block)| {
            let end_entity = block.contents.into();
            let chain = tls::Chain { end_entity, length: total - first, ..tls::Chain::default() };
            tls::facts(&chain).map_err(|problem| CertificateError::Malformed {
                position: first + 1,
                problem: problem.to_string(),
            })
        })
        .collect()
}

/// The certificate blocks of a PEM file; text and keys between them are passed over.
fn certificates(pem: &[u8]) -> Result<Vec<Pem>, CertificateError> {
    let mut out = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let mut block = block.map_err(|error| CertificateError::Pem(error.to_string()))?;
        // OpenSSL writes behind the certificate what it is trusted for.
        if block.label == "TRUSTED CERTIFICATE" {
            let rest = X509Certificate::from_der(&block.contents).map(|(rest, _)| rest.len());
            block.contents.truncate(block.contents.len() - rest.unwrap_or_default());
            "CERTIFICATE".clone_into(&mut block.label);
        }
        if matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE") {
            if out.len() == MAX_CERTIFICATES {
                return Err(CertificateError::TooMany);
            }
            out.push(block);
        }
    }
    if out.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(out) }
}

fn parsed(blocks: &[Pem]) -> Result<Vec<X509Certificate<'_>>, CertificateError> {
    blocks
        .iter()
        .enumerate()
        .map(|(index, block)| {
            X509Certificate::from_der(&block.contents).map(|(_, certificate)| certificate).map_err(
                |error| CertificateError::Malformed {
                    position: index + 1,
                    problem: error.to_string(),
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;

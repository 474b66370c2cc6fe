//! Certificates and keys named by a configuration: what they say, whether they belong together,
//! and whether a certificate chains to a CA. Functions over bytes; nothing is kept.

mod chain;
mod key;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::Pem, prelude::FromDer as _,
};

pub use chain::{Chain, chain};
pub use key::{KeyMatch, NoAnswer, key_matches};

use super::time::UnixTime;

/// What policy needs to know of a certificate, from a file or as seen in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Subject, one line in the order of the encoding: `C=DE, O=Example, CN=edge`.
    pub subject: String,
    /// Issuer, written the same way.
    pub issuer: String,
    /// Subject alternative names as `DNS:name`, `URI:uri`, `IP:address` or `email:address`.
    pub subject_alternative_names: Vec<String>,
    /// First moment of validity.
    pub not_before: UnixTime,
    /// Last moment of validity.
    pub not_after: UnixTime,
}

impl CertificateFacts {
    /// Takes them from a parsed certificate.
    #[must_use]
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|extension| &extension.value.general_names);
        let seconds = |time: i64| UnixTime::from_secs(u64::try_from(time).unwrap_or(0));
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            subject_alternative_names: names.into_iter().flatten().filter_map(name).collect(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
        }
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => {
            let address = match *bytes {
                [a, b, c, d] => IpAddr::from([*a, *b, *c, *d]),
                bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
            };
            Some(format!("IP:{address}"))
        }
        _ => None,
    }
}

/// Why a file could not be read as certificates.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// No `BEGIN CERTIFICATE` in it.
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    /// The PEM armour is broken.
    #[error("the PEM encoding is broken: {0}")]
    Pem(String),
    /// A certificate in it is no X.509.
    #[error("certificate {position} is not X.509: {problem}")]
    Malformed {
        /// Which one, from 1.
        position: usize,
        /// What the parser says.
        problem: String,
    },
}

/// The certificates of a PEM file, in its order: for a client certificate file the first is the
/// client's own, the others its chain.
///
/// # Errors
/// When there is none, or one cannot be parsed.
pub fn read(pem: &[u8]) -> Result<Vec<CertificateFacts>, CertificateError> {
    let blocks = certificates(pem)?;
    Ok(parsed(&blocks)?.iter().map(CertificateFacts::of).collect())
}

/// The certificate blocks of a PEM file; text and keys between them are passed over.
fn certificates(pem: &[u8]) -> Result<Vec<Pem>, CertificateError> {
    let mut out = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| CertificateError::Pem(error.to_string()))?;
        if matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE") {
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

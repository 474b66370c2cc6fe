//! Signatures of certificates, revocation lists and OCSP responses.

use ring::digest::{self, Algorithm};
use x509_parser::{
    asn1_rs::{Any, BitString, FromDer},
    certificate::X509Certificate,
    error::X509Error,
    oid_registry::OID_PKCS1_RSASSAPSS,
    signature_algorithm::RsaSsaPssParams,
    verify::verify_signature,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

use super::trust::is_unusual;

/// What all of these are: a content, and a signature of it.
pub(super) struct Signed<'a> {
    content: &'a [u8],
    pub(super) algorithm: AlgorithmIdentifier<'a>,
    value: BitString<'a>,
    /// What stands behind the signature.
    pub(super) rest: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads one, DER encoded; `None` if it is something else.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (_, whole) = Any::from_der(der).ok()?;
        let (rest, _) = Any::from_der(whole.data).ok()?;
        let content = whole.data.get(..whole.data.len() - rest.len())?;
        let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
        let (rest, value) = BitString::from_der(rest).ok()?;
        Some(Self { content, algorithm, value, rest })
    }

    /// Whether this key signed it; `None` where that cannot be checked here.
    pub(super) fn is_by(&self, key: &SubjectPublicKeyInfo<'_>) -> Option<bool> {
        match verify_signature(key, &self.algorithm, &self.value, self.content) {
            Ok(()) => Some(true),
            Err(X509Error::SignatureUnsupportedAlgorithm) => None,
            Err(_) if is_unusual(key) || is_salted_otherwise(&self.algorithm) => None,
            Err(_) => Some(false),
        }
    }
}

/// Whether an issuer signed a certificate; `None` where that cannot be checked here.
pub(super) fn has_signed(
    issuer: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
) -> Option<bool> {
    Signed::read(certificate.as_raw())?.is_by(issuer.public_key())
}

/// Whether it is RSA-PSS with a salt that is not as long as its hash, which ring refuses.
fn is_salted_otherwise(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let Some(parameters) = &algorithm.parameters else { return false };
    algorithm.algorithm == OID_PKCS1_RSASSAPSS
        && RsaSsaPssParams::try_from(parameters).is_ok_and(|parameters| {
            let hash = hash(&parameters.hash_algorithm_oid().to_id_string());
            let salt = usize::try_from(parameters.salt_length());
            hash.is_none_or(|hash| salt != Ok(hash.output_len()))
        })
}

/// The hash with this dotted object identifier (RFC 8017 appendix B.1).
pub(super) fn hash(oid: &str) -> Option<&'static Algorithm> {
    Some(match oid {
        "1.3.14.3.2.26" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        _ => return None,
    })
}

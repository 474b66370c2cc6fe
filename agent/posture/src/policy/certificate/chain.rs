//! Whether a certificate chains to a CA (RFC 5280 section 6, without policies, name constraints
//! and revocation).

use hopsight_core::tls::name::distinguished_name;
use x509_parser::{certificate::X509Certificate, error::X509Error, public_key::PublicKey};

use super::{CertificateError, certificates, parsed};
use crate::policy::time::UnixTime;

/// Certificates between the first one and the CA at most, as a guard against loops.
const MAX_LENGTH: usize = 10;

/// Certificates of one name that are tried as issuers: each takes the checking of a signature.
const MAX_NAMESAKES: usize = 16;

/// Where the chain of a certificate leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// To one of the CAs given.
    Trusted {
        /// Subject of that CA.
        ca: String,
    },
    /// It ends before a CA that was given.
    Incomplete {
        /// The issuer that neither the chain nor the CAs have.
        missing: String,
    },
    /// An issuer of the right name did not sign it (the CA's key was changed, or it is another CA).
    NotSigned {
        /// Subject of the certificate whose signature does not fit.
        subject: String,
    },
    /// A certificate in it is outside of its validity.
    NotValidNow {
        /// Its subject.
        subject: String,
    },
    /// A certificate in it uses a signature algorithm this check does not know.
    Unsupported {
        /// Its subject.
        subject: String,
    },
}

/// Follows the chain of the first certificate in `chain_pem` through the others in there to one
/// of `ca_pem`. `now` decides about validity.
///
/// # Errors
/// When one of the files has no readable certificates.
pub fn chain(chain_pem: &[u8], ca_pem: &[u8], now: UnixTime) -> Result<Chain, CertificateError> {
    let (chain_blocks, ca_blocks) = (certificates(chain_pem)?, certificates(ca_pem)?);
    let (own, cas) = (parsed(&chain_blocks)?, parsed(&ca_blocks)?);
    let mut current = &own[0];
    for _ in 0..MAX_LENGTH {
        if !valid_at(current, now) {
            return Ok(Chain::NotValidNow { subject: distinguished_name(current.subject()) });
        }
        if cas.iter().any(|ca| ca.as_raw() == current.as_raw()) {
            return Ok(Chain::Trusted { ca: distinguished_name(current.subject()) });
        }
        match issuer(current, &cas) {
            Issuer::Found(ca) if !valid_at(ca, now) => {
                return Ok(Chain::NotValidNow { subject: distinguished_name(ca.subject()) });
            }
            Issuer::Found(ca) => {
                return Ok(Chain::Trusted { ca: distinguished_name(ca.subject()) });
            }
            Issuer::Unsupported => {
                return Ok(Chain::Unsupported { subject: distinguished_name(current.subject()) });
            }
            from_cas @ (Issuer::NameOnly | Issuer::Absent) => {
                match (issuer(current, &own[1..]), from_cas) {
                    (Issuer::Found(next), _) => current = next,
                    (Issuer::Unsupported, _) => {
                        return Ok(Chain::Unsupported {
                            subject: distinguished_name(current.subject()),
                        });
                    }
                    (Issuer::NameOnly, _) | (_, Issuer::NameOnly) => {
                        return Ok(Chain::NotSigned {
                            subject: distinguished_name(current.subject()),
                        });
                    }
                    _ => break,
                }
            }
        }
    }
    Ok(Chain::Incomplete { missing: distinguished_name(current.issuer()) })
}

enum Issuer<'a, 'der> {
    /// It has the name, may sign and did.
    Found(&'a X509Certificate<'der>),
    /// One has the name and did not sign.
    NameOnly,
    /// One has the name; whether it signed cannot be told.
    Unsupported,
    Absent,
}

fn issuer<'a, 'der>(
    certificate: &X509Certificate<'_>,
    candidates: &'a [X509Certificate<'der>],
) -> Issuer<'a, 'der> {
    let mut answer = Issuer::Absent;
    let named = candidates
        .iter()
        .filter(|issuer| issuer.subject().as_raw() == certificate.issuer().as_raw())
        .filter(|issuer| issuer.as_raw() != certificate.as_raw());
    for (tried, issuer) in named.enumerate() {
        if tried == MAX_NAMESAKES {
            return Issuer::Unsupported;
        }
        // A CA of X.509 version 1 has no extensions to say so with.
        let may_sign = issuer.is_ca() || issuer.version().0 == 0;
        match certificate.verify_signature(Some(issuer.public_key())) {
            Ok(()) if may_sign => return Issuer::Found(issuer),
            Err(X509Error::SignatureUnsupportedAlgorithm) => answer = Issuer::Unsupported,
            Err(_) if has_short_rsa_key(issuer) => answer = Issuer::Unsupported,
            Ok(()) | Err(_) if matches!(answer, Issuer::Absent) => answer = Issuer::NameOnly,
            Ok(()) | Err(_) => {}
        }
    }
    answer
}

/// ring refuses RSA keys below 2048 bits as if the signature were wrong.
fn has_short_rsa_key(issuer: &X509Certificate<'_>) -> bool {
    match issuer.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => key.key_size() < 2048,
        _ => false,
    }
}

fn valid_at(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&at)
}

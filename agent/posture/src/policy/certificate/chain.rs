//! Whether a certificate chains to a CA (RFC 5280 section 6, without policies, name constraints
//! and revocation).

use hopsight_core::tls::name::distinguished_name;
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateError, certificates, parsed,
    signature::has_signed,
    trust::{is_ca_by_usage_alone, validity},
};
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
    /// An issuer of the right name that stands beside it did not sign it (the CA's key was changed, or it
    /// is another CA).
    NotSigned {
        /// Subject of the certificate whose signature does not fit.
        subject: String,
    },
    /// A certificate in it is outside of its validity.
    NotValidNow {
        /// Its subject.
        subject: String,
    },
    /// A certificate in it is signed in a way that this check does not know, or by what does not say that
    /// it is a CA.
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
        let unsupported = || Chain::Unsupported { subject: distinguished_name(current.subject()) };
        let from_cas = issuer(current, &cas, now);
        if let Issuer::Found(ca) = from_cas
            && valid_at(ca, now)
        {
            return Ok(Chain::Trusted { ca: distinguished_name(ca.subject()) });
        }
        match (from_cas, issuer(current, &own[1..], now)) {
            (_, Issuer::Found(next)) if valid_at(next, now) => current = next,
            (Issuer::Found(ended), _) | (_, Issuer::Found(ended)) => {
                return Ok(Chain::NotValidNow { subject: distinguished_name(ended.subject()) });
            }
            (Issuer::Unsupported, _) | (_, Issuer::Unsupported) => return Ok(unsupported()),
            (_, Issuer::NameOnly) => {
                return Ok(Chain::NotSigned { subject: distinguished_name(current.subject()) });
            }
            // The CA that it is to lead to may have the name of one in the file.
            (Issuer::NameOnly | Issuer::Absent, Issuer::Absent) => break,
        }
    }
    Ok(Chain::Incomplete { missing: distinguished_name(current.issuer()) })
}

enum Issuer<'a, 'der> {
    /// It has the name, may sign and did; one that is valid where there is one.
    Found(&'a X509Certificate<'der>),
    /// One has the name and did not sign.
    NameOnly,
    /// One has the name; whether it signed, or may, cannot be told.
    Unsupported,
    Absent,
}

fn issuer<'a, 'der>(
    certificate: &X509Certificate<'_>,
    candidates: &'a [X509Certificate<'der>],
    now: UnixTime,
) -> Issuer<'a, 'der> {
    let mut answer = Issuer::Absent;
    let named = candidates
        .iter()
        .filter(|issuer| issuer.subject().as_raw() == certificate.issuer().as_raw())
        .filter(|issuer| issuer.as_raw() != certificate.as_raw());
    for (tried, issuer) in named.enumerate() {
        if tried == MAX_NAMESAKES {
            return if matches!(answer, Issuer::Found(_)) { answer } else { Issuer::Unsupported };
        }
        // A CA of X.509 version 1 has no extensions to say so with.
        let may_sign = issuer.is_ca() || issuer.version().0 == 0;
        match has_signed(issuer, certificate) {
            Some(true) if may_sign && valid_at(issuer, now) => return Issuer::Found(issuer),
            Some(true) if may_sign => answer = Issuer::Found(issuer),
            None if !matches!(answer, Issuer::Found(_)) => answer = Issuer::Unsupported,
            Some(true) if matches!(answer, Issuer::Absent) && is_ca_by_usage_alone(issuer) => {
                answer = Issuer::Unsupported;
            }
            Some(_) if matches!(answer, Issuer::Absent) => answer = Issuer::NameOnly,
            Some(_) | None => {}
        }
    }
    answer
}

fn valid_at(certificate: &X509Certificate<'_>, now: UnixTime) -> bool {
    validity(certificate).contains(&i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

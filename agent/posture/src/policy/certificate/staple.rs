//! What an OCSP response says that came along with a certificate (RFC 6960).

use std::{ops::Range, sync::Arc};

use der::Decode as _;
use hopsight_core::tls::certificate::Chain;
use ring::digest;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus,
    SingleResponse,
};
use x509_parser::{
    asn1_rs::{Any, FromDer},
    certificate::X509Certificate,
    x509::AlgorithmIdentifier,
};

use super::{
    RevocationReason, RevocationWord, Trust,
    signature::{Signed, hash},
    trust::validity,
};

/// The one kind of response there is.
const BASIC: &str = "1.3.6.1.5.5.7.48.1.1";
/// Signatures that anybody may have made who was given another by the same signer: with SHA-1, of RSA
/// and of ECDSA.
const HAS_COLLISIONS: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];
/// `certificateHold` (RFC 5280 section 5.3.1), which may end.
const ON_HOLD: u8 = 6;
/// Certificates of responders, and of issuers, that are tried: each takes the checking of a signature.
const MAX_TRIED: usize = 4;
/// How long a response counts that does not say when there is to be a newer one, in seconds.
const UNSAID: i64 = 86_400;

/// What a response says of a certificate. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stapled {
    /// Revoked or good.
    pub(super) answer: RevocationWord,
    /// When it was so.
    pub(super) as_of: i64,
    /// When the certificate was revoked.
    pub(super) revoked_at: Option<i64>,
    /// At which times it counts.
    pub(super) stands: Range<i64>,
}

/// What this response says of the end entity of a chain: it is to be of that certificate, and signed
/// by its issuer or by whom that lets sign responses. The issuer is one that was sent along or is
/// trusted, and that signed the certificate.
pub(super) fn stapled(
    response: &[u8],
    chain: &Chain,
    trusts: &[Arc<Trust>],
    now: i64,
) -> Result<Stapled, RevocationReason> {
    const UNREADABLE: RevocationReason = RevocationReason::NotFollowed;
    let outer = OcspResponse::from_der(response).map_err(|_| UNREADABLE)?;
    if outer.response_status != OcspResponseStatus::Successful {
        return Err(RevocationReason::StapleUnknown);
    }
    let bytes = outer.response_bytes.ok_or(RevocationReason::StapleUnknown)?;
    if bytes.response_type.to_string() != BASIC {
        return Err(UNREADABLE);
    }
    let basic = bytes.response.as_bytes();
    let read = BasicOcspResponse::from_der(basic).map_err(|_| UNREADABLE)?;
    let (_, own) = X509Certificate::from_der(&chain.end_entity).map_err(|_| UNREADABLE)?;
    let sent = chain.issuers.iter().map(|der| &**der);
    let trusted = trusts.iter().flat_map(|trust| trust.ders());
    let all = sent.chain(trusted).filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1));
    let namesakes = all.filter(|issuer| issuer.subject().as_raw() == own.issuer().as_raw());
    let mut issuers = namesakes.take(MAX_TRIED);
    let issuer = issuers.find(|issuer| own.verify_signature(Some(issuer.public_key())).is_ok());
    let issuer = issuer.ok_or(RevocationReason::NotFollowed)?;
    let is_own = |single: &&SingleResponse| is_of(&single.cert_id, &own, &issuer);
    let mut about_it =
        read.tbs_response_data.responses.iter().filter(is_own).take(MAX_TRIED).peekable();
    if about_it.peek().is_none() {
        return Err(RevocationReason::StapleOfAnother);
    }
    if !is_signed(basic, &issuer, now) {
        return Err(RevocationReason::StapleNotSigned);
    }
    // Of several in force the one counts that says the worst.
    let answers = about_it.map(|single| says(single, now));
    let worst = answers.max_by_key(|answer| match answer {
        Err(RevocationReason::StapleNotInForce) => 0,
        Ok(Stapled { answer: RevocationWord::Revoked, .. }) => 3,
        Ok(_) => 1,
        Err(_) => 2,
    });
    worst.unwrap_or(Err(RevocationReason::StapleOfAnother))
}

/// What one of the answers in a response says at that time.
fn says(single: &SingleResponse, now: i64) -> Result<Stapled, RevocationReason> {
    let as_of = seconds(single.this_update);
    let next = single.next_update.map_or(as_of.saturating_add(UNSAID), seconds);
    let is_in_force = (as_of..next).contains(&now);
    let (answer, revoked_at) = match single.cert_status {
        // It stays so, whatever becomes of the response, unless it was put on hold.
        CertStatus::Revoked(info)
            if is_in_force
                || now >= next
                    && info.revocation_reason.is_none_or(|reason| reason as u8 != ON_HOLD) =>
        {
            (RevocationWord::Revoked, Some(seconds(info.revocation_time)))
        }
        _ if !is_in_force => return Err(RevocationReason::StapleNotInForce),
        CertStatus::Good(_) => (RevocationWord::Good, None),
        CertStatus::Revoked(_) | CertStatus::Unknown(_) => {
            return Err(RevocationReason::StapleUnknown);
        }
    };
    Ok(Stapled { answer, as_of, revoked_at, stands: as_of..next })
}

fn seconds(time: OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// Whether a response is about this certificate of this issuer.
fn is_of(id: &CertId, own: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let Some(algorithm) = hash(&id.hash_algorithm.oid.to_string()) else { return false };
    let is_hash = |hash: &[u8], of: &[u8]| digest::digest(algorithm, of).as_ref() == hash;
    id.serial_number.as_bytes() == own.raw_serial()
        && is_hash(id.issuer_name_hash.as_bytes(), issuer.subject().as_raw())
        && is_hash(id.issuer_key_hash.as_bytes(), &issuer.public_key().subject_public_key.data)
}

/// Whether the issuer signed it, or somebody with a certificate of the issuer's for that.
fn is_signed(basic: &[u8], issuer: &X509Certificate<'_>, now: i64) -> bool {
    signed(basic, issuer, now).unwrap_or(false)
}

fn signed(basic: &[u8], issuer: &X509Certificate<'_>, now: i64) -> Option<bool> {
    let response = Signed::read(basic)?;
    if has_collisions(&response.algorithm) {
        return Some(false);
    }
    let is_by = |signer: &X509Certificate<'_>| response.is_by(signer.public_key()) == Some(true);
    if is_by(issuer) {
        return Some(true);
    }
    // [0] EXPLICIT SEQUENCE OF Certificate
    let (_, tagged) = Any::from_der(response.rest).ok()?;
    let (_, mut list) = Any::from_der(tagged.data).ok()?;
    for _ in 0..MAX_TRIED {
        let (rest, delegate) = X509Certificate::from_der(list.data).ok()?;
        if may_respond(&delegate, issuer, now) && is_by(&delegate) {
            return Some(true);
        }
        list.data = rest;
    }
    Some(false)
}

fn has_collisions(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    HAS_COLLISIONS.contains(&algorithm.algorithm.to_id_string().as_str())
}

/// Whether the issuer lets it sign responses (RFC 6960 section 4.2.2.2).
fn may_respond(delegate: &X509Certificate<'_>, issuer: &X509Certificate<'_>, now: i64) -> bool {
    let usage = delegate.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.ocsp_signing)
        && !has_collisions(&delegate.signature_algorithm)
        && validity(delegate).contains(&now)
        && delegate.issuer().as_raw() == issuer.subject().as_raw()
        && delegate.verify_signature(Some(issuer.public_key())).is_ok()
}

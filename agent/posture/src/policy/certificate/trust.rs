//! CA certificates that a configuration trusts.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use hopsight_core::tls::{fingerprint::Fingerprint, name::distinguished_name};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{CertificateError, Purpose, certificates, requested::folded};

/// The CA certificates of one file.
///
/// Each of them is trusted by itself, as Envoy and Go do it: OpenSSL wants the root of an
/// intermediate as well, and a proxy that rests on it refuses by itself what only the intermediate
/// vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// What paths are built to.
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// What else is to know of each of them, in their order.
    pub(super) cas: Vec<Ca>,
    digest: Fingerprint,
}

/// The CA files of a configuration that can be read, by their paths.
pub type Trusts = BTreeMap<String, Arc<Trust>>;

/// What a verifier does not ask of the CA that it ends at, and OpenSSL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ca {
    der: CertificateDer<'static>,
    pub(super) subject: String,
    /// The same, as names are compared.
    pub(super) folded: String,
    pub(super) raw_subject: Box<[u8]>,
    /// When it is valid, in seconds since the Unix epoch.
    pub(super) valid: Range<i64>,
    pub(super) may_sign: bool,
    /// For which sides of TLS what is below it may be: `extKeyUsage` counts there as well for OpenSSL and Go.
    purposes: [bool; 2],
    /// CAs below it at most that are not self-issued.
    pub(super) path_length: Option<usize>,
    /// Its key is one that nothing can be verified with here.
    pub(super) has_unusual_key: bool,
}

impl Trust {
    /// Reads a PEM file. A certificate in it that cannot be read is passed over, as long as there is
    /// another.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn read(pem: &[u8]) -> Result<Self, CertificateError> {
        Self::of(certificates(pem)?.into_iter().map(|block| block.contents))
    }

    /// These certificates, DER encoded.
    ///
    /// # Errors
    /// As [`Trust::read`].
    pub fn of(ders: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, CertificateError> {
        let (mut anchors, mut cas, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for der in ders {
            all.extend_from_slice(&der);
            let der = CertificateDer::from(der);
            let Ok(anchor) = anchor_from_trusted_cert(&der) else { continue };
            let anchor = anchor.to_owned();
            if let Some(ca) = Ca::of(&der) {
                anchors.push(anchor);
                cas.push(ca);
            }
        }
        let digest = Fingerprint::of(&all);
        if cas.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        Ok(Self { anchors, cas, digest })
    }

    /// What tells it apart.
    #[must_use]
    pub const fn digest(&self) -> Fingerprint {
        self.digest
    }

    /// Each of them, DER encoded.
    pub(super) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.cas.iter().map(Ca::der)
    }

    /// Whether this very certificate is one of them.
    pub(super) fn has(&self, der: &[u8]) -> bool {
        self.cas.iter().any(|ca| *ca.der == *der)
    }
}

impl Ca {
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) const fn is_for_side(&self, side: Purpose) -> bool {
        self.purposes[side as usize]
    }

    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let constraints = certificate.basic_constraints().ok().flatten();
        // One of X.509 version 1 has no extensions to say so with.
        let is_ca = certificate.version().0 == 0
            || certificate.is_ca()
            || is_ca_by_usage_alone(&certificate);
        let subject = distinguished_name(certificate.subject());
        Some(Self {
            folded: folded(&subject),
            subject,
            raw_subject: certificate.subject().as_raw().into(),
            valid: validity(&certificate),
            may_sign: is_ca && may_sign(&certificate),
            purposes: [Purpose::Server, Purpose::Client]
                .map(|side| is_for_side(&certificate, side)),
            path_length: constraints
                .and_then(|constraints| constraints.value.path_len_constraint)
                .and_then(|length| usize::try_from(length).ok()),
            has_unusual_key: has_unusual_key(&certificate),
            der: der.clone().into_owned(),
        })
    }
}

/// When a certificate is valid: its last second counts (RFC 5280 section 4.1.2.5).
pub(super) fn validity(certificate: &X509Certificate<'_>) -> Range<i64> {
    let validity = certificate.validity();
    validity.not_before.timestamp()..validity.not_after.timestamp().saturating_add(1)
}

/// Whether its key may sign certificates: it may where `keyUsage` is absent.
pub(super) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    }
}

/// Whether `extKeyUsage` lets it be for this side of TLS: it does where it is absent. Any use is not this one
/// for OpenSSL.
pub(super) fn is_for_side(certificate: &X509Certificate<'_>, side: Purpose) -> bool {
    let Ok(usage) = certificate.extended_key_usage() else { return false };
    usage.is_none_or(|usage| match side {
        Purpose::Server => usage.value.server_auth,
        Purpose::Client => usage.value.client_auth,
    })
}

/// Whether nothing but the use of its key says that it is a CA, which is enough for OpenSSL where it is
/// trusted.
pub(super) fn is_ca_by_usage_alone(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    certificate.basic_constraints().is_ok_and(|constraints| constraints.is_none())
        && usage.is_some_and(|usage| usage.value.key_cert_sign())
}

/// Whether its key is one that nothing can be verified with here.
pub(super) fn has_unusual_key(certificate: &X509Certificate<'_>) -> bool {
    is_unusual(certificate.public_key())
}

/// Whether a key is RSA of a size that ring refuses, as if signatures by it were wrong.
pub(super) fn is_unusual(key: &SubjectPublicKeyInfo<'_>) -> bool {
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => !(2_048..=8_192).contains(&key.key_size()),
        _ => false,
    }
}

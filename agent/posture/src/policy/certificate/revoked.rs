//! Certificates that a revocation list names (RFC 5280 section 5).

use std::{cmp::Reverse, collections::BTreeMap};

use hopsight_core::tls::{
    certificate::serial, certificate_facts::CertificateFacts, fingerprint::Fingerprint,
    name::distinguished_name,
};
use x509_parser::{
    extensions::{IssuingDistributionPoint, ParsedExtension, X509Extension},
    oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT},
    pem::Pem,
    prelude::FromDer as _,
    revocation_list::{CertificateRevocationList, RevokedCertificate},
    x509::ReasonCode,
};

use super::{
    CertificateError,
    listed::{Asked, says},
    requested::folded,
};

/// Most lists of one file that are read, and most certificates that they name together.
const MAX_LISTS: usize = 64;
const MAX_REVOKED: usize = 65_536;

/// What the lists of one file revoke. Their signatures are not checked here: a proxy that is given a
/// list does so itself, and refuses the handshake under one that is not its issuer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub(super) lists: Vec<List>,
    digest: Fingerprint,
}

/// One of them. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    /// As names are compared.
    pub(super) issuer: String,
    /// Which key of its issuer signed it, where it says so.
    pub(super) key_id: Option<Box<[u8]>>,
    /// By serial number, when they were revoked; `None` where one is not any more.
    pub(super) at: BTreeMap<String, Option<i64>>,
    pub(super) scope: Scope,
    pub(super) der: Box<[u8]>,
    pub(super) this_update: i64,
    /// When there is to be a newer one; absent where it does not say.
    pub(super) next_update: Option<i64>,
}

/// Of which certificates of its issuer a list tells whether they are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Of those that are no CA's.
    EndEntities,
    /// Of those that are a CA's.
    Authorities,
    /// Only those that it names: it is a delta list, or of a part of them (RFC 5280 sections 5.2.4 and
    /// 5.2.5).
    Named,
    /// Of none: it names certificates of other issuers, or has to be understood in a way that is not
    /// known here.
    Nothing,
}

impl List {
    /// Whether who is not named by it is not revoked.
    pub(super) const fn is_of_all(&self, are_authorities: bool) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::EndEntities => !are_authorities,
            Scope::Authorities => are_authorities,
            Scope::Named | Scope::Nothing => false,
        }
    }
}

impl Revoked {
    /// Reads the lists of a PEM file, or the one of a DER file; certificates in it are passed over.
    ///
    /// # Errors
    /// When there is none, one cannot be parsed, or there are too many.
    pub fn read(file: &[u8]) -> Result<Self, CertificateError> {
        let digest = Fingerprint::of(file);
        let mut revoked = Self { lists: Vec::new(), digest };
        let mut lists = 0;
        for block in Pem::iter_from_buffer(file) {
            let block = block.map_err(|error| CertificateError::Pem(error.to_string()))?;
            if block.label == "X509 CRL" {
                lists += 1;
                revoked.add(&block.contents, lists)?;
            }
        }
        if lists == 0 {
            revoked.add(file, 1).map_err(|_| CertificateError::NoList)?;
        }
        Ok(revoked)
    }

    /// One certificate of this issuer, revoked then.
    #[cfg(test)]
    pub(in crate::policy) fn of(issuer: &str, serial: &str, at: i64) -> Self {
        let list = List {
            issuer: folded(issuer),
            key_id: None,
            at: [(serial.to_owned(), Some(at))].into(),
            scope: Scope::All,
            der: Box::default(),
            this_update: at,
            next_update: None,
        };
        Self { lists: vec![list], digest: Fingerprint::of(serial.as_bytes()) }
    }

    fn add(&mut self, der: &[u8], position: usize) -> Result<(), CertificateError> {
        let malformed = |problem: String| CertificateError::MalformedList { position, problem };
        let (_, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| malformed(error.to_string()))?;
        let known: usize = self.lists.iter().map(|list| list.at.len()).sum();
        if position > MAX_LISTS || known + count(&list) > MAX_REVOKED {
            return Err(CertificateError::TooManyRevoked);
        }
        let entry = |revoked: &RevokedCertificate<'_>| {
            let is_removed = |(_, reason)| reason == ReasonCode::RemoveFromCRL;
            let at = revoked.revocation_date.timestamp();
            let is_revoked = !revoked.reason_code().is_some_and(is_removed);
            (serial(revoked.raw_serial()), is_revoked.then_some(at))
        };
        let scope = scope(&list);
        let named = list.iter_revoked_certificates().filter(|_| scope != Scope::Nothing);
        self.lists.push(List {
            issuer: folded(&distinguished_name(list.issuer())),
            key_id: key_id(list.extensions()),
            at: named.map(entry).collect(),
            scope,
            der: der.into(),
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().map(|next| next.timestamp()),
        });
        Ok(())
    }

    /// What tells it apart.
    #[must_use]
    pub const fn digest(&self) -> Fingerprint {
        self.digest
    }

    /// How many lists there are.
    #[must_use]
    pub const fn lists(&self) -> usize {
        self.lists.len()
    }

    /// When this certificate was revoked, in seconds since the Unix epoch; `None` if it is not.
    #[must_use]
    pub fn revoked_at(&self, certificate: &CertificateFacts) -> Option<i64> {
        let lists = newest_first(self.lists.iter());
        says(&lists, &Asked::of(certificate), |_| Some(true)).ok()?.revoked_at
    }
}

/// Lists in the order in which they count.
pub(super) fn newest_first<'a>(lists: impl Iterator<Item = &'a List>) -> Vec<&'a List> {
    let mut lists: Vec<_> = lists.collect();
    lists.sort_by_key(|list| Reverse(list.this_update));
    lists
}

/// Of which certificates a list tells. Whoever does not know a critical extension may not go by it (RFC
/// 5280 sections 5.2 and 5.3).
fn scope(list: &CertificateRevocationList<'_>) -> Scope {
    let is_known = |extension: &X509Extension<'_>| {
        !extension.critical
            || matches!(
                extension.parsed_extension(),
                ParsedExtension::IssuingDistributionPoint(_)
                    | ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::CRLNumber(_)
                    | ParsedExtension::ReasonCode(_)
                    | ParsedExtension::InvalidityDate(_)
            )
            || extension.oid == OID_X509_EXT_DELTA_CRL_INDICATOR
    };
    let mut all = list
        .extensions()
        .iter()
        .chain(list.iter_revoked_certificates().flat_map(|one| one.extensions()));
    if !all.all(is_known) {
        return Scope::Nothing;
    }
    let mut scope = Scope::All;
    for extension in list.extensions() {
        if extension.oid == OID_X509_EXT_DELTA_CRL_INDICATOR {
            scope = Scope::Named;
        }
        if extension.oid != OID_X509_EXT_ISSUER_DISTRIBUTION_POINT {
            continue;
        }
        scope = match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => narrowed(scope, point),
            _ => Scope::Nothing,
        };
    }
    scope
}

fn narrowed(scope: Scope, point: &IssuingDistributionPoint<'_>) -> Scope {
    let is_of_a_part = point.distribution_point.is_some()
        || point.only_some_reasons.is_some()
        || point.only_contains_attribute_certs;
    match (point.only_contains_user_certs, point.only_contains_ca_certs) {
        _ if point.indirect_crl => Scope::Nothing,
        _ if is_of_a_part || scope != Scope::All => Scope::Named,
        (false, false) => Scope::All,
        (true, false) => Scope::EndEntities,
        (false, true) => Scope::Authorities,
        (true, true) => Scope::Named,
    }
}

/// The key of an issuer, as these extensions name it.
pub(super) fn key_id(extensions: &[X509Extension<'_>]) -> Option<Box<[u8]>> {
    extensions.iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.into()),
        _ => None,
    })
}

fn count(list: &CertificateRevocationList<'_>) -> usize {
    list.iter_revoked_certificates().count()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, DnType, Issuer, KeyIdMethod, KeyPair,
        KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::policy::certificate::read;

    fn issuer(name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::KeyCertSign];
        Issuer::new(params, KeyPair::generate().unwrap())
    }

    fn certificate(issuer: &Issuer<'_, KeyPair>, serial: u64) -> CertificateFacts {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        let signed = params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap();
        read(signed.pem().as_bytes()).unwrap().swap_remove(0)
    }

    fn list(issuer: &Issuer<'_, KeyPair>, serials: &[u64]) -> rcgen::CertificateRevocationList {
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 2, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 2, 2),
            next_update: date_time_ymd(2034, 2, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap()
    }

    #[test]
    fn a_certificate_is_revoked_by_its_issuer() {
        const FEBRUARY: i64 = 1_706_745_600;
        let (ours, other) = (issuer("Mesh CA"), issuer("Other CA"));
        let [empty, first, high] = [&[][..], &[7], &[200, 1 << 40]].map(|all| list(&ours, all));
        let both = first.pem().unwrap() + &list(&other, &[9]).pem().unwrap();
        let first_pem = first.pem().unwrap();
        for (name, file, certificate, expected) in [
            ("named", first_pem.as_bytes(), certificate(&ours, 7), Some(FEBRUARY)),
            ("in DER", first.der(), certificate(&ours, 7), Some(FEBRUARY)),
            ("not named", first_pem.as_bytes(), certificate(&ours, 8), None),
            ("another's", first_pem.as_bytes(), certificate(&other, 7), None),
            ("of two lists", both.as_bytes(), certificate(&other, 9), Some(FEBRUARY)),
            ("a number with its high bit set", high.der(), certificate(&ours, 200), Some(FEBRUARY)),
            ("a long number", high.der(), certificate(&ours, 1 << 40), Some(FEBRUARY)),
            ("an empty list", empty.der(), certificate(&ours, 7), None),
        ] {
            assert_eq!(Revoked::read(file).unwrap().revoked_at(&certificate), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_list_is_told() {
        let nonsense = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        for (name, file, expected) in [
            ("nothing", "", "there is no revocation list in it"),
            ("text", "-----hello", "there is no revocation list in it"),
            ("not ASN.1", nonsense, "revocation list 1 cannot be read"),
        ] {
            let error = Revoked::read(file.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
    }
}

//! Certificates that a revocation list names (RFC 5280 section 5).

use hopsight_core::tls::{
    certificate::serial, certificate_facts::CertificateFacts, fingerprint::Fingerprint,
    name::distinguished_name,
};
use x509_parser::{
    pem::Pem,
    prelude::FromDer as _,
    revocation_list::{CertificateRevocationList, RevokedCertificate},
    x509::ReasonCode,
};

use super::{
    CertificateError,
    list::{List, Scope, key_id, newest_first, scope},
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

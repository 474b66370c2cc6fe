//! What revocation lists say of certificates (RFC 5280 section 6.3).

use hopsight_core::tls::{
    certificate::{Chain, serial},
    certificate_facts::CertificateFacts,
    name::distinguished_name,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    RevocationReason,
    list::{List, Scope, key_id},
    requested::folded,
    signature::Signed,
};

/// A certificate of which lists are asked.
#[derive(Debug)]
pub(super) struct Asked {
    /// As names are compared.
    issuer: String,
    serial: String,
    /// Which key of its issuer signed it, where that is known.
    key_id: Option<Box<[u8]>>,
    is_authority: bool,
}

impl Asked {
    /// An end entity's.
    pub(super) fn of(facts: &CertificateFacts) -> Self {
        Self::named(&facts.issuer, &facts.serial, false)
    }

    fn named(issuer: &str, serial: &str, is_authority: bool) -> Self {
        let (issuer, serial) = (folded(issuer), serial.to_owned());
        Self { issuer, serial, key_id: None, is_authority }
    }

    fn certificate(certificate: &X509Certificate<'_>, is_authority: bool) -> Self {
        let issuer = distinguished_name(certificate.issuer());
        let key_id = key_id(certificate.extensions());
        Self { key_id, ..Self::named(&issuer, &serial(certificate.raw_serial()), is_authority) }
    }

    /// What was presented, the end entity's first.
    pub(super) fn all(facts: &CertificateFacts, chain: Option<&Chain>) -> Vec<Self> {
        let Some(chain) = chain else {
            let behind = facts.issuers.iter();
            let behind = behind.map(|one| Self::named(&one.issuer, &one.serial, true));
            return std::iter::once(Self::of(facts)).chain(behind).collect();
        };
        let ders = std::iter::once(&chain.end_entity).chain(&chain.issuers).enumerate();
        ders.filter_map(|(at, der)| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(Self::certificate(&certificate, at > 0))
        })
        .collect()
    }

    /// Whether a list has its issuer's name.
    pub(super) fn has_issuer_of(&self, list: &List) -> bool {
        self.issuer == list.issuer
    }
}

/// A list that tells of a certificate.
#[derive(Debug)]
pub(super) struct Said<'l> {
    pub(super) list: &'l List,
    /// When it was revoked, in seconds since the Unix epoch; `None` if it is not.
    pub(super) revoked_at: Option<i64>,
}

/// What `lists` say, of which the newest come first: what the newest whole one of the certificate's issuer
/// does, and what is newer than that. `is_by` says whether a list that has the issuer's name is the
/// issuer's, if that is known.
pub(super) fn says<'l>(
    lists: &[&'l List],
    asked: &Asked,
    is_by: impl Fn(&List) -> Option<bool>,
) -> Result<Said<'l>, RevocationReason> {
    let mut reason = RevocationReason::NoList;
    let (mut is_removed, mut is_open) = (false, false);
    for list in lists.iter().filter(|list| asked.has_issuer_of(list)) {
        let entry = list.at.get(&asked.serial);
        if entry.is_none() && list.scope == Scope::Named {
            reason = RevocationReason::NotFollowed;
            continue;
        }
        match is_by(list) {
            Some(true) if list.scope != Scope::Nothing => {}
            Some(false) => {
                if reason == RevocationReason::NoList {
                    reason = RevocationReason::ListNotSigned;
                }
                continue;
            }
            Some(true) | None => {
                (reason, is_open) = (RevocationReason::NotFollowed, true);
                continue;
            }
        }
        match entry {
            Some(Some(at)) if !is_removed => {
                return Ok(Said { list, revoked_at: Some(*at) });
            }
            Some(None) => is_removed = true,
            _ => {}
        }
        if list.is_of_all(asked.is_authority) {
            // One that is newer may say otherwise.
            let said = Said { list, revoked_at: None };
            return if is_open { Err(RevocationReason::NotFollowed) } else { Ok(said) };
        }
        reason = RevocationReason::NotFollowed;
    }
    Err(reason)
}

/// What lists say of a path, of which each certificate signed the one before. A list counts if the next
/// one signed it.
pub(super) fn by_signature<'l>(
    path: &[Vec<u8>],
    lists: &[&'l List],
) -> Result<Said<'l>, RevocationReason> {
    const UNREADABLE: RevocationReason = RevocationReason::NotFollowed;
    let mut own = None;
    for (at, pair) in path.windows(2).enumerate() {
        let [der, above] = pair else { continue };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| UNREADABLE)?;
        let (_, issuer) = X509Certificate::from_der(above).map_err(|_| UNREADABLE)?;
        let usage = issuer.key_usage().ok().flatten();
        let may_sign = usage.is_none_or(|usage| usage.value.crl_sign());
        let is_by = |list: &List| {
            Signed::read(&list.der)?.is_by(issuer.public_key()).filter(|is_by| may_sign || !is_by)
        };
        let said = says(lists, &Asked::certificate(&certificate, at > 0), is_by);
        let is_revoked = said.as_ref().is_ok_and(|said| said.revoked_at.is_some());
        if is_revoked {
            return said;
        }
        own.get_or_insert(said);
    }
    own.unwrap_or(Err(UNREADABLE))
}

/// What lists say of what was presented, of which the end entity's comes first, by the names of issuers,
/// and of their keys where both sides say which.
pub(super) fn by_name<'l>(
    presented: &[Asked],
    lists: &[&'l List],
) -> Result<Said<'l>, RevocationReason> {
    let mut own = None;
    for asked in presented {
        let of_its_issuer = || lists.iter().filter(|list| asked.has_issuer_of(list));
        let mut keys = of_its_issuer().filter_map(|list| list.key_id.as_deref());
        let first = keys.next();
        // Of an issuer with several keys it has to be known whose lists count.
        let has_several_keys = keys.any(|key| Some(key) != first);
        let is_by = |list: &List| match (&asked.key_id, &list.key_id) {
            (Some(own), Some(signer)) => Some(own == signer),
            _ if has_several_keys => None,
            _ => Some(true),
        };
        let said = says(lists, asked, is_by);
        let is_revoked = said.as_ref().is_ok_and(|said| said.revoked_at.is_some());
        if is_revoked {
            return said;
        }
        own.get_or_insert(said);
    }
    own.unwrap_or(Err(RevocationReason::NotFollowed))
}

//! A revocation list, and which certificates it tells of.

use std::{cmp::Reverse, collections::BTreeMap};

use x509_parser::{
    extensions::{IssuingDistributionPoint, ParsedExtension, X509Extension},
    oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT},
    revocation_list::CertificateRevocationList,
};

/// A list. Times are seconds since the Unix epoch.
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

/// Lists in the order in which they count.
pub(super) fn newest_first<'a>(lists: impl Iterator<Item = &'a List>) -> Vec<&'a List> {
    let mut lists: Vec<_> = lists.collect();
    lists.sort_by_key(|list| Reverse(list.this_update));
    lists
}

/// Of which certificates a list tells. Whoever does not know a critical extension may not go by it (RFC
/// 5280 sections 5.2 and 5.3).
pub(super) fn scope(list: &CertificateRevocationList<'_>) -> Scope {
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

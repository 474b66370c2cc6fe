//! Why what was presented does not lead to what is trusted, or why nobody can say.

use hopsight_core::tls::{certificate::Chain, name::distinguished_name};
use webpki::Error;
use x509_parser::{
    asn1_rs::{Oid, oid},
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer as _,
};

use super::{
    ChainWord, Trust,
    requested::folded,
    signature::has_signed,
    trust::{Ca, has_unusual_key, validity},
};

/// Trusted CAs of one name that are tried as issuers: each takes the checking of a signature.
const MAX_NAMESAKES: usize = 16;
/// Characters of a name in a message.
pub(super) const MAX_NAME: usize = 200;

/// Where it leads instead, and why, for people.
pub(super) type Refusal = (ChainWord, String);

/// What was presented, and what the other side trusts.
pub(super) struct Case<'a> {
    pub(super) chain: &'a Chain,
    pub(super) trust: &'a Trust,
    /// Seconds since the Unix epoch.
    pub(super) now: i64,
    /// The end entity's first.
    pub(super) certificates: &'a [X509Certificate<'a>],
}

impl Case<'_> {
    /// What this error of the verifier says.
    pub(super) fn refused(&self, error: &Error) -> Refusal {
        let subject = name_of(&self.certificates[0]);
        match error {
            Error::UnknownIssuer => self.ends_early(),
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
                let presented = self.certificates.iter().map(|one| (name_of(one), validity(one)));
                let trusted = self.trust.cas.iter().map(|ca| (cut(&ca.subject), ca.valid.clone()));
                let mut all = presented.chain(trusted);
                let ended = all.find(|(_, valid)| !valid.contains(&self.now));
                outside_of_validity(&ended.map_or(subject, |(name, _)| name))
            }
            Error::RequiredEkuNotFoundContext(_) if self.any(allows_more) => (
                ChainWord::Unknown,
                "some take a use that a certificate allows for this".to_owned(),
            ),
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                wrong_usage(&subject)
            }
            Error::CaUsedAsEndEntity if self.vouches_for_itself() => leads_elsewhere(&subject),
            Error::EndEntityUsedAsCa => (
                ChainWord::WrongUsage,
                format!("\"{subject}\" was issued by what may not issue certificates"),
            ),
            Error::NameConstraintViolation if self.any(has_unusual_constraints) => (
                ChainWord::Unknown,
                "a CA has constraints on names that are not followed".to_owned(),
            ),
            Error::NameConstraintViolation => (
                ChainWord::NameConstraints,
                format!("a CA may not issue certificates for the names of \"{subject}\""),
            ),
            Error::PathLenConstraintViolated => (
                ChainWord::TooLong,
                format!("there are more CAs above \"{subject}\" than one allows"),
            ),
            Error::InvalidSignatureForPublicKey if !self.has_unusual_key() => (
                ChainWord::NotSigned,
                "a certificate was not signed by the issuer it names".to_owned(),
            ),
            _ => (ChainWord::Unknown, format!("it cannot be followed: {error}")),
        }
    }

    /// Where the chain ends before a CA that is trusted.
    fn ends_early(&self) -> Refusal {
        let mut current = &self.certificates[0];
        for _ in 0..self.certificates.len() {
            let (subject, missing) = (name_of(current), distinguished_name(current.issuer()));
            // Whether names are the same that are written in two ways is for the proxy to say.
            if self.is_signed_under_another_spelling(current) {
                let problem = "a CA has a name that is written in two ways".to_owned();
                return (ChainWord::Unknown, problem);
            }
            if is_self_issued(current) {
                return leads_elsewhere(&subject);
            }
            if self.trust.cas.iter().any(|ca| *ca.raw_subject == *current.issuer().as_raw()) {
                let problem =
                    format!("\"{subject}\" was not signed by the trusted CA of that name");
                return (ChainWord::NotSigned, problem);
            }
            let is_next =
                |one: &&X509Certificate<'_>| one.subject().as_raw() == current.issuer().as_raw();
            match self.certificates[1..].iter().find(is_next) {
                Some(next) => current = next,
                None if !self.chain.is_whole() => {
                    return (ChainWord::Unknown, "the chain is longer than is kept".to_owned());
                }
                None => {
                    let missing = cut(&missing);
                    let problem = format!(
                        "its chain ends before a trusted CA: \"{missing}\" is neither sent nor trusted"
                    );
                    return (ChainWord::Incomplete, problem);
                }
            }
        }
        (ChainWord::Unknown, "its certificates name each other as issuers".to_owned())
    }

    /// Whether one that was sent or is trusted has the issuer's name in another spelling (RFC 5280 section
    /// 7.1), which the verifier takes for another name, and may have signed it.
    fn is_signed_under_another_spelling(&self, certificate: &X509Certificate<'_>) -> bool {
        let wanted = folded(&distinguished_name(certificate.issuer()));
        let may_have_signed = |one: &X509Certificate<'_>| {
            one.subject().as_raw() != certificate.issuer().as_raw()
                && folded(&distinguished_name(one.subject())) == wanted
                && has_signed(one, certificate) != Some(false)
        };
        let namesakes = self.trust.cas.iter().filter(|ca| ca.folded == wanted);
        let namesakes = namesakes.take(MAX_NAMESAKES).map(Ca::der);
        let is_by_one =
            |der| X509Certificate::from_der(der).is_ok_and(|(_, ca)| may_have_signed(&ca));
        self.certificates[1..].iter().any(may_have_signed) || namesakes.into_iter().any(is_by_one)
    }

    /// Whether only itself can have signed it: no other that was sent or is trusted has its issuer's name.
    fn vouches_for_itself(&self) -> bool {
        let own = &self.certificates[0];
        let wanted = folded(&distinguished_name(own.issuer()));
        let mut sent = self.certificates[1..].iter().map(|one| distinguished_name(one.subject()));
        is_self_issued(own)
            && !sent.any(|name| folded(&name) == wanted)
            && !self.trust.cas.iter().any(|ca| ca.folded == wanted)
    }

    /// Whether one that may have issued any of those that were sent, by its name, is so.
    pub(super) fn any_issuer(&self, is_so: impl Fn(&X509Certificate<'_>) -> bool) -> bool {
        let has_issued = |one: &X509Certificate<'_>| {
            let mut sent = self.certificates.iter();
            sent.any(|sent| sent.issuer().as_raw() == one.subject().as_raw())
        };
        self.any(|one| has_issued(one) && is_so(one))
    }

    /// Whether any certificate that was sent or is trusted is so.
    fn any(&self, is_so: impl Fn(&X509Certificate<'_>) -> bool) -> bool {
        let is_trusted_so = |der| X509Certificate::from_der(der).is_ok_and(|(_, one)| is_so(&one));
        self.certificates.iter().any(&is_so) || self.trust.ders().any(is_trusted_so)
    }

    /// Whether a key may be to blame for a signature that seems wrong.
    fn has_unusual_key(&self) -> bool {
        self.certificates.iter().any(has_unusual_key)
            || self.trust.cas.iter().any(|ca| ca.has_unusual_key)
    }
}

/// Whether it may be used for anything, which Go takes for this use and OpenSSL does not, or for Server
/// Gated Cryptography, which is a server's to OpenSSL.
fn allows_more(certificate: &X509Certificate<'_>) -> bool {
    const GATED: [Oid<'_>; 2] = [oid!(2.16.840.1.113730.4.1), oid!(1.3.6.1.4.1.311.10.3.3)];
    let usage = certificate.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| {
        usage.value.any || usage.value.other.iter().any(|other| GATED.contains(other))
    })
}

/// Whether it is a CA for certain names only.
pub(super) fn has_constraints(certificate: &X509Certificate<'_>) -> bool {
    certificate.name_constraints().map_or(true, |constraints| constraints.is_some())
}

/// Whether it constrains names of other kinds than the verifier knows.
fn has_unusual_constraints(certificate: &X509Certificate<'_>) -> bool {
    let constraints = certificate.name_constraints().ok().flatten();
    let all = constraints.iter().flat_map(|one| {
        let trees = [&one.value.permitted_subtrees, &one.value.excluded_subtrees];
        trees.into_iter().flatten().flatten()
    });
    all.into_iter()
        .any(|tree| !matches!(tree.base, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
}

pub(super) fn outside_of_validity(subject: &str) -> Refusal {
    (ChainWord::NotValidNow, format!("\"{subject}\" was outside of its validity"))
}

pub(super) fn wrong_usage(subject: &str) -> Refusal {
    (ChainWord::WrongUsage, format!("\"{subject}\" may not be used for this side of TLS"))
}

fn leads_elsewhere(subject: &str) -> Refusal {
    (ChainWord::OtherCa, format!("it leads to \"{subject}\", which is not trusted"))
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

pub(super) fn name_of(certificate: &X509Certificate<'_>) -> String {
    cut(&distinguished_name(certificate.subject()))
}

pub(super) fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

//! Whether what one side presented chains to what the other trusts (RFC 5280 section 6), as webpki
//! answers. It bounds what a chain may cost: 100 signatures and 200,000 steps.

use std::{ops::Range, time::Duration};

use hopsight_core::tls::{certificate::Chain, name::distinguished_name};
use rustls_pki_types::{CertificateDer, ServerName};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{
    ChainWord, Trust,
    requested::folded,
    trust::{Ca, has_unusual_key, may_sign, validity},
};
use crate::policy::time::UnixTime;

/// Longest certificate that is verified, in bytes.
const MAX_DER: usize = 16 * 1024;
/// Characters of a name in a message.
const MAX_NAME: usize = 200;

/// What a certificate is presented for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To be a TLS server.
    Server,
    /// To be a TLS client.
    Client,
}

/// Where what was presented leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFinding {
    /// In a word.
    pub answer: ChainWord,
    /// Why it does not lead to what is trusted, or why nobody can say, for people.
    pub problem: Option<String>,
    /// At which times the answer is this one, in seconds since the Unix epoch.
    pub stands: Range<i64>,
}

impl ChainFinding {
    /// It cannot be told, because of this.
    #[must_use]
    pub fn unknown(problem: impl Into<String>) -> Self {
        let problem = Some(problem.into());
        Self { answer: ChainWord::Unknown, problem, stands: i64::MIN..i64::MAX }
    }

    /// Whether it does not lead to what is trusted, of which one can be sure.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.answer.is_broken()
    }
}

/// Follows `chain` to one of the CAs in `trust`, at the time of the handshake. Of `names` one has to be
/// the certificate's; none is asked for where there are none.
#[must_use]
pub fn presented(
    chain: &Chain,
    trust: &Trust,
    names: &[String],
    purpose: Purpose,
    at: UnixTime,
) -> ChainFinding {
    let ders = || std::iter::once(&chain.end_entity).chain(&chain.issuers);
    if ders().any(|der| der.len() > MAX_DER) {
        return ChainFinding::unknown("a certificate is too large to be verified");
    }
    let parsed: Option<Vec<_>> =
        ders().map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
    let Some(certificates) = parsed else {
        return ChainFinding::unknown("a certificate cannot be read");
    };
    let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let verifier = Verifier { chain, trust, names, purpose, at, now, certificates: &certificates };
    let (answer, problem) = match verifier.answer() {
        Ok(()) => (ChainWord::Trusted, None),
        Err((answer, problem)) => (answer, Some(problem)),
    };
    ChainFinding { answer, problem, stands: verifier.stands() }
}

type Refusal = (ChainWord, String);

struct Verifier<'a> {
    chain: &'a Chain,
    trust: &'a Trust,
    names: &'a [String],
    purpose: Purpose,
    at: UnixTime,
    now: i64,
    /// The end entity's first.
    certificates: &'a [X509Certificate<'a>],
}

impl Verifier<'_> {
    fn answer(&self) -> Result<(), Refusal> {
        let own = &self.certificates[0];
        let subject = name_of(own);
        if !validity(own).contains(&self.now) {
            return Err(outside_of_validity(&subject));
        }
        self.may_be_used(own, &subject)?;
        let der = CertificateDer::from(&*self.chain.end_entity);
        let end_entity = EndEntityCert::try_from(&der).map_err(|error| self.refused(&error))?;
        // A certificate that is trusted itself needs nobody to vouch for it.
        if !self.trust.has(&der) {
            self.leads_to_trust(&end_entity).map_err(|error| self.refused(&error))?;
        }
        let fits = |name: &String| is_for(own, &end_entity, name);
        if self.names.is_empty() || self.names.iter().any(fits) {
            return Ok(());
        }
        let names = self.names.join("\", \"");
        let names: String = names.chars().take(MAX_NAME).collect();
        Err((ChainWord::WrongName, format!("\"{subject}\" is not for \"{names}\"")))
    }

    fn leads_to_trust(&self, end_entity: &EndEntityCert<'_>) -> Result<(), Error> {
        let issuers: Vec<_> =
            self.chain.issuers.iter().map(|der| CertificateDer::from(&**der)).collect();
        let usage = match self.purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let since_epoch = Duration::from_secs(self.at.as_secs());
        let path = end_entity.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.trust.anchors,
            &issuers,
            rustls_pki_types::UnixTime::since_unix_epoch(since_epoch),
            usage,
            None,
            Some(&|path: &VerifiedPath<'_>| self.is_allowed(path)),
        );
        path.map(|_| ())
    }

    /// What webpki leaves to others: whether the keys above may sign certificates, and what the CA at
    /// the end says of itself.
    fn is_allowed(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        let mut below = 0;
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let (_, issuer) = X509Certificate::from_der(&der).map_err(|_| Error::BadDer)?;
            if !may_sign(&issuer) {
                return Err(Error::EndEntityUsedAsCa);
            }
            below += usize::from(!is_self_issued(&issuer));
        }
        let Trust { anchors, cas, .. } = self.trust;
        // A CA may stand there twice with one key: it was renewed.
        let ends = anchors.iter().zip(cas).filter(|(anchor, _)| *anchor == path.anchor());
        let mut answer = Err(Error::UnknownIssuer);
        for (_, ca) in ends {
            answer = self.may_end_at(ca, below);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    fn may_end_at(&self, ca: &Ca, below: usize) -> Result<(), Error> {
        if !ca.valid.contains(&self.now) {
            let time = |seconds| {
                let seconds = u64::try_from(seconds).unwrap_or_default();
                rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds))
            };
            return Err(Error::CertExpired { time: time(self.now), not_after: time(ca.valid.end) });
        }
        if !ca.may_sign {
            return Err(Error::EndEntityUsedAsCa);
        }
        if ca.path_length.is_some_and(|most| below > most) {
            return Err(Error::PathLenConstraintViolated);
        }
        Ok(())
    }

    /// Whether `keyUsage` allows what is done (OpenSSL's `X509_check_purpose`), which webpki leaves
    /// alone.
    fn may_be_used(&self, own: &X509Certificate<'_>, subject: &str) -> Result<(), Refusal> {
        let Ok(Some(usage)) = own.key_usage() else { return Ok(()) };
        let usage = usage.value;
        let is_allowed = match self.purpose {
            Purpose::Server => {
                usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
            }
            Purpose::Client => usage.digital_signature() || usage.key_agreement(),
        };
        if is_allowed { Ok(()) } else { Err(wrong_usage(subject)) }
    }

    fn refused(&self, error: &Error) -> Refusal {
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
            // Go takes any use for this one, OpenSSL does not.
            Error::RequiredEkuNotFoundContext(_) if self.any(allows_any_use) => {
                (ChainWord::Unknown, "a certificate may be used for anything".to_owned())
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                wrong_usage(&subject)
            }
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
            if is_self_issued(current) {
                let problem = format!("it leads to \"{subject}\", which is not trusted");
                return (ChainWord::OtherCa, problem);
            }
            let wanted = folded(&missing);
            let mut namesakes =
                self.trust.cas.iter().filter(|ca| folded(&ca.subject) == wanted).peekable();
            if namesakes.peek().is_some() {
                // Whether names are the same that are written in two ways is for the proxy to say.
                if namesakes.all(|ca| *ca.raw_subject != *current.issuer().as_raw()) {
                    let problem = "a CA has a name that is written in two ways".to_owned();
                    return (ChainWord::Unknown, problem);
                }
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

    /// The times around `now` in which no certificate begins or ends.
    fn stands(&self) -> Range<i64> {
        let presented = self.certificates.iter().map(validity);
        let all = presented.chain(self.trust.cas.iter().map(|ca| ca.valid.clone()));
        all.flat_map(|valid| [valid.start, valid.end]).fold(i64::MIN..i64::MAX, |stands, turn| {
            if turn <= self.now {
                stands.start.max(turn)..stands.end
            } else {
                stands.start..stands.end.min(turn)
            }
        })
    }
}

fn allows_any_use(certificate: &X509Certificate<'_>) -> bool {
    certificate.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.any)
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

fn outside_of_validity(subject: &str) -> Refusal {
    (ChainWord::NotValidNow, format!("\"{subject}\" was outside of its validity"))
}

fn wrong_usage(subject: &str) -> Refusal {
    (ChainWord::WrongUsage, format!("\"{subject}\" may not be used for this side of TLS"))
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn name_of(certificate: &X509Certificate<'_>) -> String {
    cut(&distinguished_name(certificate.subject()))
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// Whether the certificate is for this name. Where it names no DNS name or address at all, its common
/// name counts, as it does for OpenSSL: whoever does not take that refuses by itself.
fn is_for(own: &X509Certificate<'_>, end_entity: &EndEntityCert<'_>, name: &str) -> bool {
    if ServerName::try_from(name)
        .is_ok_and(|name| end_entity.verify_is_valid_for_subject_name(&name).is_ok())
    {
        return true;
    }
    let sans = own.subject_alternative_name().ok().flatten();
    let sans = || sans.iter().flat_map(|sans| &sans.value.general_names);
    // Envoy asks for names of these kinds as well.
    let is_it = |san: &GeneralName<'_>| matches!(san, GeneralName::URI(one) | GeneralName::RFC822Name(one) if *one == name);
    if sans().any(is_it) {
        return true;
    }
    let mut dns = sans().filter_map(|san| match san {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    if let Some(first) = dns.next() {
        // What is no name of a host, such as one with an underscore, may still be written there.
        return std::iter::once(first).chain(dns).any(|san| covers(san, name));
    }
    let mut common = own.subject().iter_common_name();
    common.any(|common| common.as_str().is_ok_and(|common| covers(common, name)))
}

/// Whether a name in a certificate is this one, or stands for it by a `*` as its first label.
fn covers(san: &str, name: &str) -> bool {
    let by_wildcard = || {
        let (san, (label, rest)) = (san.strip_prefix("*.")?, name.split_once('.')?);
        Some(!label.is_empty() && san.contains('.') && san.eq_ignore_ascii_case(rest))
    };
    san.eq_ignore_ascii_case(name) || by_wildcard().unwrap_or(false)
}

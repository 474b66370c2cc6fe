//! Whether what one side presented chains to what the other trusts (RFC 5280 section 6), as webpki
//! answers. It bounds what a chain may cost: 100 signatures and 200,000 steps.

use std::{ops::Range, time::Duration};

use hopsight_core::tls::certificate::Chain;
use rustls_pki_types::CertificateDer;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    ChainWord, Trust,
    named::{has_dns_names, is_common_name, is_for},
    refused::{
        Case, MAX_NAME, Refusal, has_constraints, is_self_issued, name_of, outside_of_validity,
        wrong_usage,
    },
    trust::{Ca, is_for_side, may_sign, validity},
};
use crate::policy::time::UnixTime;

/// Longest certificate that is verified, in bytes.
const MAX_DER: usize = 16 * 1024;

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
    let case = Case { chain, trust, now, certificates: &certificates };
    let verifier = Verifier { case, names, purpose, at };
    let (answer, problem) = match verifier.answer() {
        Ok(()) => (ChainWord::Trusted, None),
        Err((answer, problem)) => (answer, Some(problem)),
    };
    ChainFinding { answer, problem, stands: verifier.stands() }
}

/// What is asked of a chain.
struct Verifier<'a> {
    case: Case<'a>,
    names: &'a [String],
    purpose: Purpose,
    at: UnixTime,
}

impl Verifier<'_> {
    fn answer(&self) -> Result<(), Refusal> {
        let own = &self.case.certificates[0];
        let subject = name_of(own);
        if !validity(own).contains(&self.case.now) {
            return Err(outside_of_validity(&subject));
        }
        self.may_be_used(own, &subject)?;
        let der = CertificateDer::from(&*self.case.chain.end_entity);
        let end_entity =
            EndEntityCert::try_from(&der).map_err(|error| self.case.refused(&error))?;
        // A certificate that is trusted itself needs nobody to vouch for it.
        if !self.case.trust.has(&der) {
            self.leads_to_trust(&end_entity).map_err(|error| self.case.refused(&error))?;
        } else if !is_for_side(own, self.purpose) {
            return Err(self.case.refused(&Error::EmptyEkuExtension));
        }
        let fits = |name: &String| is_for(own, &end_entity, name);
        if self.names.is_empty() || self.names.iter().any(fits) {
            // OpenSSL holds a common name to them where there is no DNS name.
            if !self.names.is_empty()
                && !has_dns_names(own)
                && self.case.any_issuer(has_constraints)
            {
                let problem =
                    "a CA is for certain names, and its certificate has a common name alone"
                        .to_owned();
                return Err((ChainWord::Unknown, problem));
            }
            return Ok(());
        }
        // haproxy and Apache take it beside DNS names, OpenSSL and Go do not.
        if self.names.iter().any(|name| is_common_name(own, name)) {
            let problem = format!("only the common name of \"{subject}\" is for it");
            return Err((ChainWord::Unknown, problem));
        }
        let names = self.names.join("\", \"");
        let names: String = names.chars().take(MAX_NAME).collect();
        Err((ChainWord::WrongName, format!("\"{subject}\" is not for \"{names}\"")))
    }

    fn leads_to_trust(&self, end_entity: &EndEntityCert<'_>) -> Result<(), Error> {
        let issuers: Vec<_> =
            self.case.chain.issuers.iter().map(|der| CertificateDer::from(&**der)).collect();
        let usage = match self.purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let since_epoch = Duration::from_secs(self.at.as_secs());
        let path = end_entity.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.case.trust.anchors,
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
        let Trust { anchors, cas, .. } = self.case.trust;
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
        if !ca.valid.contains(&self.case.now) {
            let time = |seconds| {
                let seconds = u64::try_from(seconds).unwrap_or_default();
                rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds))
            };
            return Err(Error::CertExpired {
                time: time(self.case.now),
                not_after: time(ca.valid.end),
            });
        }
        if !ca.may_sign {
            return Err(Error::EndEntityUsedAsCa);
        }
        if !ca.is_for_side(self.purpose) {
            return Err(Error::EmptyEkuExtension);
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

    /// The times around `now` in which no certificate begins or ends.
    fn stands(&self) -> Range<i64> {
        let presented = self.case.certificates.iter().map(validity);
        let all = presented.chain(self.case.trust.cas.iter().map(|ca| ca.valid.clone()));
        all.flat_map(|valid| [valid.start, valid.end]).fold(i64::MIN..i64::MAX, |stands, turn| {
            if turn <= self.case.now {
                stands.start.max(turn)..stands.end
            } else {
                stands.start..stands.end.min(turn)
            }
        })
    }
}

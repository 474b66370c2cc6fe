//! Whether certificates that were presented are revoked, by the lists at hand (RFC 5280 section 6.3).

use std::{ops::Range, sync::Arc, time::Duration};

use hopsight_core::{
    tls::{certificate::Chain, certificate_facts::CertificateFacts},
    vocabulary,
};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use webpki::{
    ALL_VERIFICATION_ALGS, BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error,
    ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

use super::{
    Purpose, Revoked, Trust,
    revoked::{List, in_force, newest_first},
    staple::{Stapled, stapled},
};
use crate::policy::time::UnixTime;

vocabulary! {
    /// Whether a certificate is revoked.
    RevocationWord {
        /// It is, or a CA above it that was sent with it.
        Revoked => "revoked",
        /// The list of its issuer is in force and does not name it, or a response that came with it
        /// says so.
        Good => "good",
        /// It cannot be told.
        Unknown => "unknown",
    }
}

vocabulary! {
    /// Why nobody can tell whether a certificate is revoked.
    RevocationReason {
        /// There is no list of its issuer.
        NoList => "no_list",
        /// The list of its issuer should have been replaced by a newer one.
        ListEnded => "list_ended",
        /// The list that has its issuer's name was not signed by it.
        ListNotSigned => "list_not_signed",
        /// It does not lead to what is trusted, so that nobody knows whose lists speak of it.
        ChainBroken => "chain_broken",
        /// The list, or the chain, is one that the verifier does not follow.
        NotFollowed => "not_followed",
        /// The OCSP response that came with it is not in force at that time.
        StapleNotInForce => "staple_not_in_force",
        /// Neither its issuer nor whom that lets do so signed the response.
        StapleNotSigned => "staple_not_signed",
        /// The response is about another certificate.
        StapleOfAnother => "staple_of_another",
        /// It is signed for its issuer, but the certificate is not known to lead to a CA that is trusted.
        StapleNotTrusted => "staple_not_trusted",
        /// The responder does not know it, or had no answer.
        StapleUnknown => "staple_unknown",
    }
}

vocabulary! {
    /// What says whether a certificate is revoked.
    RevocationSource {
        /// A list.
        List => "list",
        /// An OCSP response that came with it in the handshake.
        Staple => "staple",
    }
}

/// Whether a certificate is revoked, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// In a word.
    pub answer: RevocationWord,
    /// Why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RevocationReason>,
    /// What says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<RevocationSource>,
    /// When the list or the response was issued that says so, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<i64>,
    /// When the certificate was revoked, by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<i64>,
}

/// The same, and at which times it is so, in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFinding {
    /// The answer.
    pub says: Revocation,
    /// At which times it is this one.
    pub stands: Range<i64>,
}

/// What was presented.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Facts of it.
    pub facts: &'a CertificateFacts,
    /// The certificates themselves, where they were kept.
    pub chain: Option<&'a Chain>,
    /// What for.
    pub purpose: Purpose,
    /// The OCSP response that came with it.
    pub staple: Option<&'a [u8]>,
    /// Whether it leads to what the other side trusts.
    pub standing: Standing,
}

/// Whether what was presented leads to what the other side trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It does.
    Trusted,
    /// Nobody knows.
    Unknown,
    /// It does not: whose lists speak of it nobody knows.
    Broken,
}

/// Looks what was presented up in `lists`, and in the response that came with it, which has to be
/// signed for its issuer and vouches for nobody who is not trusted. What either revokes is revoked. Where
/// it leads to one of `trusts`, the list's signature is checked as well; elsewhere its issuer's name has to
/// do: who gave the agent the list vouches for it.
#[must_use]
pub fn revocation(
    shown: Shown<'_>,
    trusts: &[Arc<Trust>],
    lists: &[Arc<Revoked>],
    at: UnixTime,
) -> RevocationFinding {
    let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let facts = shown.facts;
    let issuers = facts.issuers.iter().map(|issuer| &issuer.issuer);
    let names: Vec<_> = std::iter::once(&facts.issuer).chain(issuers).collect();
    let lists_of = lists.iter().flat_map(|lists| &lists.lists);
    let is_relevant = |list: &&List| names.contains(&&list.issuer) && list.this_update <= now;
    // Of several of one issuer the newest counts.
    let relevant = newest_first(lists_of.filter(is_relevant));
    let verified = || trusts.iter().find_map(|trust| verified(shown, trust, &relevant, at));
    let answer = match verified().unwrap_or_else(|| by_name(facts, &relevant, now)) {
        Ok(RevocationWord::Good) if shown.standing == Standing::Broken => {
            Err(RevocationReason::ChainBroken)
        }
        answer => answer,
    };
    let own = relevant.iter().find(|list| list.issuer == facts.issuer && list.is_whole);
    let revoked_at = revoked_at(facts, &relevant);
    let says = match answer {
        Ok(RevocationWord::Revoked) => Revocation {
            answer: RevocationWord::Revoked,
            reason: None,
            by: Some(RevocationSource::List),
            as_of: relevant.first().map(|list| list.this_update),
            revoked_at,
        },
        Ok(answer) => {
            let as_of = own.map(|list| list.this_update);
            let by = Some(RevocationSource::List);
            Revocation { answer, reason: None, by, as_of, revoked_at: None }
        }
        Err(reason) => Revocation {
            answer: RevocationWord::Unknown,
            reason: Some(reason),
            by: None,
            as_of: own.map(|list| list.this_update),
            revoked_at: None,
        },
    };
    let ends = relevant.iter().filter_map(|list| list.next_update);
    let stands = ends.chain([facts.not_after]).fold(i64::MIN..i64::MAX, |stands, turn| {
        if turn <= now {
            stands.start.max(turn)..stands.end
        } else {
            stands.start..stands.end.min(turn)
        }
    });
    with_staple(shown, trusts, now, RevocationFinding { says, stands })
}

/// The same with what the response says that came with it: lists come first, as long as they say more
/// than that they do not know.
fn with_staple(
    shown: Shown<'_>,
    trusts: &[Arc<Trust>],
    now: i64,
    found: RevocationFinding,
) -> RevocationFinding {
    let (Some(response), Some(chain)) = (shown.staple, shown.chain) else { return found };
    if found.says.answer == RevocationWord::Revoked {
        return found;
    }
    let within = |stands: &Range<i64>| {
        found.stands.start.max(stands.start)..found.stands.end.min(stands.end)
    };
    let stapled = stapled(response, chain, trusts, now).and_then(|said| {
        let counts = shown.standing == Standing::Trusted || said.answer != RevocationWord::Good;
        if counts { Ok(said) } else { Err(RevocationReason::StapleNotTrusted) }
    });
    match stapled {
        Ok(Stapled { answer: RevocationWord::Good, .. })
            if found.says.answer == RevocationWord::Good =>
        {
            found
        }
        Ok(Stapled { answer, as_of, revoked_at, stands }) => {
            let by = Some(RevocationSource::Staple);
            let says = Revocation { answer, reason: None, by, as_of: Some(as_of), revoked_at };
            // What is revoked stays so.
            let is_good = answer == RevocationWord::Good;
            let stands = if is_good { within(&stands) } else { found.stands };
            RevocationFinding { says, stands }
        }
        Err(reason) if found.says.reason == Some(RevocationReason::NoList) => {
            let says = Revocation { reason: Some(reason), ..found.says };
            // The same response may be in force a little later.
            RevocationFinding { says, stands: within(&(now..now.saturating_add(1))) }
        }
        Err(_) => found,
    }
}

/// When the certificate was revoked, or the first of those that were sent behind it, by lists of which
/// the newest come first.
fn revoked_at(facts: &CertificateFacts, lists: &[&List]) -> Option<i64> {
    let of_issuers = || {
        let mut issuers = facts.issuers.iter();
        issuers.find_map(|issuer| in_force(lists, &issuer.issuer, &issuer.serial))
    };
    in_force(lists, &facts.issuer, &facts.serial).or_else(of_issuers)
}

/// By the names of issuers alone.
fn by_name(
    facts: &CertificateFacts,
    relevant: &[&List],
    now: i64,
) -> Result<RevocationWord, RevocationReason> {
    if revoked_at(facts, relevant).is_some() {
        return Ok(RevocationWord::Revoked);
    }
    let mut own = relevant.iter().filter(|list| list.issuer == facts.issuer).peekable();
    own.peek().ok_or(RevocationReason::NoList)?;
    match own.find(|list| list.is_whole).ok_or(RevocationReason::NotFollowed)?.next_update {
        Some(next) if next <= now => Err(RevocationReason::ListEnded),
        _ => Ok(RevocationWord::Good),
    }
}

/// With the signatures of the lists; `None` where the chain does not lead to `trust`.
fn verified(
    shown: Shown<'_>,
    trust: &Trust,
    relevant: &[&List],
    at: UnixTime,
) -> Option<Result<RevocationWord, RevocationReason>> {
    let chain = shown.chain?;
    let der = CertificateDer::from(&*chain.end_entity);
    let end_entity = EndEntityCert::try_from(&der).ok()?;
    let issuers: Vec<_> = chain.issuers.iter().map(|der| CertificateDer::from(&**der)).collect();
    let ders = relevant.iter().map(|list| &*list.der);
    let read = ders.filter_map(|der| BorrowedCertRevocationList::from_der(der).ok());
    let lists: Vec<_> = read.map(CertRevocationList::from).collect();
    let lists: Vec<_> = lists.iter().collect();
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()));
    let verify = |depth, unknown, expiration| {
        let usage = match shown.purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let options = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(depth).with_status_policy(unknown);
            options.with_expiration_policy(expiration).build()
        });
        let (anchors, algorithms) = (&trust.anchors, ALL_VERIFICATION_ALGS);
        let path =
            end_entity.verify_for_usage(algorithms, anchors, &issuers, time, usage, options, None);
        path.map(|_| ())
    };
    let in_all =
        verify(RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore);
    match in_all {
        Ok(()) if lists.is_empty() => return Some(Err(RevocationReason::NoList)),
        Ok(()) => {}
        Err(Error::CertRevoked) => return Some(Ok(RevocationWord::Revoked)),
        Err(Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner) => {
            return Some(Err(RevocationReason::ListNotSigned));
        }
        Err(Error::UnsupportedCrlSignatureAlgorithmContext(_)) => {
            return Some(Err(RevocationReason::NotFollowed));
        }
        Err(_) => return None,
    }
    let of_its_issuer = verify(
        RevocationCheckDepth::EndEntity,
        UnknownStatusPolicy::Deny,
        ExpirationPolicy::Enforce,
    );
    Some(match of_its_issuer {
        Ok(()) => Ok(RevocationWord::Good),
        Err(Error::UnknownRevocationStatus) => Err(RevocationReason::NoList),
        Err(Error::CrlExpired { .. }) => Err(RevocationReason::ListEnded),
        Err(_) => Err(RevocationReason::NotFollowed),
    })
}

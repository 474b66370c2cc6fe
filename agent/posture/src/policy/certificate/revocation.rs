//! Whether certificates that were presented are revoked, by the lists at hand (RFC 5280 section 6.3).

use std::{ops::Range, sync::Arc, time::Duration};

use hopsight_core::{
    tls::{certificate::Chain, certificate_facts::CertificateFacts},
    vocabulary,
};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::{
    Purpose, Revoked, Trust,
    list::{List, newest_first},
    listed::{Asked, Said, by_name, by_signature},
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
        /// There is no list of its issuer, or none that has begun.
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
    let presented = Asked::all(facts, shown.chain);
    let is_relevant = |list: &&List| presented.iter().any(|asked| asked.has_issuer_of(list));
    let relevant: Vec<_> =
        lists.iter().flat_map(|lists| &lists.lists).filter(is_relevant).collect();
    // Of several of one issuer the newest counts.
    let begun = newest_first(relevant.iter().copied().filter(|list| list.this_update <= now));
    let path = || trusts.iter().find_map(|trust| path(shown, trust, at));
    let found = match (!begun.is_empty()).then(path).flatten() {
        Some(path) => by_signature(&path, &begun),
        None => by_name(&presented, &begun),
    };
    let ended = |list: &List| list.next_update.is_some_and(|next| next <= now);
    let by_list = |answer, list: &List, revoked_at| Revocation {
        answer,
        reason: None,
        by: Some(RevocationSource::List),
        as_of: Some(list.this_update),
        revoked_at,
    };
    let unknown = |reason, as_of| Revocation {
        answer: RevocationWord::Unknown,
        reason: Some(reason),
        by: None,
        as_of,
        revoked_at: None,
    };
    let says = match found {
        Ok(Said { list, revoked_at: at @ Some(_) }) => by_list(RevocationWord::Revoked, list, at),
        Ok(Said { list, .. }) if ended(list) => {
            unknown(RevocationReason::ListEnded, Some(list.this_update))
        }
        Ok(Said { list, .. }) if shown.standing == Standing::Broken => {
            unknown(RevocationReason::ChainBroken, Some(list.this_update))
        }
        Ok(Said { list, .. }) => by_list(RevocationWord::Good, list, None),
        Err(reason) => unknown(reason, None),
    };
    let begins = relevant.iter().map(|list| list.this_update);
    let turns = begins.chain(relevant.iter().filter_map(|list| list.next_update));
    let stands = turns.chain([facts.not_after]).fold(i64::MIN..i64::MAX, |stands, turn| {
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

/// How the chain leads to a CA in `trust`: each certificate signed the one before it. `None` where it
/// does not.
fn path(shown: Shown<'_>, trust: &Trust, at: UnixTime) -> Option<Vec<Vec<u8>>> {
    let chain = shown.chain?;
    let der = CertificateDer::from(&*chain.end_entity);
    let end_entity = EndEntityCert::try_from(&der).ok()?;
    let issuers: Vec<_> = chain.issuers.iter().map(|der| CertificateDer::from(&**der)).collect();
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs()));
    let usage = match shown.purpose {
        Purpose::Server => KeyUsage::server_auth(),
        Purpose::Client => KeyUsage::client_auth(),
    };
    let (anchors, algorithms) = (&trust.anchors, ALL_VERIFICATION_ALGS);
    let path = end_entity.verify_for_usage(algorithms, anchors, &issuers, time, usage, None, None);
    let path = path.ok()?;
    let between = path.intermediate_certificates().map(|one| one.der().to_vec());
    let ends = anchors.iter().zip(trust.ders());
    let end = ends.into_iter().find_map(|(anchor, der)| (anchor == path.anchor()).then_some(der));
    let own = std::iter::once(chain.end_entity.to_vec());
    Some(own.chain(between).chain([end?.to_vec()]).collect())
}

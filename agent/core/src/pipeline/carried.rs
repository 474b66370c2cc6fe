//! Resumption: a resumed session shows no certificates, so its verdict is carried from a full
//! handshake: up to TLS 1.2 from the one that began the session, which both sides name in the clear; in
//! TLS 1.3 from the last one of the same proxy process, upstream and server name, unless another
//! session that may be offered in its place says otherwise.
//!
//! What a resumption in TLS 1.3 is told, by what is remembered of its scopes (all sessions of
//! the process with the upstream, and all under the server name):
//!
//! | last full handshake of the key | sessions in use that showed something else | it is |
//! |---|---|---|
//! | none, or older than the age limit | any | `resumed_unseen` |
//! | certain | none | carried |
//! | certain | any, or one that nobody saw begin | `ambiguous` |
//! | certain, but the scope was forgotten to make room | not known | `resumed_unseen` |
//! | any, and an external key may have begun the session | any | `resumed_unseen` |
//!
//! That everything known of an address is alike does not answer for a server name that is new: nginx
//! keeps one session per address whatever the name, but an upstream block of the same address, with or
//! without a certificate, may have begun it before anybody watched, or in another worker that shares
//! it. What a process does not show of its past cannot be ruled out here.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use super::{
    connection::Connection,
    session::{Basis, Session, SessionKey, SessionScope},
};
use crate::{
    model::{ClientAuth, Evidence, Outcome, Reason, Timestamp},
    report::{CarriedFrom, Verdict},
    tls::{flights::CertificateFlight, session::SessionName},
    verdict::Judgement,
};

/// A full handshake.
#[derive(Clone, Copy, Debug)]
struct Full {
    verdict: Verdict,
    at: Timestamp,
}

/// When a session of each kind was last begun or resumed: it may live on for the age limit from
/// then.
#[derive(Clone, Debug, Default)]
struct Uses {
    presented: Option<Timestamp>,
    requested_not_presented: Option<Timestamp>,
    not_requested: Option<Timestamp>,
    /// Begun by a handshake that did not say.
    unknown: Option<Timestamp>,
    /// Begun by one that may yet be explained.
    doubted: Option<Box<Doubt>>,
}

/// A full handshake whose flight is as long as a padded block.
#[derive(Clone, Debug)]
struct Doubt {
    key: SessionKey,
    length: u16,
    at: Timestamp,
}

impl Doubt {
    fn is_explained_by(&self, key: &SessionKey, length: u16) -> bool {
        self.key == *key && CertificateFlight::are_alike(self.length, length)
    }
}

impl Uses {
    fn of(&mut self, client_auth: ClientAuth) -> &mut Option<Timestamp> {
        match client_auth {
            ClientAuth::Presented => &mut self.presented,
            ClientAuth::RequestedNotPresented => &mut self.requested_not_presented,
            ClientAuth::NotRequested => &mut self.not_requested,
            ClientAuth::Unknown => &mut self.unknown,
        }
    }

    /// One of them is resumed at `at`, presumably one that showed `client_auth`. Says whether it
    /// may be one that did not.
    fn resume(&mut self, client_auth: ClientAuth, at: Timestamp, max_age: Duration) -> bool {
        *self.of(client_auth) = Some(at);
        let mut others = self.doubted.as_ref().is_some_and(|doubt| at.since(doubt.at) <= max_age);
        for other in ClientAuth::ALL.iter().filter(|&&other| other != client_auth) {
            if let Some(used) = self.of(*other)
                && at.since(*used) <= max_age
            {
                others = true;
                // With the resumption it may have got a new ticket. What is unknown is forgotten
                // in time all the same: it hardly ever differs, and would never be over.
                if *other != ClientAuth::Unknown {
                    *used = at;
                }
            }
        }
        others
    }
}

/// A map that forgets what was put in first.
#[derive(Debug)]
struct Bounded<K, V> {
    max: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(max: usize) -> Self {
        Self { max, entries: HashMap::new(), order: VecDeque::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        if let Some(known) = self.entries.get_mut(&key) {
            *known = value;
            return;
        }
        while self.is_full() {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.max
    }
}

/// The last full handshakes.
#[derive(Debug)]
pub struct FullHandshakes {
    max_age: Duration,
    named: Bounded<SessionName, Full>,
    last: Bounded<SessionKey, Full>,
    /// How long the flights are that show a certificate in one record.
    flights: Bounded<SessionKey, (u16, Timestamp)>,
    uses: Bounded<SessionScope, Uses>,
    /// When one of `uses` was last forgotten to make room.
    forgot_at: Option<Timestamp>,
}

impl FullHandshakes {
    /// Remembers at most `max` sessions that have names and the sessions of at most `max` hops that
    /// have none, each for `max_age`.
    #[must_use]
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self {
            max_age,
            named: Bounded::new(max),
            last: Bounded::new(max),
            flights: Bounded::new(max),
            uses: Bounded::new(max.saturating_mul(2)),
            forgot_at: None,
        }
    }

    /// Notes that a session may have begun.
    fn note(&mut self, session: &Session, verdict: Verdict, at: Timestamp) {
        let Session::Unnamed(key, basis) = session else { return };
        let given_up = matches!(verdict.reason, Some(Reason::Timeout | Reason::Evicted));
        let client_auth = match basis {
            Basis::Certificates => verdict.client_auth,
            Basis::ExternalKey => ClientAuth::Unknown,
            // It may have gone on when nobody looked any more.
            Basis::Unseen if given_up => ClientAuth::Unknown,
            // A resumed session began with another handshake.
            Basis::Session | Basis::Unseen => return,
        };
        if may_have_begun_a_session(verdict) {
            for scope in key.scopes() {
                self.note_use(scope, client_auth, at);
            }
        }
    }

    fn note_use(&mut self, scope: SessionScope, client_auth: ClientAuth, at: Timestamp) {
        *self.uses_in(scope, at).of(client_auth) = Some(at);
    }

    fn uses_in(&mut self, scope: SessionScope, at: Timestamp) -> &mut Uses {
        if !self.uses.entries.contains_key(&scope) {
            if self.uses.is_full() {
                self.forgot_at = Some(at);
            }
            // It may have been known before.
            let uses = Uses { unknown: self.forgot_at, ..Uses::default() };
            self.uses.insert(scope.clone(), uses);
        }
        self.uses.entries.entry(scope).or_default()
    }

    /// Notes how long a flight is that shows a certificate: it explains those that are in doubt.
    pub fn note_flight(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        for scope in key.scopes() {
            let Some(uses) = self.uses.entries.get_mut(&scope) else { continue };
            if let Some(doubt) = uses.doubted.take_if(|doubt| doubt.is_explained_by(key, length)) {
                uses.presented = uses.presented.max(Some(doubt.at));
            }
        }
        self.flights.insert(key.clone(), (length, at));
    }

    /// Whether a flight in doubt, of this length, is like one that showed a certificate.
    #[must_use]
    pub fn explains(&self, key: &SessionKey, length: u16, at: Timestamp) -> bool {
        let known = self.flights.entries.get(key);
        known.is_some_and(|&(known, noted_at)| {
            CertificateFlight::are_alike(known, length) && at.since(noted_at) <= self.max_age
        })
    }

    /// Notes that a session may have begun with a flight in doubt, of this length.
    pub fn doubt(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        for scope in key.scopes() {
            let uses = self.uses_in(scope, at);
            match &mut uses.doubted {
                Some(doubt) if doubt.is_explained_by(key, length) => doubt.at = at,
                Some(_) => uses.unknown = Some(at),
                none => *none = Some(Box::new(Doubt { key: key.clone(), length, at })),
            }
        }
    }

    /// Learns from a handshake that is decided, whose connection may go on: its session may be resumed
    /// at once. Only an established full handshake with a certain
    /// answer can be carried; in TLS 1.3 every other one that may have begun a session stands
    /// against that.
    pub fn learn(
        &mut self,
        session: Session,
        resumed: Option<bool>,
        verdict: Verdict,
        at: Timestamp,
    ) {
        self.note(&session, verdict, at);
        if verdict.outcome != Outcome::Established
            || verdict.client_auth == ClientAuth::Unknown
            || resumed != Some(false)
        {
            return;
        }
        let full = Full { verdict, at };
        match session {
            Session::Named { given, .. } => self.name(given, full),
            Session::Unnamed(key, _) => self.last.insert(key, full),
        }
    }

    fn name(&mut self, given: [Option<SessionName>; 2], full: Full) {
        for name in given.into_iter().flatten() {
            self.named.insert(name, full);
        }
    }

    /// The verdict on a session resumed at `at`, and where it is carried from. `outcome` is
    /// `incomplete` where the client left right after it had finished.
    ///
    /// # Errors
    /// [`Reason::HandshakeFailed`] if the resumption did not succeed;
    /// [`Reason::ResumedUnseen`] if its full handshake is not known or too old;
    /// [`Reason::Ambiguous`] if it may be one of several that gave different answers and whose
    /// sessions may all be alive.
    pub fn carry(
        &mut self,
        session: &Session,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(Verdict, CarriedFrom), Reason> {
        if matches!(outcome, Outcome::Rejected | Outcome::Failed) {
            return Err(Reason::HandshakeFailed);
        }
        let full = match session {
            Session::Named { offered, given } => {
                let full = offered.and_then(|name| self.named.entries.get(&name).copied());
                let full = full.ok_or(Reason::ResumedUnseen)?;
                // Resumed, it may get a new ticket.
                self.name(*given, full);
                full
            }
            Session::Unnamed(key, Basis::Session) => self.of_key(key, at)?,
            Session::Unnamed(..) => return Err(Reason::ResumedUnseen),
        };
        let age = at.since(full.at);
        if age > self.max_age {
            return Err(Reason::ResumedUnseen);
        }
        let verdict = Verdict { outcome, evidence: Evidence::Carried, ..full.verdict };
        Ok((
            verdict,
            CarriedFrom { evidence: full.verdict.evidence, age_seconds: age.as_secs_f64() },
        ))
    }

    fn of_key(&mut self, key: &SessionKey, at: Timestamp) -> Result<Full, Reason> {
        let full = *self.last.entries.get(key).ok_or(Reason::ResumedUnseen)?;
        let mut is_ambiguous = false;
        for scope in key.scopes() {
            // Where that is forgotten, so is what may speak against the handshake.
            let uses = self.uses.entries.get_mut(&scope).ok_or(Reason::ResumedUnseen)?;
            is_ambiguous |= uses.resume(full.verdict.client_auth, at, self.max_age);
        }
        if is_ambiguous { Err(Reason::Ambiguous) } else { Ok(full) }
    }
}

/// Whether the server may have sent a ticket: not if the handshake ended before its end.
fn may_have_begun_a_session(verdict: Verdict) -> bool {
    match verdict.outcome {
        Outcome::Established => true,
        Outcome::Rejected | Outcome::Failed => false,
        // What the client had finished when its end was seen may have been answered unseen.
        Outcome::Incomplete => {
            verdict.client_auth != ClientAuth::Unknown
                || !matches!(
                    verdict.reason,
                    Some(Reason::NoData | Reason::HandshakeFailed | Reason::Unaccepted)
                )
        }
    }
}

/// Gives the judgement on a resumed connection what its full handshake showed, and says where that
/// comes from.
pub(super) fn carry(
    judgement: &mut Judgement,
    connection: &Connection,
    full_handshakes: &mut FullHandshakes,
    at: Timestamp,
) -> Option<CarriedFrom> {
    let verdict = &mut judgement.verdict;
    let is_incomplete = verdict.outcome == Outcome::Incomplete;
    let nothing_to_carry = is_incomplete && !judgement.left_resumed;
    if judgement.resumed != Some(true)
        || verdict.client_auth != ClientAuth::Unknown
        || nothing_to_carry
    {
        return None;
    }
    match full_handshakes.carry(&Session::of(connection)?, verdict.outcome, at) {
        Ok((carried, from)) => {
            // Why it is incomplete stays.
            *verdict = Verdict { reason: verdict.reason.filter(|_| is_incomplete), ..carried };
            Some(from)
        }
        Err(reason) => {
            verdict.reason = Some(reason);
            None
        }
    }
}

#[cfg(test)]
mod tests;

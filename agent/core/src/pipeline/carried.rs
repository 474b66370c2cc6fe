//! Resumption: a resumed session shows no certificates, so its verdict is carried from a full
//! handshake.
//!
//! Where the session has a name it is the handshake that began it, whoever resumes it, however often
//! it was resumed and renewed since. Up to TLS 1.2 both sides name it in the clear. In TLS 1.3 its
//! ticket is given encrypted: the library shows it, and the resuming ClientHello offers it in the clear.
//!
//! In TLS 1.3 without a library it is the last full handshake of the same proxy process, upstream and
//! server name, unless another session that may be offered in its place says otherwise. What it is
//! told then, by what is remembered of its scopes (all sessions of the process with the upstream, and
//! all under the server name):
//!
//! | last full handshake of the key | sessions in use that showed something else | it is |
//! |---|---|---|
//! | none, or older than the age limit | any | `resumed_unseen` |
//! | certain | none | carried |
//! | certain | any, or one that nobody saw begin | `ambiguous` |
//! | certain, but the scope was forgotten to make room | not known | `resumed_unseen` |
//! | any, and an external key may have begun the session | any | `resumed_unseen` |
//! | any, and the library shows the program's tickets, of which this is none | any | `resumed_unseen` |
//!
//! That everything known of an address is alike does not answer for a server name that is new: nginx
//! keeps one session per address whatever the name, but an upstream block of the same address, with or
//! without a certificate, may have begun it before anybody watched, or in another worker that shares
//! it. What a process does not show of its past cannot be ruled out here.

mod bounded;
mod full;
mod sessions;
mod uses;

use std::{sync::Arc, time::Duration};

use self::{
    bounded::Bounded,
    sessions::Sessions,
    uses::{Doubt, Uses},
};
pub use self::{full::Full, sessions::HandshakeKey};
use super::{
    connection::Connection,
    session::{Basis, Session, SessionKey, SessionScope},
};
use crate::{
    model::{ClientAuth, Evidence, Origin, Outcome, Process, Reason, SessionName, Timestamp},
    report::{CarriedBy, CarriedFrom, ConnectionReport, Verdict},
    tls::flights::CertificateFlight,
    verdict::Judgement,
};

/// The last full handshakes.
#[derive(Debug)]
pub struct FullHandshakes {
    max_age: Duration,
    sessions: Sessions,
    last: Bounded<SessionKey, Arc<Full>>,
    /// How long the flights are that show a certificate in one record.
    flights: Bounded<SessionKey, (u16, Timestamp)>,
    uses: Bounded<SessionScope, Uses>,
    /// When one of `uses` was last forgotten to make room.
    forgot_at: Option<Timestamp>,
}

impl FullHandshakes {
    /// Remembers at most `max` sessions that have names, and for `max_age` the sessions of at most
    /// `max` hops that have none.
    #[must_use]
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self {
            max_age,
            sessions: Sessions::new(max),
            last: Bounded::new(max),
            flights: Bounded::new(max),
            uses: Bounded::new(max.saturating_mul(2)),
            forgot_at: None,
        }
    }

    /// Notes that a session may have begun.
    fn note(&mut self, session: &Session, verdict: Verdict, at: Timestamp) {
        let Session::Unnamed(key, basis, _) = session else { return };
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
            self.uses.insert(scope.clone(), Uses::unknown_since(self.forgot_at));
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

    /// The server gave this ticket in the connection of this handshake.
    pub fn receive(&mut self, handshake: HandshakeKey, ticket: SessionName) {
        self.sessions.receive(handshake, ticket);
    }

    /// Learns from a handshake that is decided, whose connection may go on: its session may be
    /// resumed at once. Only an established full handshake with a certain answer can be carried; in
    /// TLS 1.3 every other one that may have begun a session stands against that.
    ///
    /// `shown_to` is the process whose library may show tickets of this handshake.
    pub fn learn(
        &mut self,
        session: Session,
        full: Full,
        resumed: Option<bool>,
        shown_to: Option<(&Process, HandshakeKey)>,
    ) {
        self.note(&session, full.verdict, full.at);
        let is_full = full.is_certain() && resumed == Some(false);
        let full = is_full.then(|| Arc::new(full));
        match session {
            Session::Named { given, .. } => {
                if let Some(full) = full {
                    self.name(given, &full);
                }
            }
            Session::Unnamed(key, _, taken) => {
                if let Some((process, handshake)) = shown_to {
                    let resumed = taken.filter(|_| resumed == Some(true));
                    let first = resumed.and_then(|name| self.sessions.find(name)).cloned();
                    self.sessions.rest(handshake, process, resumed, full.clone().or(first));
                }
                if let Some(full) = full {
                    self.last.insert(key, full);
                }
            }
        }
    }

    fn name(&mut self, given: [Option<SessionName>; 2], full: &Arc<Full>) {
        for name in given.into_iter().flatten() {
            self.sessions.name(name, full.clone());
        }
    }

    /// The full handshake of a session that is resumed at `at`, and how it was found; `origin` says who
    /// resumes it.
    ///
    /// # Errors
    /// [`Reason::HandshakeFailed`] if the resumption did not succeed;
    /// [`Reason::ResumedUnseen`] if its full handshake is not known or too old;
    /// [`Reason::Ambiguous`] if it may be one of several that gave different answers and whose
    /// sessions may all be alive.
    pub fn carry(
        &mut self,
        session: &Session,
        origin: &Origin,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(Arc<Full>, CarriedBy), Reason> {
        if matches!(outcome, Outcome::Rejected | Outcome::Failed) {
            return Err(Reason::HandshakeFailed);
        }
        let of_name = |name: &Option<SessionName>| self.sessions.find((*name)?).cloned();
        match session {
            Session::Named { offered, given } => {
                let full = of_name(offered).ok_or(Reason::ResumedUnseen)?;
                // Resumed, it may get a new ticket.
                self.name(*given, &full);
                Ok((full, CarriedBy::Session))
            }
            Session::Unnamed(key, basis, taken) => match (of_name(taken), basis) {
                (Some(full), _) => Ok((full, CarriedBy::Session)),
                (None, Basis::Session) if !self.shows_tickets(origin) => {
                    Ok((self.of_key(key, at)?, CarriedBy::LastHandshake))
                }
                (None, _) => Err(Reason::ResumedUnseen),
            },
        }
    }

    fn shows_tickets(&self, origin: &Origin) -> bool {
        match origin {
            Origin::Process(process) => self.sessions.shows_tickets(process),
            Origin::PacketCapture => false,
        }
    }

    fn of_key(&mut self, key: &SessionKey, at: Timestamp) -> Result<Arc<Full>, Reason> {
        let full = self.last.entries.get(key).ok_or(Reason::ResumedUnseen)?.clone();
        let mut is_ambiguous = false;
        for scope in key.scopes() {
            // Where that is forgotten, so is what may speak against the handshake.
            let uses = self.uses.entries.get_mut(&scope).ok_or(Reason::ResumedUnseen)?;
            is_ambiguous |= uses.resume(full.verdict.client_auth, at, self.max_age);
        }
        match (is_ambiguous, at.since(full.at) > self.max_age) {
            (true, _) => Err(Reason::Ambiguous),
            (false, true) => Err(Reason::ResumedUnseen),
            (false, false) => Ok(full),
        }
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

/// Learns from what is said of a connection whose handshake is decided.
pub(super) fn learn(
    full_handshakes: &mut FullHandshakes,
    connection: &Connection,
    report: &ConnectionReport,
) {
    let Some(session) = Session::of(connection) else { return };
    let shown_to = match connection.origin() {
        Origin::Process(process) => Some(process).zip(connection.handshake_key()),
        Origin::PacketCapture => None,
    };
    full_handshakes.learn(session, Full::of(report), report.resumed, shown_to);
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
    let origin = connection.origin();
    match full_handshakes.carry(&Session::of(connection)?, origin, verdict.outcome, at) {
        Ok((full, by)) => {
            // Why it is incomplete stays.
            let reason = verdict.reason.filter(|_| is_incomplete);
            let (outcome, evidence) = (verdict.outcome, Evidence::Carried);
            *verdict = Verdict { outcome, evidence, reason, ..full.verdict };
            Some(full.carried(by, at))
        }
        Err(reason) => {
            verdict.reason = Some(reason);
            None
        }
    }
}

#[cfg(test)]
mod sessions_tests;
#[cfg(test)]
mod tests;

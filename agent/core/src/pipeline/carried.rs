//! Resumption: a resumed session shows no certificates, so its verdict is carried from a full
//! handshake.
//!
//! Where the session has a name it is the handshake that began it, whoever resumes it, however often
//! it was resumed and renewed since. Up to TLS 1.2 both sides name it in the clear. In TLS 1.3 its
//! ticket is given encrypted: the library shows it, and the resuming ClientHello offers it in the clear.
//!
//! In TLS 1.3 without a library it is the last full handshake of the same owner ([`Owner`]) with the same
//! upstream or server name, unless another session that may be offered in its place says otherwise. A
//! session whose tickets are too short or too long to be the identity that is offered is none
//! ([`ticket_lengths`]). What is told then, by what is remembered of its scopes (all sessions of
//! the owner with the upstream, and all under the server name):
//!
//! | full handshakes whose tickets may be what is offered | it is |
//! |---|---|
//! | none, or the last is older than the age limit | `resumed_unseen` |
//! | all showed the same | carried from the last |
//! | some showed something else, or nothing that is known | `ambiguous` |
//! | some, but a scope was forgotten to make room | `resumed_unseen` |
//! | any, and an external key may have begun the session | `resumed_unseen` |
//! | any, and the library shows the program's tickets, of which this is none | `resumed_unseen` |
//!
//! Sessions from before the program was looked into are an exception to the last row: see `unshown`.
//!
//! An owner that is older than the watch may have sessions that nobody saw begin. There the last
//! full handshake of the very upstream and server name has to be one of them: that everything known of an
//! address is alike does not answer for a name that is new, or for an upstream block of the same address,
//! which may have begun it before. And a ticket like it was seen to be given after such a handshake: one whose
//! ticket nobody saw, as of a health check that is closed at once, only speaks against others.
//!
//! [`Owner`]: super::owners::Owner
//! [`ticket_lengths`]: crate::tls::ticket_lengths

mod full;
mod rests_on;
mod sessions;
mod unnamed;
mod unseen;
mod unshown;
mod uses;

use std::{sync::Arc, time::Duration};

pub use self::{full::Full, sessions::HandshakeKey};
use self::{
    sessions::{Claim, Sessions},
    unnamed::Unnamed,
    unseen::Blindness,
    unshown::Unshown,
};
use super::{
    connection::Connection,
    owners::Owners,
    session::{Basis, Session, SessionKey},
};
use crate::{
    model::{
        ClientAuth, Descent, Evidence, Origin, Outcome, Process, Reason, Security, SessionName,
        Timestamp,
    },
    report::{CarriedFrom, ConnectionReport, Unseen, Verdict},
    verdict::Judgement,
};

/// The last full handshakes.
#[derive(Debug)]
pub struct FullHandshakes {
    sessions: Sessions,
    unnamed: Unnamed,
    owners: Owners,
    blindness: Blindness,
    unshown: Unshown,
}

impl FullHandshakes {
    /// Remembers at most `max` sessions that have names, and for `max_age` the sessions of at most
    /// `max` hops that have none.
    #[must_use]
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self {
            sessions: Sessions::new(max),
            unnamed: Unnamed::new(max, max_age),
            owners: Owners::new(max),
            blindness: Blindness::new(max),
            unshown: Unshown::new(max.div_ceil(16)),
        }
    }

    /// A process began when somebody watched.
    pub fn began(&mut self, pid: u32, descent: Descent, at: Timestamp) {
        if self.owners.began(pid, descent, at) {
            self.blindness.began(pid);
            self.unshown.began(pid);
        }
    }

    /// Somebody opens a connection.
    pub fn opens(&mut self, origin: &Origin, at: Timestamp) {
        if let Origin::Process(process) = origin {
            self.owners.opens(process, at);
            self.blindness.opens(process);
        }
    }

    /// Whose sessions are whose.
    #[must_use]
    pub const fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Notes that a session without a name may have begun, or was renewed, and returns whether it may.
    fn note(&mut self, session: &Session, verdict: Verdict, at: Timestamp) -> bool {
        let Session::Unnamed { key, basis, taken, ticket } = session else { return false };
        if !may_have_begun_a_session(verdict) {
            return false;
        }
        let given_up = matches!(verdict.reason, Some(Reason::Timeout | Reason::Evicted));
        let client_auth = match basis {
            Basis::Certificates => verdict.client_auth,
            Basis::ExternalKey => ClientAuth::Unknown,
            // It may have gone on when nobody looked any more.
            Basis::Unseen if given_up => ClientAuth::Unknown,
            Basis::Unseen => return false,
            Basis::Session => {
                let identity = taken.map(|taken| taken.length);
                self.unnamed.renew(key, identity, at, *ticket);
                return true;
            }
        };
        self.unnamed.begin(key, client_auth, at, *ticket);
        true
    }

    /// Notes how long a flight is that shows a certificate: it explains those that are in doubt.
    pub fn note_flight(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        self.unnamed.note_flight(key, length, at);
    }

    /// Whether a flight in doubt, of this length, is like one that showed a certificate.
    #[must_use]
    pub fn explains(&self, key: &SessionKey, length: u16, at: Timestamp) -> bool {
        self.unnamed.explains(key, length, at)
    }

    /// Notes that a session may have begun with a flight in doubt, of this length.
    pub fn doubt(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        self.unnamed.doubt(key, length, at);
    }

    /// The server gave this ticket in the connection of this handshake.
    pub fn receive(&mut self, handshake: HandshakeKey, ticket: SessionName) {
        self.sessions.receive(handshake, ticket);
        self.unshown.show(self.owners.of(handshake.0), handshake);
    }

    /// The server gave this process a ticket, at `at`, in a connection whose handshake is not known: that
    /// was too long ago, or before the process was looked into.
    pub fn receive_astray(&mut self, process: u32, ticket: SessionName, at: Timestamp) {
        if self.unshown.is_long_read(process, at) {
            self.sessions.leave_unsettled(process, Claim::Unknown, ticket);
        }
    }

    /// A ticket that the server gave this process was lost.
    pub fn ticket_lost(&mut self, pid: u32) {
        self.blindness.ticket_lost(pid);
    }

    /// Libraries show nothing for a while.
    pub fn watch_paused(&mut self) {
        self.unshown.pause();
    }

    /// Why the full handshake of a session is not known that this one resumes.
    #[must_use]
    pub fn why_unseen(&self, origin: &Origin) -> Unseen {
        match origin {
            Origin::Process(process) => {
                self.blindness.why(process, self.owners.of(process.pid).is_whole())
            }
            Origin::PacketCapture => Unseen::OlderProcess,
        }
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
        let (at, disputed) = (full.at, Arc::new(full.disputed()));
        if let Some((process, _)) = shown_to.filter(|_| full.verdict.evidence == Evidence::Library)
        {
            self.unshown.read(process.pid, at);
        }
        let may_begin = self.note(&session, full.verdict, at);
        if let (Some((process, _)), Session::Unnamed { basis: Basis::Certificates, .. }) =
            (shown_to, &session)
            && full.verdict.evidence != Evidence::Library
            && may_begin
        {
            self.blindness.unread(process);
        }
        let is_full = full.is_certain() && resumed == Some(false);
        let full = is_full.then(|| Arc::new(full));
        match session {
            Session::Named { given, .. } => {
                if let Some(full) = full {
                    self.name(given, &full);
                }
            }
            Session::Unnamed { key, basis, taken, ticket } => {
                if let Some((process, handshake)) = shown_to {
                    let taken = taken.filter(|_| resumed == Some(true));
                    let known = || self.rests_on_shown(&key, basis, taken, process).ok();
                    // A ticket that is shown is named by nothing less.
                    let first = full.clone().or_else(known);
                    let resumed = taken.map(|taken| taken.name);
                    let is_shown = self.sessions.rest(handshake, process, resumed, first.clone());
                    if is_shown {
                        self.unshown.show(key.owner, handshake);
                        self.unshown.begin_shown(key.owner, &first.unwrap_or(disputed));
                    } else if may_begin {
                        let first = first
                            .or_else(|| self.rests_on(&key, basis, taken, Some(process), at).ok());
                        let first = first.unwrap_or(disputed);
                        self.unshown.begin(handshake, key.owner, ticket, first);
                    }
                }
                if let Some(full) = full {
                    self.unnamed.insert(key, &full);
                }
            }
        }
    }

    fn name(&mut self, given: [Option<SessionName>; 2], full: &Arc<Full>) {
        for name in given.into_iter().flatten() {
            self.sessions.name(name, full.clone());
        }
    }

    /// The full handshake of a session that is resumed at `at`; `origin` says who resumes it.
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
    ) -> Result<Arc<Full>, Reason> {
        if matches!(outcome, Outcome::Rejected | Outcome::Failed) {
            return Err(Reason::HandshakeFailed);
        }
        match session {
            Session::Named { offered, given } => {
                let known = offered.and_then(|name| self.sessions.find(name));
                let full = known.filter(|full| full.is_certain());
                let full = full.cloned().ok_or(Reason::ResumedUnseen)?;
                // Resumed, it may get a new ticket.
                self.name(*given, &full);
                Ok(full)
            }
            Session::Unnamed { key, basis, taken, .. } => {
                let process = match origin {
                    Origin::Process(process) => Some(process),
                    Origin::PacketCapture => None,
                };
                self.rests_on(key, *basis, *taken, process, at)
            }
        }
    }

    /// A connection was given up before its ClientHello: nobody knows what sessions it began.
    fn begin_unseen(&mut self, connection: &Connection, at: Timestamp) {
        if let Origin::Process(process) = connection.origin() {
            let (owner, upstream) = (self.owners.of(process.pid), connection.upstream());
            let key = SessionKey { owner, upstream, server_name: None };
            self.unnamed.begin(&key, ClientAuth::Unknown, at, None);
        }
    }

    /// A handshake of which it is not known what it showed may have begun a session.
    fn begin_unknown(&mut self, session: Session, handshake: HandshakeKey, full: &Full) {
        if let Session::Unnamed { key, ticket, .. } = session {
            self.unshown.begin(handshake, key.owner, ticket, Arc::new(full.disputed()));
        }
    }
}

/// Whether a connection was given up that may yet have begun a session.
fn is_given_up(report: &ConnectionReport) -> bool {
    let Verdict { security, reason, .. } = report.verdict;
    let is_lost = matches!(
        reason,
        Some(Reason::Timeout | Reason::Evicted | Reason::CaptureLost | Reason::Gap)
    );
    report.is_final && security == Security::Unknown && is_lost
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
    let Some(session) = Session::of(connection, full_handshakes.owners()) else {
        if is_given_up(report) {
            full_handshakes.begin_unseen(connection, report.decided_at);
        }
        return;
    };
    let shown_to = match connection.origin() {
        Origin::Process(process) => Some(process).zip(connection.handshake_key()),
        Origin::PacketCapture => None,
    };
    full_handshakes.learn(session, Full::of(report), report.resumed, shown_to);
}

/// Learns of a connection of which it is in doubt what its handshake showed.
pub(super) fn doubt(
    full_handshakes: &mut FullHandshakes,
    connection: &Connection,
    report: &ConnectionReport,
) {
    let session = Session::of(connection, full_handshakes.owners());
    if let Some((session, handshake)) = session.zip(connection.handshake_key()) {
        full_handshakes.begin_unknown(session, handshake, &Full::of(report));
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
    let origin = connection.origin();
    let session = Session::of(connection, full_handshakes.owners())?;
    match full_handshakes.carry(&session, origin, verdict.outcome, at) {
        Ok(full) => {
            // Why it is incomplete stays.
            let reason = verdict.reason.filter(|_| is_incomplete);
            let (outcome, evidence) = (verdict.outcome, Evidence::Carried);
            *verdict = Verdict { outcome, evidence, reason, ..full.verdict };
            Some(full.carried(at))
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
#[cfg(test)]
mod unnamed_tests;
#[cfg(test)]
mod unshown_tests;

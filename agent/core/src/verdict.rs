//! From facts to the verdict: the three rules of the design live here.
//!
//! 1. Unknown is never folded into anything else.
//! 2. `mtls` is only said when the client's certificate and its CertificateVerify were seen
//!    or proven.
//! 3. Offered is not negotiated, presented is not accepted.

mod encrypted;
mod library;
mod suite;

use crate::{
    model::{ClientAuth, Direction, Evidence, Outcome, Reason, Security, ServerVerified},
    report::Verdict,
    stream::reassembly::Missing,
    tls::{
        alert,
        facts::{ClientCertificate, HandshakeFacts},
        hello::TlsVersion,
        transcript::Transcript,
        wire::WireHandshake,
    },
};

/// How far a judgement is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Nothing is certain yet; more bytes may decide.
    Open,
    /// Security is certain; the outcome, or a stronger witness, may still come.
    Decided,
    /// No byte on the wire can change it any more.
    Settled,
}

/// What is to be said now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How far it is settled.
    pub certainty: Certainty,
    /// The verdict as of now.
    pub verdict: Verdict,
    /// The session was resumed: the verdict is to be carried from its full handshake.
    pub resumed: Option<bool>,
    /// The client left right after it had finished a resumption. The server had taken the session up,
    /// so what its full handshake showed is carried as from one that ended like this.
    pub left_resumed: bool,
    /// Rule of the flight classifier, for `inferred`.
    pub rule: Option<&'static str>,
    /// What the wire alone says of client authentication, beside a verdict of the library's.
    pub wire_client_auth: Option<ClientAuth>,
    /// The client has finished, and it is for the server to show that it accepted that: what it
    /// sends next decides the outcome, however long it takes.
    pub awaits_acceptance: bool,
}

/// The state of a connection beside its TLS bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Captured bytes were lost between the kernel and the agent.
    pub lost: bool,
    /// Different bytes were seen in one place of a stream; see
    /// [`Stream::contradicted`](crate::stream::reassembly::Stream::contradicted).
    pub contradicted: bool,
    /// Why the next byte of each direction is not there.
    pub missing: [Missing; 2],
    /// The connection is closed, or given up.
    pub ended: bool,
    /// Who ended it, where the connection itself ended.
    pub end: Option<End>,
    /// Why it was given up, where that is not a close.
    pub given_up: Option<Reason>,
}

/// How a TCP connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This side closed or reset it first.
    By(Direction),
    /// Nobody saw who did.
    Unseen,
}

impl Circumstances {
    /// Why an unfinished handshake will stay so, if that is known by now.
    #[must_use]
    pub fn dead_end(self) -> Option<Reason> {
        let from_streams = self.missing.into_iter().find_map(|missing| self.cut(missing));
        self.given_up.or(from_streams).or_else(|| self.ended.then(|| self.end_reason()))
    }

    /// Why bytes of a direction are missing for good.
    fn cut(self, missing: Missing) -> Option<Reason> {
        match missing {
            Missing::Truncated | Missing::Gap if self.lost => Some(Reason::CaptureLost),
            Missing::Truncated => Some(Reason::Truncated),
            Missing::Gap if self.ended => Some(Reason::Gap),
            _ => None,
        }
    }

    /// Why nothing more will come that could show whether the server accepted the handshake.
    fn no_answer(self) -> Option<Reason> {
        let cut = self.cut(self.missing[Direction::ToClient.index()]);
        self.given_up.or(cut).or_else(|| self.ended.then(|| self.end_reason()))
    }

    /// What an end in the middle of a handshake means. A client may leave for reasons of its own (a
    /// health check, a request that nobody waits for any more); a server that does refuses.
    const fn end_reason(self) -> Reason {
        match self.end {
            None => Reason::NoData,
            Some(End::By(Direction::ToServer)) => Reason::Abandoned,
            Some(End::By(Direction::ToClient) | End::Unseen) => Reason::Unaccepted,
        }
    }
}

const fn unknown(outcome: Outcome, reason: Reason) -> Verdict {
    Verdict {
        security: Security::Unknown,
        client_auth: ClientAuth::Unknown,
        outcome,
        evidence: Evidence::None,
        server_verified: ServerVerified::Unknown,
        reason: Some(reason),
    }
}

const fn security_of(client_auth: ClientAuth) -> Security {
    match client_auth {
        ClientAuth::Presented => Security::Mtls,
        ClientAuth::RequestedNotPresented | ClientAuth::NotRequested => Security::Tls,
        ClientAuth::Unknown => Security::Unknown,
    }
}

pub(crate) const fn known(
    client_auth: ClientAuth,
    outcome: Outcome,
    evidence: Evidence,
) -> Verdict {
    Verdict {
        security: security_of(client_auth),
        client_auth,
        outcome,
        evidence,
        server_verified: ServerVerified::Unknown,
        reason: match client_auth {
            ClientAuth::Unknown => Some(Reason::Ambiguous),
            _ => None,
        },
    }
}

impl Judgement {
    const fn new(certainty: Certainty, verdict: Verdict) -> Self {
        Self {
            certainty,
            verdict,
            resumed: None,
            left_resumed: false,
            rule: None,
            wire_client_auth: None,
            awaits_acceptance: false,
        }
    }

    /// A connection of which nothing certain can be said.
    #[must_use]
    pub const fn unknown(certainty: Certainty, outcome: Outcome, reason: Reason) -> Self {
        Self::new(certainty, unknown(outcome, reason))
    }

    /// Application bytes crossed in the clear.
    #[must_use]
    pub const fn plaintext(certainty: Certainty) -> Self {
        Self::new(
            certainty,
            Verdict {
                security: Security::Plaintext,
                client_auth: ClientAuth::NotRequested,
                outcome: Outcome::Established,
                evidence: Evidence::Wire,
                server_verified: ServerVerified::No,
                reason: None,
            },
        )
    }

    /// The handshake failed. While the connection is there, that is not settled: what said so may
    /// have been forged by somebody on the way, and then the real bytes follow and contradict it.
    fn failed(verdict: Verdict, circumstances: Circumstances) -> Self {
        let ended = circumstances.ended;
        Self::new(if ended { Certainty::Settled } else { Certainty::Decided }, verdict)
    }
}

/// Judges a TLS connection by its wire bytes and, where there is one, its transcript.
#[must_use]
pub fn judge(
    wire: &WireHandshake,
    transcript: Option<&Transcript>,
    circumstances: Circumstances,
) -> Judgement {
    let encrypted = wire.facts().version().is_some_and(TlsVersion::encrypts_handshake);
    let mut judgement = if circumstances.contradicted {
        contradicted(circumstances)
    } else if encrypted {
        encrypted::judge(wire, circumstances)
    } else {
        judge_clear(wire, circumstances)
    };
    if let Some(transcript) = transcript {
        library::apply(&mut judgement, wire, transcript, circumstances);
    }
    let shown = transcript.and_then(|transcript| transcript.facts.server_hello.as_ref());
    let seen = wire.facts().server_hello.as_ref().filter(|_| !circumstances.contradicted);
    if let Some(hello) = shown.or(seen) {
        suite::apply(&mut judgement, hello);
    }
    judgement
}

/// Which of the bytes the peers acted on is not known; only the library can tell.
fn contradicted(circumstances: Circumstances) -> Judgement {
    let certainty = if circumstances.ended { Certainty::Settled } else { Certainty::Decided };
    Judgement::unknown(certainty, Outcome::Incomplete, Reason::Ambiguous)
}

/// TLS up to 1.2, and everything before a ServerHello.
///
/// In a full handshake the server finishes last, after it has judged the client's flight (RFC 5246
/// section 7.3, figure 1): its Finished is the acceptance. In an abbreviated one the client
/// finishes last (figure 2); see [`resumed_in_clear`].
fn judge_clear(wire: &WireHandshake, circumstances: Circumstances) -> Judgement {
    let facts = wire.facts();
    if wire.finished() {
        if wire.abbreviated() {
            return resumed_in_clear(wire, circumstances);
        }
        if facts.client_key_exchange {
            let verdict = known(facts.client_auth(), Outcome::Established, Evidence::Wire);
            let mut judgement = Judgement::new(Certainty::Settled, verdict);
            judgement.resumed = Some(false);
            return judgement;
        }
        // Both sides finished, but neither a full nor an abbreviated handshake was seen.
        return Judgement::unknown(Certainty::Settled, Outcome::Established, Reason::Malformed);
    }
    if let Some(seen) = wire.alert() {
        return refused(facts, seen.sender, seen.description, circumstances);
    }
    if wire.protected_alert().is_some() || wire.answered_in_clear() {
        return Judgement::failed(failed_as_seen(facts), circumstances);
    }
    match wire.broken().or_else(|| circumstances.dead_end()) {
        Some(reason) => Judgement::new(Certainty::Settled, stopped(facts, reason)),
        None => Judgement::unknown(Certainty::Open, Outcome::Incomplete, Reason::NoData),
    }
}

/// A session up to TLS 1.2 was resumed, and both sides finished.
///
/// The server took the session up knowing whose it is, and has finished: that stands, unless it is
/// the server that ends the connection before it has said anything else.
fn resumed_in_clear(wire: &WireHandshake, circumstances: Circumstances) -> Judgement {
    let verdict = |outcome| unknown(outcome, Reason::ResumedUnseen);
    let refuses = circumstances.end == Some(End::By(Direction::ToClient));
    let stands = wire.answered() || circumstances.no_answer().is_some() && !refuses;
    let mut judgement = if stands {
        Judgement::new(Certainty::Settled, verdict(Outcome::Established))
    } else {
        awaited(circumstances, verdict)
    };
    judgement.resumed = Some(true);
    judgement
}

/// The client has finished; what the server thinks of it is still to be seen, or never will be.
fn awaited(circumstances: Circumstances, verdict: impl FnOnce(Outcome) -> Verdict) -> Judgement {
    let no_answer = circumstances.no_answer();
    let certainty = if no_answer.is_some() { Certainty::Settled } else { Certainty::Decided };
    let mut verdict = verdict(Outcome::Incomplete);
    if no_answer.is_some() || verdict.reason.is_none() {
        verdict.reason = no_answer.or(Some(Reason::Unaccepted));
    }
    Judgement { awaits_acceptance: no_answer.is_none(), ..Judgement::new(certainty, verdict) }
}

/// The handshake stopped: what was seen by then was seen.
fn stopped(facts: &HandshakeFacts, reason: Reason) -> Verdict {
    match facts.client_auth_so_far() {
        ClientAuth::Unknown => unknown(Outcome::Incomplete, reason),
        seen => {
            let verdict = known(seen, Outcome::Incomplete, Evidence::Wire);
            Verdict { reason: Some(reason), ..verdict }
        }
    }
}

/// The handshake failed. The client's answer to a request was seen, or nothing is said of it.
fn failed_as_seen(facts: &HandshakeFacts) -> Verdict {
    match facts.client_auth_so_far() {
        seen @ (ClientAuth::Presented | ClientAuth::RequestedNotPresented) => {
            known(seen, Outcome::Failed, Evidence::Wire)
        }
        ClientAuth::NotRequested | ClientAuth::Unknown => {
            unknown(Outcome::Failed, Reason::HandshakeFailed)
        }
    }
}

/// An alert in the clear ended the handshake.
fn refused(
    facts: &HandshakeFacts,
    sender: Direction,
    description: u8,
    circumstances: Circumstances,
) -> Judgement {
    let client_answered = match &facts.client_certificate {
        None => facts.client_key_exchange,
        Some(ClientCertificate::Empty) => true,
        Some(_) => facts.client_certificate_verify,
    };
    let says_so = match &facts.client_certificate {
        Some(ClientCertificate::Empty) => alert::refuses_no_certificate(description),
        _ => alert::refuses_certificate(description),
    };
    let refuses = sender == Direction::ToClient && facts.certificate_request && says_so;
    if !refuses {
        let mut verdict = failed_as_seen(facts);
        if sender == Direction::ToServer && alert::refuses_server_certificate(description) {
            verdict.server_verified = ServerVerified::No;
        }
        return Judgement::failed(verdict, circumstances);
    }
    if !client_answered {
        // The client's answer may have been overtaken by the alert.
        let verdict = unknown(Outcome::Failed, Reason::HandshakeFailed);
        return Judgement::new(Certainty::Decided, verdict);
    }
    Judgement::failed(known(facts.client_auth(), Outcome::Rejected, Evidence::Wire), circumstances)
}

//! From facts to the verdict: the three rules of the design live here.
//!
//! 1. Unknown is never folded into anything else.
//! 2. `mtls` is only said when the client's certificate and its CertificateVerify were seen
//!    or proven.
//! 3. Offered is not negotiated, presented is not accepted.

use crate::{
    flow::reassembly::Missing,
    model::{ClientAuth, Direction, Evidence, Outcome, Reason, Security, ServerVerified},
    report::Verdict,
    tls::{
        alert,
        facts::{ClientCertificate, HandshakeFacts},
        flights::{Ambiguity, FlightVerdict},
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
    /// Rule of the flight classifier, for `inferred`.
    pub rule: Option<&'static str>,
    /// What the wire alone says of client authentication, beside a verdict of the library's.
    pub wire_client_auth: Option<ClientAuth>,
}

/// The state of a connection beside its TLS bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Captured bytes were lost between the kernel and the agent.
    pub lost: bool,
    /// Different bytes were seen in one place of a stream; see
    /// [`Stream::contradicted`](crate::flow::reassembly::Stream::contradicted).
    pub contradicted: bool,
    /// Why the next byte of each direction is not there.
    pub missing: [Missing; 2],
    /// The connection is closed, or given up.
    pub ended: bool,
    /// Why it was given up, where that is not a close.
    pub given_up: Option<Reason>,
}

impl Circumstances {
    /// Why an unfinished handshake will stay so, if that is known by now.
    #[must_use]
    pub fn dead_end(self) -> Option<Reason> {
        let reason = |missing| match missing {
            Missing::Truncated | Missing::Hole if self.lost => Some(Reason::CaptureLost),
            Missing::Truncated => Some(Reason::Truncated),
            Missing::Hole if self.ended => Some(Reason::Gap),
            _ => None,
        };
        let from_streams = self.missing.into_iter().find_map(reason);
        self.given_up.or(from_streams).or_else(|| self.ended.then_some(Reason::NoData))
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

const fn known(client_auth: ClientAuth, outcome: Outcome, evidence: Evidence) -> Verdict {
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
        Self { certainty, verdict, resumed: None, rule: None, wire_client_auth: None }
    }

    /// A connection of which nothing certain can be said.
    #[must_use]
    pub const fn unknown(certainty: Certainty, outcome: Outcome, reason: Reason) -> Self {
        Self::new(certainty, unknown(outcome, reason))
    }

    /// Application bytes crossed in clear.
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
        judge_encrypted(wire, circumstances)
    } else {
        judge_clear(wire, circumstances)
    };
    if let Some(transcript) = transcript {
        apply_transcript(&mut judgement, wire, transcript, circumstances);
    }
    judgement
}

/// Which of the bytes the peers acted on is not known; only the library can tell.
fn contradicted(circumstances: Circumstances) -> Judgement {
    let certainty = if circumstances.ended { Certainty::Settled } else { Certainty::Decided };
    Judgement::unknown(certainty, Outcome::Incomplete, Reason::Ambiguous)
}

/// TLS up to 1.2, and everything before a ServerHello.
fn judge_clear(wire: &WireHandshake, circumstances: Circumstances) -> Judgement {
    let facts = wire.facts();
    if wire.finished() {
        if wire.abbreviated() {
            let mut judgement =
                Judgement::unknown(Certainty::Settled, Outcome::Established, Reason::ResumedUnseen);
            judgement.resumed = Some(true);
            return judgement;
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
    if wire.protected_alert().is_some() {
        return Judgement::failed(unknown(Outcome::Failed, Reason::HandshakeFailed), circumstances);
    }
    if wire.answered_in_clear() {
        return Judgement::failed(unknown(Outcome::Failed, Reason::HandshakeFailed), circumstances);
    }
    if let Some(reason) = wire.broken() {
        return Judgement::unknown(Certainty::Settled, Outcome::Incomplete, reason);
    }
    unfinished(circumstances)
}

fn unfinished(circumstances: Circumstances) -> Judgement {
    match circumstances.dead_end() {
        Some(reason) => Judgement::unknown(Certainty::Settled, Outcome::Incomplete, reason),
        None => Judgement::unknown(Certainty::Open, Outcome::Incomplete, Reason::NoData),
    }
}

/// An alert in clear ended the handshake.
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
        let mut verdict = unknown(Outcome::Failed, Reason::HandshakeFailed);
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

/// TLS 1.3 by its record lengths.
fn judge_encrypted(wire: &WireHandshake, circumstances: Circumstances) -> Judgement {
    if let Some(seen) = wire.alert() {
        // In clear although keys exist: one side could not follow the other.
        return refused(wire.facts(), seen.sender, seen.description, circumstances);
    }
    let Some(flights) = wire.flights() else {
        let resumed = wire.facts().server_hello.as_ref().is_some_and(|hello| hello.pre_shared_key);
        let reason = if resumed { Reason::ResumedUnseen } else { Reason::EncryptedHandshake };
        // An alert in clear may still come.
        let certainty = if circumstances.ended { Certainty::Settled } else { Certainty::Decided };
        let mut judgement = Judgement::unknown(certainty, Outcome::Incomplete, reason);
        judgement.resumed = resumed.then_some(true);
        return judgement;
    };
    let outcome = match flights.outcome() {
        // The client has finished: for it the connection stands until it is refused.
        Outcome::Incomplete if !circumstances.ended => None,
        seen => Some(seen),
    };
    let certainty = if outcome.is_some() || circumstances.dead_end().is_some() {
        Certainty::Settled
    } else {
        Certainty::Decided
    };
    match flights.verdict() {
        FlightVerdict::Decided { client_auth, rule, .. } => {
            let outcome = outcome.unwrap_or(Outcome::Established);
            let mut judgement =
                Judgement::new(certainty, known(client_auth, outcome, Evidence::Inferred));
            judgement.rule = Some(rule.as_str());
            judgement.resumed = Some(false);
            judgement
        }
        FlightVerdict::Resumed => {
            let outcome = outcome.unwrap_or(Outcome::Established);
            let mut judgement = Judgement::unknown(certainty, outcome, Reason::ResumedUnseen);
            judgement.resumed = Some(true);
            judgement
        }
        FlightVerdict::Failed { .. } => {
            Judgement::failed(unknown(Outcome::Failed, Reason::HandshakeFailed), circumstances)
        }
        FlightVerdict::Ambiguous { why: Ambiguity::Incomplete } => {
            Judgement::unknown(certainty, Outcome::Incomplete, Reason::Ambiguous)
        }
        FlightVerdict::Ambiguous { .. } => {
            let outcome = outcome.unwrap_or(Outcome::Incomplete);
            Judgement::unknown(certainty, outcome, Reason::Ambiguous)
        }
        FlightVerdict::Pending => match wire.broken() {
            Some(reason) => Judgement::unknown(Certainty::Settled, Outcome::Incomplete, reason),
            None => unfinished(circumstances),
        },
    }
}

/// What the library showed outranks what the wire let us infer, and completes what it hides.
fn apply_transcript(
    judgement: &mut Judgement,
    wire_handshake: &WireHandshake,
    transcript: &Transcript,
    circumstances: Circumstances,
) {
    let wire = judgement.verdict;
    let refused = transcript.alert_received.is_some_and(|description| {
        transcript.facts.certificate_request && alert::refuses_certificate(description)
    });
    if transcript.is_complete() && transcript.is_resumed() {
        judgement.resumed = Some(true);
        if circumstances.contradicted {
            judgement.verdict.outcome = Outcome::Established;
        }
    } else if transcript.is_complete() {
        judgement.wire_client_auth = Some(wire.client_auth);
        let outcome = match wire.outcome {
            Outcome::Incomplete => Outcome::Established,
            seen => seen,
        };
        judgement.verdict = known(transcript.facts.client_auth(), outcome, Evidence::Library);
        judgement.resumed = Some(false);
        judgement.certainty = judgement.certainty.max(Certainty::Decided);
    }
    if refused {
        judgement.verdict.outcome = Outcome::Rejected;
        judgement.certainty = Certainty::Settled;
    } else if transcript.alert_received.is_some_and(|n| n != alert::description::CLOSE_NOTIFY) {
        judgement.verdict.outcome = Outcome::Failed;
        judgement.certainty = Certainty::Settled;
    }
    if let seen @ (ServerVerified::Yes | ServerVerified::No) = server_verified(transcript) {
        judgement.verdict.server_verified = seen;
    }
    if application_refused(wire_handshake, transcript, circumstances) {
        judgement.verdict.outcome = Outcome::Failed;
    }
}

/// The application looked at the verification result, it was bad, and the connection ended
/// without application data: nginx with `proxy_ssl_verify on`. (`curl -k` looks and goes on.)
fn application_refused(
    wire: &WireHandshake,
    transcript: &Transcript,
    circumstances: Circumstances,
) -> bool {
    let bad = transcript.application_verify_error.is_some_and(|error| error != 0)
        || name_mismatch(transcript);
    bad && circumstances.ended && !wire.client_sent_data()
}

/// `X509_check_host` answered anything but 1, match.
const fn name_mismatch(transcript: &Transcript) -> bool {
    matches!(transcript.host_check, Some(result) if result != 1)
}

/// `yes` needs a good result *and* a sign that a bad one would have been acted on: the library
/// itself would have ended the handshake, the application's callback (which the library obeys)
/// approved, or the application asked for the result and checked the name (nginx does so only under
/// `proxy_ssl_verify on`). A Go program that verifies by a function of its own, with a good result,
/// stays unknown: what it makes of a bad one is not seen.
fn server_verified(transcript: &Transcript) -> ServerVerified {
    const GOOD: i32 = 0;
    let library = transcript.server_verification;
    let unverified = transcript.never_verified && transcript.facts.server_certificate.is_some();
    let is_bad = unverified
        || library.is_some_and(|verification| verification.error != 0)
        || transcript.application_verify_error.is_some_and(|error| error != 0)
        || name_mismatch(transcript);
    match library {
        _ if is_bad => ServerVerified::No,
        Some(verification)
            if verification.enforced
                || (transcript.verify_callback == Some(GOOD) && !transcript.approves_anything)
                || transcript.is_accepted() =>
        {
            ServerVerified::Yes
        }
        _ => ServerVerified::Unknown,
    }
}

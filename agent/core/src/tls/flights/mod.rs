//! Client authentication in TLS 1.3, inferred from record lengths.
//!
//! From the ServerHello on, everything is encrypted, but the length of a record gives away the
//! length of the handshake messages in it. With hash length H and tag length T the client's flight
//! (RFC 8446 section 2) is one of
//!
//! | server's request | client's records |
//! |---|---|
//! | none | Finished: 4+H+1+T |
//! | answered with an empty Certificate | 8+1+T, then Finished; or both in one |
//! | answered with a certificate | a long record, CertificateVerify, Finished; or all in one or two |
//! | impossible, a PSK was selected | Finished, which says nothing about the certificate |
//!
//! and the server's flight has one record more where it contains a request. [`Flights`] reads both
//! witnesses and answers with a [`FlightVerdict`] that never changes once it is final.
//!
//! # What this cannot see
//! Lengths prove nothing. Where the server coalesces its flight, the client is the only witness, and
//! one that pads its Finished by hundreds of bytes, neither evenly nor to blocks, looks as if it sent
//! a certificate. No known implementation does so; such verdicts are [`Confidence::Moderate`].
//! Where the server says that it asked, the same holds for an empty Certificate. Post-handshake
//! authentication happens after the verdict: where it was offered, `not_requested` is never more than
//! moderate.
//!
//! What was offered may add messages that nothing here knows of: lengths speak only where everything
//! in the ClientHello is known not to ([`offers`](crate::tls::offers)), or where the server's flight
//! decides.
//!
//! # Order
//! Each direction's records must be fed in its own order. How the two interleave does not change a
//! decided `client_auth`, except that early data must have been told apart: only records after the
//! ServerHello are fed. The outcome does rest on what followed what: on acknowledgements where they
//! are known ([`Flights::on_record_at`]), else on the order of arrival.

mod arithmetic;
mod client;
mod ends;
mod facts;
mod likeness;
mod outcome;
mod server;
mod verdict;

use client::{Context, Reading};
use server::Witness;

use self::{
    arithmetic::{Arithmetic, Padding},
    outcome::{Answer, Progress},
};
pub use self::{
    facts::{HelloFacts, SuiteLengths, UnknownCipherSuite},
    likeness::CertificateFlight,
    verdict::{Ambiguity, Confidence, FailureSign, FlightVerdict, Rule},
};
use crate::{
    heard::Place,
    model::{ClientAuth, Direction, Outcome},
};

/// Content type of an alert record (RFC 8446 section 5.1); in the clear where it shows.
const ALERT: u8 = 21;
/// Content type of every encrypted record.
const APPLICATION_DATA: u8 = 23;

/// The lengths of a direction's first `N` encrypted records.
#[derive(Clone, Debug)]
struct Kept<const N: usize> {
    lengths: [u16; N],
    count: u8,
}

impl<const N: usize> Kept<N> {
    const fn new() -> Self {
        Self { lengths: [0; N], count: 0 }
    }

    fn push(&mut self, length: u16) {
        if let Some(slot) = self.lengths.get_mut(usize::from(self.count)) {
            *slot = length;
            self.count += 1;
        }
    }

    fn as_slice(&self) -> &[u16] {
        &self.lengths[..usize::from(self.count)]
    }

    const fn is_full(&self) -> bool {
        self.count as usize == N
    }
}

/// Reads the encrypted flights of one TLS 1.3 handshake, record by record.
///
/// Takes constant memory and allocates nothing.
#[derive(Clone, Debug)]
pub struct Flights {
    facts: HelloFacts,
    arithmetic: Arithmetic,
    client: Kept<{ client::KEPT }>,
    server: Kept<{ server::KEPT }>,
    client_closed: bool,
    server_closed: bool,
    server_flight: server::Seen,
    progress: Progress,
    verdict: FlightVerdict,
    outcome: Outcome,
}

impl Flights {
    /// Starts after a ServerHello that negotiated TLS 1.3 (and is no HelloRetryRequest).
    #[must_use]
    pub fn new(facts: HelloFacts) -> Self {
        let verdict = match (facts.psk_selected, facts.psk_offered) {
            (true, true) => FlightVerdict::Resumed,
            (true, false) => FlightVerdict::Ambiguous { why: Ambiguity::ContradictoryHellos },
            (false, _) => FlightVerdict::Pending,
        };
        Self {
            facts,
            arithmetic: Arithmetic::new(&facts),
            client: Kept::new(),
            server: Kept::new(),
            client_closed: false,
            server_closed: false,
            server_flight: server::Seen::PENDING,
            progress: Progress::default(),
            verdict,
            outcome: Outcome::Incomplete,
        }
    }

    /// Takes the header of one record that followed the ServerHello: content type and the length
    /// field. Records other than alerts and encrypted ones (`change_cipher_spec`) are ignored.
    ///
    /// What followed what is taken from the order of the calls; see [`Flights::on_record_at`].
    pub fn on_record(&mut self, direction: Direction, content_type: u8, length: u16) {
        self.on_record_at(direction, content_type, length, self.progress.next_place(direction));
    }

    /// Takes a record of which it is known what it followed: `place` is where a record of the
    /// client ends in its stream, and of a record of the server up to where it had received that
    /// stream when it began the record.
    pub fn on_record_at(
        &mut self,
        direction: Direction,
        content_type: u8,
        length: u16,
        place: Place,
    ) {
        if self.is_settled() {
            return;
        }
        match content_type {
            APPLICATION_DATA => self.on_encrypted(direction, length, place),
            ALERT => self.on_alert_in_clear(direction),
            _ => return,
        }
        self.judge();
    }

    /// One side closed its direction: it will send no more records.
    pub fn on_close(&mut self, direction: Direction) {
        self.progress.on_close(direction);
        match direction {
            Direction::ToServer => self.client_closed = true,
            Direction::ToClient => self.server_closed = true,
        }
        self.judge();
    }

    /// No more records will be fed, whatever the reason: decides as far as the records allow.
    /// A verdict that is still pending then had no record of the client to go by.
    pub fn finish(&mut self) {
        self.client_closed |= self.client.count > 0;
        self.server_closed = true;
        self.judge();
    }

    /// What is known about client authentication.
    #[must_use]
    pub const fn verdict(&self) -> FlightVerdict {
        self.verdict
    }

    /// How the handshake ended; [`Outcome::Incomplete`] until something showed it. Final once it is
    /// anything else. `rejected` needs the end of the connection, or [`Flights::finish`].
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the client left (a close, or what may be its alert) before the server did.
    #[must_use]
    pub const fn client_left_first(&self) -> bool {
        self.progress.client_left_first()
    }

    /// Whether further records can change neither verdict nor outcome.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.verdict != FlightVerdict::Pending && self.outcome != Outcome::Incomplete
    }

    fn on_encrypted(&mut self, direction: Direction, length: u16, place: Place) {
        if !self.arithmetic.is_possible(length) && self.verdict == FlightVerdict::Pending {
            self.verdict = FlightVerdict::Ambiguous { why: Ambiguity::ImpossibleLength };
        }
        self.progress.on_encrypted(self.arithmetic, direction, length, place);
        match direction {
            Direction::ToServer => self.client.push(length),
            Direction::ToClient => self.server.push(length),
        }
    }

    fn on_alert_in_clear(&mut self, direction: Direction) {
        self.progress.on_alert_in_clear(direction);
        if self.verdict == FlightVerdict::Pending && self.client.count == 0 {
            self.verdict = FlightVerdict::Failed {
                sign: match direction {
                    Direction::ToServer => FailureSign::ClientAlert,
                    Direction::ToClient => FailureSign::ServerAlert,
                },
            };
        }
    }

    fn judge(&mut self) {
        if self.verdict == FlightVerdict::Pending {
            self.verdict = self.read_flights();
        }
        if self.outcome == Outcome::Incomplete {
            self.outcome = self.read_outcome();
        }
    }

    fn read_flights(&mut self) -> FlightVerdict {
        let a = self.arithmetic;
        let alert = a.alert(Padding::Bare);
        if self.client.count == 0 && self.server.as_slice().first() == Some(&alert) {
            return FlightVerdict::Failed { sign: FailureSign::ServerAlert };
        }
        self.server_flight = server::read(a, self.server.as_slice(), self.server_closed);
        let server = self.server_flight.witness;
        let ended = self.client_closed || self.client.is_full();
        let mut reading =
            client::read(Context { a, facts: &self.facts, server, ended }, self.client.as_slice());
        if self.facts.unknown_offer {
            reading = in_an_open_world(reading, server);
        }
        combine(reading, server, &self.facts)
    }

    fn read_outcome(&self) -> Outcome {
        let requested = match self.verdict {
            FlightVerdict::Failed { .. } => return Outcome::Failed,
            FlightVerdict::Pending => return Outcome::Incomplete,
            FlightVerdict::Decided { client_auth, .. } => client_auth != ClientAuth::NotRequested,
            // In place of its Finished the client sent an alert.
            FlightVerdict::Resumed
                if self.client.as_slice().first()
                    == Some(&self.arithmetic.alert(Padding::Bare)) =>
            {
                return Outcome::Failed;
            }
            FlightVerdict::Resumed => false,
            FlightVerdict::Ambiguous { why } => {
                self.server_flight.witness == Witness::Requested
                    && why != Ambiguity::WitnessesDisagree
            }
        };
        if self.server_went_on() {
            return Outcome::Established;
        }
        let closed = self.client_closed || self.server_closed;
        if requested
            && closed
            && self.progress.server_alerted(self.arithmetic, self.server_flight.padding)
        {
            return Outcome::Rejected;
        }
        if !requested && self.progress.server_alerted_in_clear() {
            return Outcome::Failed;
        }
        Outcome::Incomplete
    }

    /// Whether the server said what is no alert after the client's flight.
    fn server_went_on(&self) -> bool {
        match self.progress.answer(self.server_flight_end(), self.flight_end()) {
            Answer::None => false,
            Answer::One { at } => {
                let (before, answer) = self.server.as_slice().split_at(at);
                !answer.first().is_some_and(|&answer| {
                    server::may_be_padded_alert(self.arithmetic, before, answer)
                })
            }
            Answer::More => true,
        }
    }
}

/// What the client's records say where it may have sent messages that are not known. Those would
/// have to come in the very lengths of the flight that the server asked for; without its word, any
/// length may be theirs.
fn in_an_open_world(reading: Reading, server: Witness) -> Reading {
    match reading {
        Reading::Flight { exact: true, .. } if server == Witness::Requested => reading,
        Reading::Flight { .. } if server == Witness::NotRequested => {
            Reading::Unclear(Ambiguity::UnexplainedLength)
        }
        Reading::Flight { .. } => Reading::Unclear(Ambiguity::UnknownOffer),
        Reading::Unclear(_) if server != Witness::NotRequested => {
            Reading::Unclear(Ambiguity::UnknownOffer)
        }
        Reading::Unclear(_) | Reading::Wait | Reading::Alert => reading,
    }
}

/// Puts the two witnesses together.
fn combine(reading: Reading, server: Witness, facts: &HelloFacts) -> FlightVerdict {
    let disagree = FlightVerdict::Ambiguous { why: Ambiguity::WitnessesDisagree };
    let (client_auth, rule, exact, end) = match reading {
        Reading::Alert => return FlightVerdict::Failed { sign: FailureSign::ClientAlert },
        _ if server == Witness::Pending => return FlightVerdict::Pending,
        Reading::Wait => return FlightVerdict::Pending,
        Reading::Flight { auth, rule, exact, end } => (auth, rule, exact, end),
        // The client's flight says too little to contradict the server's.
        Reading::Unclear(
            Ambiguity::Padded
            | Ambiguity::UnexplainedLength
            | Ambiguity::TinyFragments
            | Ambiguity::EarlyDataRejected,
        ) if server == Witness::NotRequested => {
            (ClientAuth::NotRequested, Rule::ServerDidNotRequest, false, 1)
        }
        Reading::Unclear(why) => return FlightVerdict::Ambiguous { why },
    };
    let agrees = match server {
        Witness::Requested if client_auth == ClientAuth::NotRequested => return disagree,
        Witness::NotRequested if client_auth != ClientAuth::NotRequested => return disagree,
        Witness::Requested | Witness::NotRequested => rule != Rule::ServerDidNotRequest,
        Witness::Silent | Witness::Pending => false,
    };
    // The server may still ask.
    let open = client_auth == ClientAuth::NotRequested && facts.post_handshake_auth_offered;
    let strong = (agrees || exact) && !open;
    FlightVerdict::Decided {
        client_auth,
        rule,
        confidence: if strong { Confidence::Strong } else { Confidence::Moderate },
        client_flight_end: u8::try_from(end).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests;

//! What is to be said about a connection as of now.

use super::{Connection, MAX_MID_STREAM_SEGMENTS, Phase};
use crate::{
    model::{CloseCause, Direction, Outcome, Reason},
    stream::{
        prelude::Protocol,
        reassembly::{Missing, Stream},
    },
    tls::transcript::Transcript,
    verdict::{self, Certainty, Circumstances, End, Judgement},
};

/// Length of an alert in a record of its own, in the clear (RFC 8446 sections 5.1 and 6).
const ALERT_RECORD: u64 = 7;

impl Connection {
    /// True once the client has left a connection on which neither side had sent a byte.
    ///
    /// Not where bytes may have been missed: an end that lies further on, a loss, a beginning that
    /// was not seen. Nor where the server left, which may have refused.
    fn unused(&self) -> bool {
        let is_empty = |stream: &Stream| {
            stream.end() == 0 && matches!(stream.missing(), Missing::NotYet | Missing::Finished)
        };
        self.over()
            && self.left_first == Some(Direction::ToServer)
            && !self.lost
            && self.streams.iter().all(is_empty)
    }

    /// True once the server has answered a client that left without a byte by an alert, as some
    /// libraries answer an end of the stream: nothing was tried, and nothing refused.
    fn unused_but_told(&self) -> bool {
        let [to_server, to_client] = [Direction::ToServer, Direction::ToClient]
            .map(|direction| &self.streams[direction.index()]);
        matches!(self.phase, Phase::Tls { .. })
            && self.left_first == Some(Direction::ToServer)
            && !self.lost
            && to_server.end() == 0
            && matches!(to_server.missing(), Missing::Finished)
            && to_client.end() == ALERT_RECORD
    }

    /// Nothing is known but that bytes are exchanged: once both sides have spoken.
    fn exchanged(&self, reason: Reason) -> Judgement {
        let spoken = self.streams.iter().all(|stream| stream.end() > 0);
        let outcome = if spoken { Outcome::Established } else { Outcome::Incomplete };
        let settled = spoken || self.ended();
        let certainty = if settled { Certainty::Settled } else { Certainty::Decided };
        Judgement::unknown(certainty, outcome, reason)
    }

    /// What is to be said now.
    #[must_use]
    pub fn judge(&self, transcript: Option<&Transcript>) -> Judgement {
        let circumstances = Circumstances {
            missing: [self.streams[0].missing(), self.streams[1].missing()],
            ended: self.ended(),
            end: self.over().then(|| self.left_first.map_or(End::Unseen, End::By)),
            given_up: self.given_up,
            lost: self.lost,
            contradicted: self.streams.iter().any(Stream::contradicted),
        };
        match &self.phase {
            Phase::Tls { .. } if self.unused_but_told() => {
                Judgement::unknown(Certainty::Settled, Outcome::Incomplete, Reason::Unused)
            }
            Phase::Tls { wire, .. } => verdict::judge(wire, transcript, circumstances),
            _ if circumstances.contradicted => {
                Judgement::unknown(Certainty::Settled, Outcome::Incomplete, Reason::Ambiguous)
            }
            // The client's own request settles it. Elsewhere the server had a say (a greeting, a
            // refusal to upgrade), and what seemed to be the server's may be contradicted yet.
            Phase::Plaintext(Protocol::Http1 | Protocol::H2c) => {
                Judgement::plaintext(Certainty::Settled)
            }
            Phase::Plaintext(_) if self.ended() => Judgement::plaintext(Certainty::Settled),
            Phase::Plaintext(_) => Judgement::plaintext(Certainty::Decided),
            Phase::Opaque(_) => self.exchanged(Reason::EncryptedNotTls),
            Phase::Undecided => self.exchanged(Reason::Unrecognised),
            Phase::Unfinished(_) => {
                let reason = Reason::UpgradeUnfinished;
                Judgement::unknown(Certainty::Settled, Outcome::Incomplete, reason)
            }
            Phase::Greeted(_) => {
                Judgement::unknown(Certainty::Settled, Outcome::Incomplete, Reason::NoData)
            }
            Phase::TlsMidStream | Phase::MidStream { segments: MAX_MID_STREAM_SEGMENTS.. } => {
                Judgement::unknown(Certainty::Settled, Outcome::Established, Reason::MidStream)
            }
            Phase::MidStream { .. } => {
                let certainty = if self.ended() { Certainty::Settled } else { Certainty::Open };
                Judgement::unknown(certainty, Outcome::Incomplete, Reason::MidStream)
            }
            Phase::Opening if self.closed == Some(CloseCause::ConnectFailed) => {
                Judgement::unknown(Certainty::Settled, Outcome::Failed, Reason::NoData)
            }
            Phase::Opening if self.unused() => {
                Judgement::unknown(Certainty::Settled, Outcome::Incomplete, Reason::Unused)
            }
            Phase::Opening => {
                // There was no handshake that could have been accepted.
                let circumstances = Circumstances { end: None, ..circumstances };
                let (certainty, reason) = match circumstances.dead_end() {
                    // There may have been more, where nobody looked.
                    Some(Reason::NoData) if self.has_data() && !self.over() => {
                        (Certainty::Settled, Reason::Truncated)
                    }
                    Some(reason) => (Certainty::Settled, reason),
                    None => (Certainty::Open, Reason::NoData),
                };
                Judgement::unknown(certainty, Outcome::Incomplete, reason)
            }
        }
    }
}

//! The words the classifier answers with.

use serde::{Deserialize, Serialize};

use crate::{model::ClientAuth, vocabulary};

vocabulary! {
    /// The arithmetic that decided. F, E and A stand for the record lengths of a Finished, of an
    /// empty Certificate and of an alert: 4+H+1+T, 8+1+T and 2+1+T with hash length H and tag T.
    Rule {
        /// The client's first record is F. No request was answered: a Certificate, empty or not,
        /// would come before Finished.
        Finished => "finished",
        /// The client's first record is F+16: Finished by a client that pads every record with 16
        /// zero bytes. Its next record is not shorter than such a client's shortest.
        FinishedFixedPadding => "finished_fixed_padding",
        /// The client's first record is Finished rounded up to a block of 16 bytes, and the records
        /// after it are rounded to 16 bytes and to no larger block.
        FinishedBlockPadding => "finished_block_padding",
        /// The server's flight is EncryptedExtensions, Certificate, CertificateVerify, Finished,
        /// while padding hides what the client's flight says.
        ServerDidNotRequest => "server_did_not_request",
        /// The client's first records are E, F.
        EmptyCertificate => "empty_certificate",
        /// The client's first records are E+c, F+c, or both rounded up to a block of 16 bytes.
        EmptyCertificatePadded => "empty_certificate_padded",
        /// The client's first record is too short for a Finished and as long as a compressed empty
        /// Certificate; the second is F.
        EmptyCertificateCompressed => "empty_certificate_compressed",
        /// The client's first record is E and F in one: 8+4+H+1+T.
        EmptyCertificateCoalesced => "empty_certificate_coalesced",
        /// The same with 16 bytes of padding, where the server asked (SunJSSE).
        EmptyCertificateCoalescedPadded => "empty_certificate_coalesced_padded",
        /// A record that can hold a certificate, one as long as a CertificateVerify, then F, all
        /// under the same padding.
        CertificateVerify => "certificate_verify",
        /// The client's first record is longer than any modestly padded Finished, the flight shows
        /// no block padding: Certificate with the messages after it in the same records.
        CertificateCoalesced => "certificate_coalesced",
    }
}

vocabulary! {
    /// How much a decided verdict rests on. `Ord` compares strength.
    Confidence {
        /// One witness, by one length: a client with padding of its own devising could imitate it.
        /// Or no request was made, and the client offered to answer one after the handshake.
        Moderate => "moderate",
        /// Both flights agree, or the client's flight matched in two exact lengths or more.
        Strong => "strong",
    }
}

vocabulary! {
    /// Why the flights do not decide.
    Ambiguity {
        /// The client's flight says one thing and the server's another.
        WitnessesDisagree => "witnesses_disagree",
        /// The client pads its records to blocks that make different messages equally long.
        Padded => "padded",
        /// The client's first record fits no message: too long for a Finished, too short for a
        /// certificate without doubt, or too short for anything.
        UnexplainedLength => "unexplained_length",
        /// The client cuts its messages into records short enough to look like other messages.
        TinyFragments => "tiny_fragments",
        /// Early data was refused, and its remains may stand before the client's flight.
        EarlyDataRejected => "early_data_rejected",
        /// The client's flight stopped before it said anything.
        Incomplete => "incomplete",
        /// The ClientHello offers what may add messages before the client's Finished, and the
        /// server's flight does not decide.
        UnknownOffer => "unknown_offer",
        /// A record length that TLS 1.3 does not permit.
        ImpossibleLength => "impossible_length",
        /// The hellos contradict each other.
        ContradictoryHellos => "contradictory_hellos",
    }
}

vocabulary! {
    /// What showed that the handshake failed before the client's flight.
    FailureSign {
        /// The client sent an alert in place of its flight.
        ClientAlert => "client_alert",
        /// The server sent an alert in place of its flight, or before the client's.
        ServerAlert => "server_alert",
    }
}

/// What the record lengths say about client authentication in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum FlightVerdict {
    /// More records are needed.
    Pending,
    /// Decided; final.
    Decided {
        /// Never [`ClientAuth::Unknown`].
        client_auth: ClientAuth,
        /// The arithmetic behind it.
        rule: Rule,
        /// How much it rests on.
        confidence: Confidence,
        /// How many encrypted records of the client belong to its flight; the record after these
        /// is application data. The lower bound where coalescing leaves it open.
        client_flight_end: u8,
    },
    /// A PSK was selected: the handshake says nothing about the client's certificate; final.
    Resumed,
    /// The handshake failed before the client's flight; final.
    Failed {
        /// What showed it.
        sign: FailureSign,
    },
    /// The records fit more than one answer; final.
    Ambiguous {
        /// Why.
        why: Ambiguity,
    },
}

impl FlightVerdict {
    /// The client authentication of a decided verdict, else [`ClientAuth::Unknown`].
    #[must_use]
    pub const fn client_auth(&self) -> ClientAuth {
        match self {
            Self::Decided { client_auth, .. } => *client_auth,
            _ => ClientAuth::Unknown,
        }
    }
}

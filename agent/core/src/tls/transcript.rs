//! The handshake as the proxy's TLS library hashed it: whole messages in the clear, also under
//! TLS 1.3 (RFC 8446 section 4.4.1 defines the transcript).
//!
//! A transcript belongs to a process and a digest context; a ClientHello (or the synthetic
//! message that stands for the first one after a HelloRetryRequest) begins a new one.

mod store;

use super::{facts::HandshakeFacts, hello::TlsVersion, message::handshake_type as message, order};
use crate::model::{Direction, LibraryObservation, Timestamp};
pub use store::{TranscriptLimits, Transcripts};

/// The result of the library's own verification of the server's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// An `X509_V_*` code; 0 is `X509_V_OK`.
    pub error: i32,
    /// The library would have ended the handshake over a bad result.
    pub enforced: bool,
}

/// One handshake as a library showed it.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that was seen or not")]
pub struct Transcript {
    /// Process id.
    pub pid: u32,
    /// Address of the connection object; 0 where not known.
    pub ssl: u64,
    /// Address of the digest context, or what stands for it.
    context: u64,
    /// When the last of it was seen.
    pub at: Timestamp,
    /// What the messages said.
    pub facts: HandshakeFacts,
    /// Messages whose bodies contradict their types, that break the protocol's order, or that the
    /// probe cut: what they say counts for nothing.
    pub damaged: bool,
    /// The probe tells who sent a message. It then also sees messages before anything is verified.
    directed: bool,
    /// Chain verification while the server's certificate was the newest.
    pub server_verification: Option<Verification>,
    /// The answer of the application's verify callback (`ssl_verify_result_t`; BoringSSL).
    pub verify_callback: Option<i32>,
    /// Callbacks of this process have approved of a bad chain.
    pub approves_anything: bool,
    /// The client finished without a look at the server's certificate (Go).
    pub never_verified: bool,
    /// The application's own look at the result (`SSL_get_verify_result`).
    pub application_verify_error: Option<i64>,
    /// The application's check of the name (`X509_check_host`): 1 matched.
    pub host_check: Option<i32>,
    /// Alert received.
    pub alert_received: Option<u8>,
    /// A connection was found for it.
    pub matched: bool,
    /// That connection goes on.
    held: bool,
}

impl Transcript {
    /// Both Finished were hashed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.facts.finished[0] && self.facts.finished[1]
    }

    /// The application itself asked for the result and checked the name, and found both good: it
    /// has no more to say.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.application_verify_error == Some(0) && self.host_check == Some(1)
    }

    /// The client finished after it had looked at the server's certificate, in a library that calls the
    /// application's own verification before (Go, BoringSSL): what that found bad, it accepted.
    #[must_use]
    pub const fn is_past_verification(&self) -> bool {
        self.directed && self.facts.finished[Direction::ToServer.index()]
    }

    /// The session was resumed: in TLS 1.3 by a pre-shared key, before by a server that finished
    /// without a flight of its own.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let Some(hello) = &self.facts.server_hello else { return false };
        if hello.version.encrypts_handshake() {
            hello.pre_shared_key.is_some()
        } else {
            self.facts.finished[1]
                && self.facts.server_certificate.is_none()
                && !self.facts.server_hello_done
        }
    }

    /// Who sent the next message of this type, where only its position tells.
    fn sender(&self, kind: u8) -> Direction {
        let facts = &self.facts;
        let by_client = match kind {
            message::CLIENT_HELLO
            | message::CLIENT_KEY_EXCHANGE
            | message::END_OF_EARLY_DATA
            | message::NEXT_PROTOCOL => true,
            message::CERTIFICATE
            | message::CERTIFICATE_VERIFY
            | message::COMPRESSED_CERTIFICATE
            | message::FINISHED
                if facts.version().is_some_and(TlsVersion::encrypts_handshake) =>
            {
                facts.finished[Direction::ToClient.index()]
            }
            message::CERTIFICATE | message::CERTIFICATE_VERIFY => facts.server_hello_done,
            message::FINISHED if facts.server_hello_done => {
                !facts.finished[Direction::ToServer.index()]
            }
            message::FINISHED => facts.finished[Direction::ToClient.index()],
            _ => false,
        };
        if by_client { Direction::ToServer } else { Direction::ToClient }
    }

    /// Takes in what was observed beside the messages.
    fn annotate(&mut self, observation: &LibraryObservation) {
        match *observation {
            LibraryObservation::VerifyResult { error, enforced } => {
                // What the library found good and would have refused otherwise is not undone by what
                // the application asks besides.
                let stands = self
                    .server_verification
                    .is_some_and(|known| known.enforced && known.error == 0 && !enforced);
                // After the client's Certificate it is the server role verifying the client.
                if self.facts.client_certificate.is_none() && !stands {
                    self.server_verification = Some(Verification { error, enforced });
                }
            }
            LibraryObservation::VerifyCallback { result } => self.verify_callback = Some(result),
            LibraryObservation::NeverVerified => self.never_verified = true,
            LibraryObservation::ApplicationVerifyResult { error } => {
                self.application_verify_error = Some(error);
            }
            LibraryObservation::ApplicationCheckedHost { result } => {
                self.host_check = Some(result);
            }
            LibraryObservation::AlertReceived { description } => {
                self.alert_received.get_or_insert(description);
            }
            LibraryObservation::TlsError { .. }
            | LibraryObservation::TicketReceived { .. }
            | LibraryObservation::TicketLost
            | LibraryObservation::WatchPaused
            | LibraryObservation::ClientConnectionMade
            | LibraryObservation::TranscriptUpdate { .. } => {}
        }
    }

    /// Its callback approved of a chain that the library found bad.
    fn approved_bad_chain(&self) -> bool {
        self.verify_callback == Some(0)
            && self.server_verification.is_some_and(|verification| verification.error != 0)
    }

    fn messages(&mut self, messages: &[(u8, &[u8])], direction: Option<Direction>) {
        self.directed = direction.is_some();
        for (kind, body) in messages {
            let sender = direction.unwrap_or_else(|| self.sender(*kind));
            let in_order = order::may_follow(&self.facts, sender, *kind);
            if !in_order || self.facts.message(sender, *kind, body).is_err() {
                self.damaged = true;
            }
        }
    }
}

/// Splits a buffer into handshake messages; `None` unless it consists of whole ones.
fn whole_messages(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let header = bytes.get(..4)?;
        let length =
            usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
        let body = bytes.get(4..4 + length)?;
        if !super::message::is_handshake_type(header[0]) {
            return None;
        }
        messages.push((header[0], body));
        bytes = &bytes[4 + length..];
    }
    (!messages.is_empty()).then_some(messages)
}

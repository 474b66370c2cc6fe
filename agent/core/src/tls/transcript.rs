//! The handshake as the proxy's TLS library hashed it: whole messages in the clear, also under
//! TLS 1.3 (RFC 8446 section 4.4.1 defines the transcript).
//!
//! A transcript is keyed by process and digest context; a ClientHello (or the synthetic
//! message that stands for the first one after a HelloRetryRequest) begins a new one.

use std::collections::{HashMap, VecDeque};

use super::{facts::HandshakeFacts, hello::TlsVersion, message::handshake_type as message};
use crate::model::{Direction, LibraryEvent, LibraryObservation, Timestamp};

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
pub struct Transcript {
    /// Process id.
    pub pid: u32,
    /// Address of the `SSL` object; 0 where not known.
    pub ssl: u64,
    /// When the last of it was seen.
    pub at: Timestamp,
    /// What the messages said.
    pub facts: HandshakeFacts,
    /// Messages whose bodies contradict their types, or calls that the probe cut.
    pub damaged: bool,
    /// Chain verification while the server's certificate was the newest.
    pub server_verification: Option<Verification>,
    /// The application's own look at the result (`SSL_get_verify_result`).
    pub application_verify_error: Option<i64>,
    /// The application's check of the name (`X509_check_host`): 1 matched.
    pub host_check: Option<i32>,
    /// Alert received.
    pub alert_received: Option<u8>,
    /// A flow was found for it.
    pub matched: bool,
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

    /// The session was resumed: in TLS 1.3 by a pre-shared key, before by a server that finished
    /// without a flight of its own.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let Some(hello) = &self.facts.server_hello else { return false };
        if hello.version.encrypts_handshake() {
            hello.pre_shared_key
        } else {
            self.facts.finished[1]
                && self.facts.server_certificate.is_none()
                && !self.facts.server_hello_done
        }
    }

    /// Who sent the next message of this type; the transcript tells it by position only.
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

    fn messages(&mut self, messages: &[(u8, &[u8])]) {
        for (kind, body) in messages {
            let sender = self.sender(*kind);
            if self.facts.message(sender, *kind, body).is_err() {
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

type Key = (u32, u64);

/// Limits of [`Transcripts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscriptLimits {
    /// Most handshakes kept at once.
    pub max: usize,
    /// Nanoseconds after which one that no flow claimed is given up.
    pub max_age_ns: u64,
}

/// The transcripts of all watched processes.
#[derive(Debug)]
pub struct Transcripts {
    limits: TranscriptLimits,
    by_context: HashMap<Key, Transcript>,
    /// Contexts by process and client random: two where a process holds both ends.
    by_random: HashMap<(u32, [u8; 32]), Vec<u64>>,
    /// Keys in order of their beginning; a key that began again stands in it twice.
    order: VecDeque<Key>,
    /// The newest context of each SSL object, for observations that carry no context.
    context_of: HashMap<(u32, u64), u64>,
    /// What was observed on an SSL object before its first transcript call (TLS 1.2 verifies
    /// before it hashes), and when.
    pending_verification: HashMap<(u32, u64), (Verification, Timestamp)>,
    /// Given up without a flow.
    unmatched: u64,
}

impl Transcripts {
    /// An empty store.
    #[must_use]
    pub fn new(limits: TranscriptLimits) -> Self {
        Self {
            limits,
            by_context: HashMap::new(),
            by_random: HashMap::new(),
            order: VecDeque::new(),
            context_of: HashMap::new(),
            pending_verification: HashMap::new(),
            unmatched: 0,
        }
    }

    /// Transcripts that expired without a flow to belong to.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Takes in one observation; answers the client random of the handshake that it changed.
    pub fn observe(&mut self, event: &LibraryEvent) -> Option<(u32, [u8; 32])> {
        let key = match &event.observation {
            LibraryObservation::TranscriptUpdate { context, len, bytes } => {
                self.update(event, *context, *len, bytes)?
            }
            other => self.annotate(event, other)?,
        };
        let transcript = self.by_context.get_mut(&key)?;
        transcript.at = event.at;
        transcript.facts.client_hello.as_ref().map(|hello| (key.0, hello.random))
    }

    fn update(
        &mut self,
        event: &LibraryEvent,
        context: u64,
        len: u32,
        bytes: &[u8],
    ) -> Option<Key> {
        let key = (event.pid, context);
        if bytes.len() < len as usize {
            self.by_context.get_mut(&key)?.damaged = true;
            return Some(key);
        }
        let messages = whole_messages(bytes)?;
        let begins = matches!(messages[0].0, message::CLIENT_HELLO | message::MESSAGE_HASH);
        if begins {
            self.make_room();
            let pending = self.pending_verification.remove(&(event.pid, event.ssl));
            let fresh = Transcript {
                pid: event.pid,
                ssl: event.ssl,
                server_verification: pending.map(|(verification, _)| verification),
                ..Transcript::default()
            };
            if let Some(first) = self.by_context.get_mut(&key) {
                // After a HelloRetryRequest the same handshake begins again, and nothing is lost.
                first.matched |= messages[0].0 == message::MESSAGE_HASH;
            }
            self.remove(key);
            self.by_context.insert(key, fresh);
            self.order.push_back(key);
            if event.ssl != 0 {
                self.context_of.insert((event.pid, event.ssl), context);
            }
        }
        let transcript = self.by_context.get_mut(&key)?;
        if transcript.is_complete() {
            // Of a later handshake at the same address, whose beginning was not seen.
            return None;
        }
        transcript.messages(&messages);
        if begins && let Some(hello) = &transcript.facts.client_hello {
            self.by_random.entry((event.pid, hello.random)).or_default().push(context);
        }
        Some(key)
    }

    fn annotate(&mut self, event: &LibraryEvent, observation: &LibraryObservation) -> Option<Key> {
        if event.ssl == 0 {
            return None;
        }
        let owner = (event.pid, event.ssl);
        if *observation == LibraryObservation::ClientConnectionMade {
            self.context_of.remove(&owner);
            self.pending_verification.remove(&owner);
            return None;
        }
        let key = self.context_of.get(&owner).map(|context| (event.pid, *context));
        // Addresses of SSL objects are used again: a verification after the end of a handshake
        // belongs to the next one, whose first transcript call is still to come (TLS 1.2).
        let verifies = matches!(observation, LibraryObservation::VerifyResult { .. });
        let current = key
            .and_then(|key| self.by_context.get_mut(&key))
            .filter(|transcript| !(verifies && transcript.is_complete()));
        let Some(transcript) = current else {
            if let LibraryObservation::VerifyResult { error, enforced } = *observation {
                if self.pending_verification.len() >= self.limits.max {
                    self.pending_verification.clear();
                }
                let verification = Verification { error, enforced };
                self.pending_verification.insert(owner, (verification, event.at));
            }
            return None;
        };
        match *observation {
            LibraryObservation::VerifyResult { error, enforced } => {
                // After the client's Certificate it is the server role verifying the client.
                if transcript.facts.client_certificate.is_none() {
                    transcript.server_verification = Some(Verification { error, enforced });
                }
            }
            LibraryObservation::ApplicationVerifyResult { error } => {
                transcript.application_verify_error = Some(error);
            }
            LibraryObservation::ApplicationCheckedHost { result } => {
                transcript.host_check = Some(result);
            }
            LibraryObservation::AlertReceived { description } => {
                transcript.alert_received.get_or_insert(description);
            }
            LibraryObservation::TlsError { .. }
            | LibraryObservation::ClientConnectionMade
            | LibraryObservation::TranscriptUpdate { .. } => {}
        }
        key
    }

    /// The client-side transcript of the handshake with this random in this process.
    ///
    /// A process may hold both ends (a proxy that is its own upstream): then the one that knows a
    /// verification of the server is taken.
    pub fn find(&mut self, pid: u32, random: &[u8; 32]) -> Option<&Transcript> {
        let contexts = self.by_random.get(&(pid, *random))?;
        let strength = |context: &u64| {
            self.by_context
                .get(&(pid, *context))
                .map(|transcript| (transcript.server_verification.is_some(), transcript.at))
        };
        let best = *contexts.iter().max_by_key(|context| strength(context))?;
        let best = self.by_context.get_mut(&(pid, best))?;
        best.matched = true;
        Some(best)
    }

    /// Gives up what is older than the limit.
    pub fn expire(&mut self, now: Timestamp) {
        let max_age_ns = self.limits.max_age_ns;
        let is_young = |at: Timestamp| now.since(at).as_nanos() < max_age_ns.into();
        while let Some(&key) = self.order.front() {
            if self.by_context.get(&key).is_some_and(|transcript| is_young(transcript.at)) {
                break;
            }
            self.order.pop_front();
            self.remove(key);
        }
        let known = &self.by_context;
        self.context_of.retain(|(pid, _), context| known.contains_key(&(*pid, *context)));
        self.pending_verification.retain(|_, (_, at)| is_young(*at));
    }

    fn make_room(&mut self) {
        if self.by_context.len() < self.limits.max {
            return;
        }
        while let Some(key) = self.order.pop_front() {
            if self.remove(key) {
                return;
            }
        }
    }

    fn remove(&mut self, key: Key) -> bool {
        let Some(old) = self.by_context.remove(&key) else { return false };
        self.unmatched += u64::from(!old.matched);
        if let Some(hello) = &old.facts.client_hello {
            let random = (key.0, hello.random);
            if let Some(contexts) = self.by_random.get_mut(&random) {
                contexts.retain(|context| *context != key.1);
                if contexts.is_empty() {
                    self.by_random.remove(&random);
                }
            }
        }
        true
    }
}

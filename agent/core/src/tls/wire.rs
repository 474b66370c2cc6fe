//! The handshake as it stands on the wire: records of both directions become facts.
//!
//! The two directions may be fed in any interleaving; what is said depends on their bytes only. To
//! that end bytes wait where their meaning depends on the other side.

use super::{
    alert,
    facts::{ClientCertificate, HandshakeFacts},
    flights::{FlightVerdict, Flights, HelloFacts},
    hello::{ClientHello, TlsVersion},
    message::{MessageError, MessageReader, handshake_type},
    records::{ContentType, RecordHeader, RecordReader},
};
use crate::model::{Direction, Reason};

/// A handshake ends with this alert, sent in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAlert {
    /// Who sent it.
    pub sender: Direction,
    /// RFC 8446 section 6 description number.
    pub description: u8,
}

/// One direction's state.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something seen or not")]
struct Side {
    records: RecordReader,
    /// Bytes that wait: for the rest of a record header, or for the other side.
    unread: Vec<u8>,
    messages: MessageReader,
    current: Option<RecordHeader>,
    /// The level of an alert whose description is still to come.
    alert_level: Option<u8>,
    change_cipher_spec: bool,
    /// The first protected handshake record after ChangeCipherSpec, the Finished, was seen.
    finished: bool,
    /// A protected alert came before the Finished.
    protected_alert: bool,
    application_data: bool,
    broken: Option<Reason>,
}

/// Reads one connection's handshake.
#[derive(Debug, Default)]
pub struct WireHandshake {
    sides: [Side; 2],
    facts: HandshakeFacts,
    /// ClientHellos that were read.
    client_hellos: u8,
    /// Records that carried the first ClientHello, and the length of the longest.
    hello_records: (u16, u16),
    /// The first ClientHello offered early data; a second one may not repeat it.
    early_data_offered: bool,
    flights: Option<Flights>,
    /// Lengths of the client's first protected TLS 1.3 records.
    client_records: Vec<u16>,
    alert: Option<SeenAlert>,
    closed: [bool; 2],
}

/// Client records whose lengths are kept to tell data after the flight from an alert.
const MAX_CLIENT_RECORDS: usize = 32;
/// Longest protected alert: two bytes, content type, 16 bytes of padding, tag.
const LONGEST_ALERT: u16 = 2 + 1 + 16 + 16;

impl WireHandshake {
    /// For a connection that began with a hello in SSLv2 framing.
    #[must_use]
    pub fn after_ssl2_hello(hello: ClientHello) -> Self {
        let mut handshake = Self::default();
        handshake.facts.client_hello = Some(hello);
        handshake.client_hellos = 1;
        handshake
    }

    /// Takes in the next bytes of one direction, in stream order.
    pub fn push(&mut self, direction: Direction, bytes: &[u8]) {
        self.read_on(direction, bytes);
        // Each side may have waited for the other, with a HelloRetryRequest more than once.
        let mut turn = direction.reversed();
        while self.read_on(turn, &[]) {
            turn = turn.reversed();
        }
    }

    /// Reads what was not read before, and then `bytes`. Says whether any of it could be read.
    fn read_on(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        let index = direction.index();
        let mut unread = std::mem::take(&mut self.sides[index].unread);
        if unread.is_empty() {
            let rest = self.advance(direction, bytes);
            self.sides[index].unread = rest.to_vec();
            return rest.len() < bytes.len();
        }
        unread.extend_from_slice(bytes);
        let rest = self.advance(direction, &unread).len();
        let read = unread.len() - rest;
        if rest > 0 {
            unread.drain(..read);
            self.sides[index].unread = unread;
        }
        read > 0
    }

    /// This side sends no more.
    pub fn close(&mut self, direction: Direction) {
        self.closed[direction.index()] = true;
        if let Some(flights) = &mut self.flights {
            flights.on_close(direction);
        }
    }

    /// No more bytes will be fed: what is undecided is judged as it stands.
    pub fn finish(&mut self) {
        if let Some(flights) = &mut self.flights {
            flights.finish();
        }
    }

    /// What the messages said so far.
    #[must_use]
    pub const fn facts(&self) -> &HandshakeFacts {
        &self.facts
    }

    /// The TLS 1.3 flight classifier, once a ServerHello made it TLS 1.3.
    #[must_use]
    pub const fn flights(&self) -> Option<&Flights> {
        self.flights.as_ref()
    }

    /// The alert in clear that ended the handshake.
    #[must_use]
    pub const fn alert(&self) -> Option<SeenAlert> {
        self.alert
    }

    /// True once both Finished passed (up to TLS 1.2).
    #[must_use]
    pub fn finished(&self) -> bool {
        self.sides.iter().all(|side| side.finished)
    }

    /// True if the server went to ChangeCipherSpec without a certificate flight: a resumed
    /// session, by session id or by ticket alike (RFC 5246 section 7.3, RFC 5077 section 3.1).
    #[must_use]
    pub const fn abbreviated(&self) -> bool {
        self.sides[Direction::ToClient.index()].change_cipher_spec
            && !self.facts.server_hello_done
            && self.facts.server_certificate.is_none()
            && self.facts.server_hello.is_some()
    }

    /// A protected alert came where the Finished should have (up to TLS 1.2).
    #[must_use]
    pub fn protected_alert(&self) -> Option<Direction> {
        [Direction::ToServer, Direction::ToClient]
            .into_iter()
            .find(|direction| self.sides[direction.index()].protected_alert)
    }

    /// True once the client sent application data.
    #[must_use]
    pub fn client_sent_data(&self) -> bool {
        let clear = self.sides[Direction::ToServer.index()].application_data;
        let flight_end = match self.flights.as_ref().map(Flights::verdict) {
            Some(FlightVerdict::Decided { client_flight_end, .. }) => {
                usize::from(client_flight_end)
            }
            _ => 1,
        };
        let after_flight = self.client_records.iter().skip(flight_end);
        clear || after_flight.into_iter().any(|length| *length > LONGEST_ALERT)
    }

    /// Why a direction cannot be read any further.
    #[must_use]
    pub fn broken(&self) -> Option<Reason> {
        self.sides.iter().find_map(|side| side.broken)
    }

    /// A ClientHello was answered by something that is not TLS.
    #[must_use]
    pub fn answered_in_clear(&self) -> bool {
        self.facts.client_hello.is_some()
            && self.facts.server_hello.is_none()
            && !self.facts.hello_retry_request
            && self.sides[Direction::ToClient.index()].broken == Some(Reason::Malformed)
    }

    /// Heap bytes held for unread records and messages.
    #[must_use]
    pub fn held(&self) -> usize {
        self.sides.iter().map(|side| side.unread.capacity() + side.messages.held()).sum()
    }

    fn version(&self) -> Option<TlsVersion> {
        self.facts.version()
    }

    /// Reads as far as that is possible now; what is left of `bytes` has to be shown again.
    fn advance<'a>(&mut self, direction: Direction, mut bytes: &'a [u8]) -> &'a [u8] {
        let index = direction.index();
        while self.sides[index].broken.is_none() {
            let records = &mut self.sides[index].records;
            if records.in_record() {
                let piece = records.read(&mut bytes);
                if piece.is_empty() {
                    return bytes;
                }
                self.payload(direction, piece);
                continue;
            }
            match RecordHeader::parse(bytes) {
                Ok(Some(header)) if !self.waits(direction, header) => {
                    let side = &mut self.sides[index];
                    side.records.begin(header, &mut bytes);
                    side.current = Some(header);
                    self.header(direction, header);
                }
                Ok(_) => return bytes,
                Err(_) => self.sides[index].broken = Some(Reason::Malformed),
            }
        }
        &[]
    }

    /// What follows a ClientHello means one thing in TLS 1.3 and another before: it waits for the
    /// server's answer. If that is a HelloRetryRequest, data behind the first ClientHello is 0-RTT
    /// data, which ends before the second one (RFC 8446 section 4.2.10) and belongs to no flight.
    /// What follows a HelloRetryRequest answers another ClientHello and waits for that. The
    /// server's protected records are read by what the client offered: they wait for the
    /// ClientHello.
    fn waits(&self, direction: Direction, header: RecordHeader) -> bool {
        let answers = u8::from(self.facts.hello_retry_request);
        match direction {
            Direction::ToServer if self.facts.server_hello.is_some() => false,
            Direction::ToServer => match header.content_type {
                ContentType::Alert => false,
                ContentType::Handshake => self.client_hellos > answers,
                _ => answers == 0 || self.client_hellos > answers,
            },
            Direction::ToClient if self.version().is_some() => {
                self.facts.client_hello.is_none()
                    && self.version().is_some_and(TlsVersion::encrypts_handshake)
            }
            Direction::ToClient => {
                header.content_type == ContentType::Handshake && self.client_hellos < 2 * answers
            }
        }
    }

    fn header(&mut self, direction: Direction, header: RecordHeader) {
        let encrypted = self.version().is_some_and(TlsVersion::encrypts_handshake);
        if (direction, header.content_type) == (Direction::ToServer, ContentType::Handshake)
            && self.facts.client_hello.is_none()
        {
            let (count, longest) = self.hello_records;
            self.hello_records = (count.saturating_add(1), longest.max(header.length));
        }
        if encrypted {
            if let Some(flights) = &mut self.flights {
                flights.on_record(direction, header.content_type.number(), header.length);
            }
            if (direction, header.content_type)
                == (Direction::ToServer, ContentType::ApplicationData)
                && self.client_records.len() < MAX_CLIENT_RECORDS
            {
                self.client_records.push(header.length);
            }
            return;
        }
        let retried = self.facts.hello_retry_request;
        let side = &mut self.sides[direction.index()];
        match header.content_type {
            // After a HelloRetryRequest it is the compatibility record of RFC 8446 appendix D.4.
            ContentType::ChangeCipherSpec if !retried => side.change_cipher_spec = true,
            ContentType::Handshake if side.change_cipher_spec => side.finished = true,
            ContentType::Alert if side.change_cipher_spec && !side.finished => {
                side.protected_alert = true;
            }
            // Before the ServerHello it is 0-RTT data.
            ContentType::ApplicationData if self.facts.server_hello.is_some() => {
                side.application_data = true;
            }
            _ => {}
        }
    }

    /// Reads a piece of the current record.
    fn payload(&mut self, direction: Direction, piece: &[u8]) {
        let side = &mut self.sides[direction.index()];
        let Some(header) = side.current else { return };
        match header.content_type {
            // (In TLS 1.3 protected handshake records call themselves application data.)
            ContentType::Handshake if !side.change_cipher_spec => {
                self.messages(direction, piece);
            }
            // A plaintext alert has two bytes; a protected one at least 8 more.
            ContentType::Alert if header.length == 2 && !side.change_cipher_spec => {
                match (side.alert_level.take(), piece) {
                    (None, &[level]) => side.alert_level = Some(level),
                    (Some(level), &[description]) | (None, &[level, description]) => {
                        self.on_alert(direction, level, description);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn messages(&mut self, direction: Direction, mut fragment: &[u8]) {
        loop {
            let side = &mut self.sides[direction.index()];
            let retried = self.facts.hello_retry_request;
            let mut asks = false;
            let mut broken = match side.messages.next_message(&mut fragment) {
                Ok(None) => return,
                Ok(Some((kind, body))) => {
                    let from_client = direction == Direction::ToServer;
                    asks = from_client && kind == handshake_type::CLIENT_HELLO;
                    if from_client && !asks && self.client_hellos == 0 {
                        // A client begins with its hello; what else this is depends on the version.
                        Some(Reason::Malformed)
                    } else {
                        self.facts.message(direction, kind, body).err().map(|_| Reason::Malformed)
                    }
                }
                Err(MessageError::TooLong(_)) => Some(Reason::Truncated),
                Err(MessageError::UnknownType(_)) => Some(Reason::Malformed),
            };
            self.client_hellos = self.client_hellos.saturating_add(u8::from(asks));
            let awaits_answer = asks || retried != self.facts.hello_retry_request;
            if awaits_answer && (!fragment.is_empty() || side.records.in_record()) {
                // It ends its record (RFC 8446 section 5.1): the other side has the word.
                broken = Some(Reason::Malformed);
            }
            if broken.is_some() {
                side.broken = broken;
                return;
            }
            let hello = self.facts.client_hello.as_ref();
            self.early_data_offered |= hello.is_some_and(|hello| hello.early_data);
            if self.flights.is_none() {
                self.begin_flights();
            }
        }
    }

    fn begin_flights(&mut self) {
        let (Some(client), Some(server)) = (&self.facts.client_hello, &self.facts.server_hello)
        else {
            return;
        };
        if server.version != TlsVersion::TLS13 {
            return;
        }
        let Ok(mut facts) = HelloFacts::of_hellos(client, server) else { return };
        facts.early_data_offered |= self.early_data_offered;
        facts.hello_retry_request = self.facts.hello_retry_request;
        if let (2.., longest) = self.hello_records {
            facts.client_fragment = Some(longest);
        }
        let mut flights = Flights::new(facts);
        for direction in [Direction::ToServer, Direction::ToClient] {
            if self.closed[direction.index()] {
                flights.on_close(direction);
            }
        }
        self.flights = Some(flights);
    }

    fn on_alert(&mut self, direction: Direction, level: u8, description: u8) {
        if direction == Direction::ToServer
            && description == alert::description::NO_CERTIFICATE
            && level != alert::FATAL
        {
            // How SSL 3.0 says what later versions say with an empty Certificate.
            self.facts.client_certificate = Some(ClientCertificate::Empty);
        } else if !alert::is_harmless_warning(level, description) {
            self.alert.get_or_insert(SeenAlert { sender: direction, description });
        }
    }
}

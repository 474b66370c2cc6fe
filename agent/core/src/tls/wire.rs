//! The handshake as it stands on the wire: records of both directions become facts.
//!
//! The two directions may be fed in any interleaving; what is said depends on their bytes only. To
//! that end bytes wait where their meaning depends on the other side.

mod messages;
mod turn;

use super::{
    facts::HandshakeFacts,
    flights::{FlightVerdict, Flights},
    hello::{ClientHello, TlsVersion},
    message::MessageReader,
    records::{self, ContentType, RecordHeader, RecordReader},
};
use crate::{
    heard::{Heard, Place},
    model::{Direction, Reason},
};

/// A handshake ends with this alert, sent in the clear.
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
    /// Bytes of the stream that were read.
    at: Place,
    /// Where the newest record that was begun ends.
    record_end: Place,
    /// The record of its newest hello: where the client's ends, where the server's begins.
    hello_at: Place,
    /// Where the client's Finished ends (up to TLS 1.2).
    finished_at: Place,
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
    /// Boxed: most of those who wait have none yet.
    flights: Option<Box<Flights>>,
    /// Lengths of the client's first protected TLS 1.3 records.
    client_records: Vec<u16>,
    /// What the server had received when it sent what.
    heard: Heard,
    /// How far it had received the client when it sent application data (up to TLS 1.2).
    answered: Place,
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

    /// For a handshake that begins at these places of both streams, by [`Direction::index`], with
    /// what is known of who had heard what.
    #[must_use]
    pub fn starting_at(mut self, at: [Place; 2], heard: Heard) -> Self {
        for (side, at) in self.sides.iter_mut().zip(at) {
            (side.at, side.hello_at) = (at, at);
        }
        self.heard = heard;
        self
    }

    /// The server sent its bytes from `at` on when it had received the client's up to `acked`.
    pub fn heard(&mut self, at: Place, acked: Place) {
        self.heard.note(at, acked);
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

    /// Whether a TLS 1.3 handshake may be over for the client, and no record has begun that is not
    /// complete: what follows may take its time.
    #[must_use]
    pub fn rests(&self) -> bool {
        let between_records = |side: &Side| {
            !side.records.in_record() && side.unread.is_empty() && side.broken.is_none()
        };
        self.alert.is_none()
            && self.sides.iter().all(between_records)
            && self.flights.as_ref().is_some_and(|flights| flights.rest())
    }

    /// What the messages said so far.
    #[must_use]
    pub const fn facts(&self) -> &HandshakeFacts {
        &self.facts
    }

    /// The TLS 1.3 flight classifier, once a ServerHello made it TLS 1.3.
    #[must_use]
    pub fn flights(&self) -> Option<&Flights> {
        self.flights.as_deref()
    }

    /// Whether the client offered 0-RTT data.
    #[must_use]
    pub const fn offered_early_data(&self) -> bool {
        self.early_data_offered
    }

    /// The alert in the clear that ended the handshake.
    #[must_use]
    pub const fn alert(&self) -> Option<SeenAlert> {
        self.alert
    }

    /// True once both Finished passed (up to TLS 1.2).
    #[must_use]
    pub fn finished(&self) -> bool {
        self.sides.iter().all(|side| side.finished)
    }

    /// True once the server sent application data in answer to the client's Finished (up to TLS
    /// 1.2).
    #[must_use]
    pub const fn answered(&self) -> bool {
        let finished_at = self.sides[Direction::ToServer.index()].finished_at;
        finished_at > 0 && finished_at <= self.answered
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
        let flight_end = match self.flights().map(Flights::verdict) {
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
        let sides: usize =
            self.sides.iter().map(|side| side.unread.capacity() + side.messages.held()).sum();
        let flights = self.flights.as_ref().map_or(0, |_| size_of::<Flights>());
        sides + flights + self.heard.held()
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
                let side = &mut self.sides[index];
                side.at = side.at.saturating_add(place(piece.len()));
                self.payload(direction, piece);
                continue;
            }
            match RecordHeader::parse(bytes) {
                Ok(Some(header)) if !self.waits(direction, header) => {
                    let side = &mut self.sides[index];
                    side.records.begin(header, &mut bytes);
                    side.current = Some(header);
                    let begin = side.at;
                    side.at = side.at.saturating_add(place(records::HEADER));
                    side.record_end = side.at.saturating_add(header.length.into());
                    let place = self.place(direction, begin);
                    self.header(direction, header, place);
                }
                Ok(_) => return bytes,
                Err(_) => self.sides[index].broken = Some(Reason::Malformed),
            }
        }
        &[]
    }

    /// Where the record that was just begun ends in the client's stream; for one of the server, how
    /// far that stream had been received by then.
    ///
    /// Captures that were made up may lack true acknowledgements: those under which the ServerHello
    /// does not answer the ClientHello tell nothing, and the order of arrival counts.
    fn place(&self, direction: Direction, begin: Place) -> Place {
        let [client, server] = &self.sides;
        let holds = || self.heard.before(server.hello_at) >= Some(client.hello_at);
        match (direction, self.heard.before(begin)) {
            (Direction::ToClient, Some(acked)) if holds() => acked,
            _ => client.record_end,
        }
    }

    fn header(&mut self, direction: Direction, header: RecordHeader, place: Place) {
        let encrypted = self.version().is_some_and(TlsVersion::encrypts_handshake);
        if (direction, header.content_type) == (Direction::ToServer, ContentType::Handshake)
            && self.facts.client_hello.is_none()
        {
            let (count, longest) = self.hello_records;
            self.hello_records = (count.saturating_add(1), longest.max(header.length));
        }
        if encrypted {
            if let Some(flights) = &mut self.flights {
                flights.on_record_at(direction, header.content_type.number(), header.length, place);
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
            ContentType::Handshake if side.change_cipher_spec => {
                if !side.finished {
                    side.finished_at = place;
                }
                side.finished = true;
            }
            ContentType::Alert if side.change_cipher_spec && !side.finished => {
                side.protected_alert = true;
            }
            // Before the ServerHello it is 0-RTT data.
            ContentType::ApplicationData if self.facts.server_hello.is_some() => {
                side.application_data = true;
                if direction == Direction::ToClient {
                    self.answered = self.answered.max(place);
                }
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
}

/// A number of bytes as a place.
fn place(bytes: usize) -> Place {
    Place::try_from(bytes).unwrap_or(Place::MAX)
}

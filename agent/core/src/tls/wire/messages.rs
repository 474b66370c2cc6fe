//! Messages and alerts in the clear.

use super::{SeenAlert, WireHandshake, place};
use crate::{
    model::{Direction, Reason},
    tls::{
        alert,
        facts::ClientCertificate,
        flights::{Flights, HelloFacts},
        hello::TlsVersion,
        message::{MessageError, handshake_type},
        records,
    },
};

impl WireHandshake {
    /// Reads the messages that end in this piece of a handshake record.
    pub(super) fn messages(&mut self, direction: Direction, mut fragment: &[u8]) {
        loop {
            match self.next_message(direction, &mut fragment) {
                Ok(true) => self.after_message(),
                Ok(false) => return,
                Err(reason) => {
                    self.sides[direction.index()].broken = Some(reason);
                    return;
                }
            }
        }
    }

    /// Reads one message. False where there is no whole one left.
    fn next_message(&mut self, direction: Direction, fragment: &mut &[u8]) -> Result<bool, Reason> {
        let retried = self.facts.hello_retry_request;
        let side = &mut self.sides[direction.index()];
        let record = side.current.map_or(0, |record| records::HEADER + usize::from(record.length));
        let record_start = side.record_end.saturating_sub(place(record));
        let (kind, body) = match side.messages.next_message(fragment) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(false),
            Err(MessageError::TooLong(_)) => return Err(Reason::Truncated),
            Err(MessageError::UnknownType(_)) => return Err(Reason::Malformed),
        };
        let is_client_hello =
            (direction, kind) == (Direction::ToServer, handshake_type::CLIENT_HELLO);
        if is_client_hello {
            side.hello_at = side.record_end;
            self.client_hellos = self.client_hellos.saturating_add(1);
        } else if kind == handshake_type::SERVER_HELLO {
            side.hello_at = record_start;
        }
        if direction == Direction::ToServer && self.client_hellos == 0 {
            // A client begins with its hello; what else this is depends on the version.
            return Err(Reason::Malformed);
        }
        self.facts.message(direction, kind, body).map_err(|_| Reason::Malformed)?;
        let ends_its_record = fragment.is_empty() && !side.records.in_record();
        let is_retry = retried != self.facts.hello_retry_request;
        if (is_client_hello || is_retry) && !ends_its_record {
            // It must (RFC 8446 section 5.1): it is the other side's turn.
            return Err(Reason::Malformed);
        }
        Ok(true)
    }

    /// Keeps what a second ClientHello may not repeat, and begins the flights once both hellos are
    /// known.
    fn after_message(&mut self) {
        let hello = self.facts.client_hello.as_ref();
        self.early_data_offered |= hello.is_some_and(|hello| hello.early_data);
        if self.flights.is_none() {
            self.begin_flights();
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
        self.flights = Some(Box::new(flights));
    }

    pub(super) fn on_alert(&mut self, direction: Direction, level: u8, description: u8) {
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

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
    pub(super) fn messages(&mut self, direction: Direction, mut fragment: &[u8]) {
        loop {
            let side = &mut self.sides[direction.index()];
            let retried = self.facts.hello_retry_request;
            let mut asks = false;
            let mut broken = match side.messages.next_message(&mut fragment) {
                Ok(None) => return,
                Ok(Some((kind, body))) => {
                    let from_client = direction == Direction::ToServer;
                    asks = from_client && kind == handshake_type::CLIENT_HELLO;
                    if asks {
                        side.hello_at = side.record_end;
                    } else if kind == handshake_type::SERVER_HELLO {
                        let length = side.current.map_or(0, |record| usize::from(record.length));
                        let record = place(records::HEADER + length);
                        side.hello_at = side.record_end.saturating_sub(record);
                    }
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
                // It ends its record (RFC 8446 section 5.1): it is the other side's turn.
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

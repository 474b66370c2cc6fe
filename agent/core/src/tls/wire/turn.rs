//! Which hello is awaited, and what has to wait for it.

use super::WireHandshake;
use crate::{
    model::Direction,
    tls::{
        hello::TlsVersion,
        records::{ContentType, RecordHeader},
    },
};

/// The hello that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The ClientHello.
    ClientHello,
    /// The server's answer to it.
    Answer,
    /// The ClientHello that answers a HelloRetryRequest; where that came first, the one before, too.
    SecondClientHello,
    /// The server's answer to the second ClientHello.
    SecondAnswer,
    /// None: the ServerHello was read.
    Nothing,
}

impl WireHandshake {
    fn awaited(&self) -> Awaited {
        match (&self.facts.server_hello, self.facts.hello_retry_request, self.client_hellos) {
            (Some(_), ..) => Awaited::Nothing,
            (None, false, 0) => Awaited::ClientHello,
            (None, false, _) => Awaited::Answer,
            (None, true, 0 | 1) => Awaited::SecondClientHello,
            (None, true, _) => Awaited::SecondAnswer,
        }
    }

    /// Whether a record cannot be read before the other side has said more.
    ///
    /// What follows a ClientHello means one thing in TLS 1.3 and another before: it waits for the
    /// server's answer. If that is a HelloRetryRequest, data after the first ClientHello is 0-RTT
    /// data, which ends before the second one (RFC 8446 section 4.2.10) and belongs to no flight.
    /// What follows a HelloRetryRequest answers another ClientHello and waits for that. The
    /// server's protected records are read by what the client offered: they wait for the
    /// ClientHello.
    pub(super) fn waits(&self, direction: Direction, header: RecordHeader) -> bool {
        use ContentType::{Alert, Handshake};
        let content = header.content_type;
        match (direction, self.awaited()) {
            (Direction::ToServer, Awaited::ClientHello) => !matches!(content, Alert | Handshake),
            (Direction::ToServer, Awaited::Answer | Awaited::SecondAnswer) => content != Alert,
            (Direction::ToClient, Awaited::SecondClientHello) => content == Handshake,
            (Direction::ToClient, Awaited::Nothing) => {
                self.facts.client_hello.is_none()
                    && self.version().is_some_and(TlsVersion::encrypts_handshake)
            }
            (Direction::ToServer, Awaited::SecondClientHello | Awaited::Nothing)
            | (
                Direction::ToClient,
                Awaited::ClientHello | Awaited::Answer | Awaited::SecondAnswer,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::hello::ServerHello;

    /// ClientHellos, HelloRetryRequest, ServerHello; what is awaited; what of the client waits, and
    /// of the server.
    type Row<'a> = (u8, bool, bool, Awaited, &'a [ContentType], &'a [ContentType]);

    #[test]
    fn what_waits_for_which_hello() {
        use ContentType::{Alert, ApplicationData, ChangeCipherSpec, Handshake};
        const KINDS: [ContentType; 4] = [Alert, Handshake, ChangeCipherSpec, ApplicationData];
        let hello = ServerHello {
            version: TlsVersion::TLS13,
            cipher: 0x1301,
            session_id: None,
            hello_retry_request: false,
            pre_shared_key: None,
            group: None,
            alpn: None,
            digest: 0,
        };
        let rows: [Row<'_>; 8] = [
            (0, false, false, Awaited::ClientHello, &KINDS[2..], &[]),
            (1, false, false, Awaited::Answer, &KINDS[1..], &[]),
            (0, true, false, Awaited::SecondClientHello, &[], &[Handshake]),
            (1, true, false, Awaited::SecondClientHello, &[], &[Handshake]),
            (2, true, false, Awaited::SecondAnswer, &KINDS[1..], &[]),
            (1, false, true, Awaited::Nothing, &[], &[]),
            (2, true, true, Awaited::Nothing, &[], &[]),
            (0, false, true, Awaited::Nothing, &[], &KINDS),
        ];
        for (client_hellos, retried, answered, awaited, client, server) in rows {
            let mut handshake = WireHandshake { client_hellos, ..WireHandshake::default() };
            handshake.facts.client_hello = (client_hellos > 0).then(Default::default);
            handshake.facts.hello_retry_request = retried;
            handshake.facts.server_hello = answered.then(|| hello.clone());
            assert_eq!(handshake.awaited(), awaited);
            for (direction, waiting) in
                [(Direction::ToServer, client), (Direction::ToClient, server)]
            {
                for content_type in KINDS {
                    let header = RecordHeader { content_type, length: 2 };
                    assert_eq!(
                        handshake.waits(direction, header),
                        waiting.contains(&content_type),
                        "{awaited:?}, {client_hellos} ClientHellos: {content_type} {direction:?}"
                    );
                }
            }
        }
    }
}

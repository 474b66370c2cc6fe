//! Library records as events.

use hopsight_abi::{Header, Library, Observation, sent_by};

use hopsight_core::{
    model::{Direction, LibraryEvent, LibraryObservation, SessionName, Timestamp},
    tls::{message::handshake_type::NEW_SESSION_TICKET, session},
};

/// OpenSSL's reason for "received alert n" is this plus n (`SSL_AD_REASON_OFFSET`).
const ALERT_REASONS: u32 = 1000;

/// Stands for a bad result of libraries whose errors are no `X509_V_*` codes
/// (`X509_V_ERR_UNSPECIFIED`).
const UNSPECIFIED: i32 = 1;

/// The event a record tells of; `None` for an observation this agent does not know.
#[must_use]
pub fn event(header: &Header, record: Library, bytes: &[u8]) -> Option<LibraryEvent> {
    let value = record.value.cast_signed();
    let narrow = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
    let observation = match Observation::from_number(record.observation)? {
        // Nothing that a library did.
        Observation::Started => return None,
        Observation::Transcript => match ticket_message(record, bytes) {
            Some(body) => ticket(session::ticket(body))?,
            None => LibraryObservation::TranscriptUpdate {
                context: record.context,
                direction: direction(record.sender),
                len: record.len,
                bytes: bytes.to_vec(),
            },
        },
        Observation::Ticket => ticket(SessionName::of(bytes).filter(|_| is_whole(record, bytes)))?,
        Observation::VerifyResult => LibraryObservation::VerifyResult {
            error: narrow(value),
            enforced: record.enforced != 0,
        },
        Observation::Error => error(u32::try_from(value).unwrap_or(u32::MAX)),
        Observation::ResultAsked => LibraryObservation::ApplicationVerifyResult { error: value },
        Observation::ClientMade => LibraryObservation::ClientConnectionMade,
        Observation::HostChecked => {
            LibraryObservation::ApplicationCheckedHost { result: narrow(value) }
        }
        // `crypto/tls` has no way to go on after an error.
        Observation::GoVerified => {
            LibraryObservation::VerifyResult { error: unspecified(value == 0), enforced: true }
        }
        Observation::GoAppVerified => {
            LibraryObservation::ApplicationVerifyResult { error: unspecified(value == 0).into() }
        }
        Observation::ChainVerified => {
            LibraryObservation::VerifyResult { error: unspecified(value == 1), enforced: false }
        }
        Observation::CallbackAnswered => {
            LibraryObservation::VerifyCallback { result: narrow(value) }
        }
        Observation::AlertReceived => LibraryObservation::AlertReceived {
            description: u8::try_from(value).unwrap_or(u8::MAX),
        },
        Observation::NeverVerified => LibraryObservation::NeverVerified,
        Observation::TicketLost => LibraryObservation::TicketLost,
    };
    Some(LibraryEvent {
        at: Timestamp(header.at_ns),
        pid: record.tgid,
        ssl: record.ssl,
        observation,
    })
}

/// The body of the one NewSessionTicket message of a library that shows messages singly and with their
/// sender. Its ticket goes no further than this, and no transcript needs it: in TLS 1.3 it comes
/// after the handshake, and up to TLS 1.2 it is on the wire.
fn ticket_message(record: Library, bytes: &[u8]) -> Option<&[u8]> {
    let is_single = record.sender == sent_by::PEER && bytes.first() == Some(&NEW_SESSION_TICKET);
    is_single.then(|| bytes.get(4..).filter(|_| is_whole(record, bytes)).unwrap_or_default())
}

fn is_whole(record: Library, bytes: &[u8]) -> bool {
    usize::try_from(record.len) == Ok(bytes.len())
}

/// What is said of a ticket; nothing of one that cannot be read.
fn ticket(name: Option<SessionName>) -> Option<LibraryObservation> {
    name.map(|name| LibraryObservation::TicketReceived { name })
}

const fn unspecified(is_good: bool) -> i32 {
    if is_good { 0 } else { UNSPECIFIED }
}

const fn direction(sender: u8) -> Option<Direction> {
    match sender {
        sent_by::US => Some(Direction::ToServer),
        sent_by::PEER => Some(Direction::ToClient),
        _ => None,
    }
}

fn error(reason: u32) -> LibraryObservation {
    let alert = reason.checked_sub(ALERT_REASONS).and_then(|alert| u8::try_from(alert).ok());
    alert.map_or(LibraryObservation::TlsError { reason }, |description| {
        LibraryObservation::AlertReceived { description }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_events() {
        use LibraryObservation as O;
        let bytes = [20, 0, 0, 1, 9];
        let to_client = Some(Direction::ToClient);
        for (name, observation, value, expected) in [
            (
                "verification passed",
                Observation::VerifyResult,
                0,
                O::VerifyResult { error: 0, enforced: false },
            ),
            (
                "verification failed",
                Observation::VerifyResult,
                20,
                O::VerifyResult { error: 20, enforced: false },
            ),
            ("unknown_ca alert", Observation::Error, 1048, O::AlertReceived { description: 48 }),
            ("verify failed error", Observation::Error, 134, O::TlsError { reason: 134 }),
            ("beyond the alerts", Observation::Error, 1256, O::TlsError { reason: 1256 }),
            ("asked", Observation::ResultAsked, 18, O::ApplicationVerifyResult { error: 18 }),
            ("made", Observation::ClientMade, 0, O::ClientConnectionMade),
            ("host", Observation::HostChecked, -1, O::ApplicationCheckedHost { result: -1 }),
            (
                "transcript",
                Observation::Transcript,
                0,
                O::TranscriptUpdate {
                    context: 3,
                    direction: to_client,
                    len: 9,
                    bytes: bytes.to_vec(),
                },
            ),
            ("Go, good", Observation::GoVerified, 0, O::VerifyResult { error: 0, enforced: true }),
            ("Go, bad", Observation::GoVerified, 1, O::VerifyResult { error: 1, enforced: true }),
            (
                "a Go program's own",
                Observation::GoAppVerified,
                1,
                O::ApplicationVerifyResult { error: 1 },
            ),
            ("never", Observation::NeverVerified, 0, O::NeverVerified),
            ("ticket", Observation::TicketLost, 0, O::TicketLost),
            (
                "chain, good",
                Observation::ChainVerified,
                1,
                O::VerifyResult { error: 0, enforced: false },
            ),
            (
                "chain, bad",
                Observation::ChainVerified,
                0,
                O::VerifyResult { error: 1, enforced: false },
            ),
            ("callback", Observation::CallbackAnswered, 2, O::VerifyCallback { result: 2 }),
            ("alert", Observation::AlertReceived, 116, O::AlertReceived { description: 116 }),
        ] {
            let record = Library {
                observation: observation as u8,
                sender: sent_by::PEER,
                tgid: 5,
                ssl: 6,
                context: 3,
                value: i64::cast_unsigned(value),
                len: 9,
                ..Library::default()
            };
            let header = Header { at_ns: 4, ..Header::default() };
            let event = event(&header, record, &bytes).unwrap();
            assert_eq!(event.observation, expected, "{name}");
            assert_eq!((event.at, event.pid, event.ssl), (Timestamp(4), 5, 6), "{name}");
        }
        assert_eq!(event(&Header::default(), Library::default(), &[]), None);
    }
}

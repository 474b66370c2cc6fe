//! A flight as long as a padded block, beside others of the same process.

use super::{
    acceptance_tests::{nth_segment, recorded, reports, run, without_library},
    deadlines::nanoseconds,
    *,
};
use crate::model::{
    ClientAuth::{Presented, Unknown},
    Direction::ToServer,
    Origin,
};

/// Length of the client's flight as recorded: 964 bytes and a tag, no multiple of 64.
const RECORDED: u16 = 980;
/// 960 bytes and a tag: 15 times 64.
const BLOCK: u16 = 976;

/// The recorded mutual handshake of Envoy, whose client sends its flight in one record, with a record
/// of this length; as another connection, of this process and with this upstream.
fn handshake(number: u64, length: u16, pid: u32, upstream: u8) -> Vec<Event> {
    let mut events = without_library(recorded!("mtls13-envoy"));
    let flight = nth_segment(&events, ToServer, 1);
    for (at, event) in events.iter_mut().enumerate() {
        let id = ConnectionId(number);
        match event {
            Event::Opened { connection, origin, destination, .. } => {
                *connection = id;
                destination.set_ip([10, 0, 0, upstream].into());
                if let Origin::Process(process) = origin {
                    process.pid = pid;
                }
            }
            Event::Established { connection, remote, .. } => {
                *connection = id;
                remote.set_ip([10, 0, 0, upstream].into());
            }
            Event::Segment { connection, direction, offset, payload_len, bytes, .. } => {
                *connection = id;
                if *direction == ToServer && at > flight {
                    *offset = *offset - u32::from(RECORDED) + u32::from(length);
                }
                if at == flight {
                    // After a ChangeCipherSpec of 6 bytes and a type and version of 3.
                    bytes[9..11].copy_from_slice(&length.to_be_bytes());
                    bytes.resize(6 + 5 + usize::from(length), 0);
                    *payload_len = 6 + 5 + u32::from(length);
                }
            }
            _ => {}
        }
    }
    events
}

#[test]
fn a_flight_in_doubt_is_explained_by_one_that_shows_a_certificate() {
    let shown = handshake(1, RECORDED, 7, 1);
    for (name, before, expected) in [
        ("alone", Vec::new(), Unknown),
        ("after one that shows a certificate", shown.clone(), Presented),
        ("of a client that pads to blocks", handshake(1, BLOCK, 7, 1), Unknown),
        ("after one that is too long", handshake(1, BLOCK + 5, 7, 1), Unknown),
        ("of another process", handshake(1, RECORDED, 8, 1), Unknown),
        ("with another server", handshake(1, RECORDED, 7, 2), Unknown),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        run(&mut pipeline, before);
        let mut said = run(&mut pipeline, handshake(2, BLOCK, 7, 1));
        let mut updates = Vec::new();
        pipeline.finish(said.last().map_or(Timestamp(0), |said| said.decided_at), &mut updates);
        said.extend(reports(updates));
        let last = said.into_iter().rfind(|said| said.connection.0 == 2).unwrap();
        assert_eq!(last.verdict.client_auth, expected, "{name}: {:?}", last.verdict);
        assert!(last.is_final, "{name}");
        let rule = (expected == Presented).then_some("certificate_alike");
        assert_eq!(last.rule.as_deref(), rule, "{name}");
    }
    let last = run(&mut Pipeline::new(Limits::default()), shown).pop().unwrap();
    assert_eq!(
        (last.verdict.client_auth, last.rule.as_deref()),
        (Presented, Some("certificate_coalesced"))
    );
}

/// Of connections that are opened together the first may be the one in doubt.
#[test]
fn a_flight_in_doubt_waits_for_one_that_explains_it() {
    let limits = Limits::default();
    let doubted = handshake(1, BLOCK, 7, 1);
    let until = Timestamp(doubted.last().unwrap().at().0 + 2 * nanoseconds(limits.settle_grace));
    let closed = Event::Closed {
        connection: ConnectionId(1),
        at: doubted.last().unwrap().at(),
        cause: CloseCause::ResetBy(ToServer),
    };
    for (name, after, expected) in [
        ("explained", handshake(2, RECORDED, 7, 1), Presented),
        ("not explained", handshake(2, RECORDED, 8, 1), Unknown),
    ] {
        let mut pipeline = Pipeline::new(limits);
        let before = run(&mut pipeline, doubted.iter().cloned().chain([closed.clone()]));
        assert!(before.iter().all(|report| !report.is_final), "{name}: {before:#?}");
        run(&mut pipeline, after);
        let mut updates = Vec::new();
        pipeline.tick(until, &mut updates);
        let last = reports(updates).pop().unwrap();
        assert!(last.is_final, "{name}");
        assert_eq!(last.verdict.client_auth, expected, "{name}: {:?}", last.verdict);
        assert_eq!(pipeline.tracked(), 0, "{name}");
    }
}

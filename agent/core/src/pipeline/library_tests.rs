//! Library handshakes beside the wire: recorded ones, and what is changed in them.

use super::*;
use crate::model::{
    ClientAuth::{self, NotRequested, Presented, Unknown},
    Direction, Evidence, LibraryEvent, LibraryObservation, Outcome, ServerVerified,
};

const MTLS13: &str = include_str!("../../fixtures/handshakes/mtls13.jsonl");

/// The recorded events of a hop (`fixtures/handshakes`).
pub(super) fn recorded(text: &str) -> Vec<Event> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn run(
    pipeline: &mut Pipeline,
    events: impl IntoIterator<Item = Event>,
) -> Vec<ConnectionReport> {
    let mut updates = Vec::new();
    events.into_iter().for_each(|event| pipeline.handle(event, &mut updates));
    let reports = updates.into_iter().filter_map(|update| match update {
        Update::Report { report, .. } => Some(*report),
        Update::Done(_) => None,
    });
    reports.collect()
}

/// The bytes that a library event adds to the transcript.
fn transcript_bytes(event: &mut Event) -> Option<(&mut Vec<u8>, &mut u32)> {
    match event {
        Event::Library(LibraryEvent {
            observation: LibraryObservation::TranscriptUpdate { bytes, len, .. },
            ..
        }) => Some((bytes, len)),
        _ => None,
    }
}

/// The recorded mutual TLS 1.3 handshake with each transcript update, told by its first message,
/// replaced by these ones.
fn mtls13_with(mut replace: impl FnMut(u8, &[u8]) -> Vec<Vec<u8>>) -> Vec<Event> {
    let mut events = Vec::new();
    for mut event in recorded(MTLS13) {
        let Some(original) = transcript_bytes(&mut event).map(|(bytes, _)| bytes.clone()) else {
            events.push(event);
            continue;
        };
        for update in replace(original[0], &original) {
            let mut event = event.clone();
            if let Some((bytes, len)) = transcript_bytes(&mut event) {
                *len = u32::try_from(update.len()).unwrap();
                *bytes = update;
            }
            events.push(event);
        }
    }
    events
}

#[test]
fn library_and_wire_that_disagree_are_both_reported_and_counted() {
    let mut certificates = 0;
    // The library's side without CertificateRequest and the client's flight.
    let events = mtls13_with(|kind, bytes| {
        certificates += u32::from(kind == 11);
        let dropped = kind == 13 || certificates == 2 && matches!(kind, 11 | 15);
        if dropped { Vec::new() } else { vec![bytes.to_vec()] }
    });
    let mut pipeline = Pipeline::new(Limits::default());
    let last = run(&mut pipeline, events).pop().unwrap();
    assert!(last.is_final);
    assert_eq!(last.verdict.evidence, Evidence::Library);
    assert_eq!(last.verdict.client_auth, ClientAuth::NotRequested);
    assert_eq!(last.wire_client_auth, Some(ClientAuth::Presented));
    assert!(last.is_conflict());
    assert_eq!(pipeline.counters().evidence_conflicts, 1);
}

/// A client that the proxy passes on unread repeats the random of a handshake of the proxy's own.
#[test]
fn a_transcript_with_another_server_hello_is_of_another_handshake() {
    // ClientHello and ServerHello are hashed together; the last byte is of the server's key share.
    let events = mtls13_with(|kind, bytes| {
        let mut bytes = bytes.to_vec();
        if kind == 1 {
            *bytes.last_mut().unwrap() ^= 1;
        }
        vec![bytes]
    });
    let mut pipeline = Pipeline::new(Limits::default());
    let last = run(&mut pipeline, events).pop().unwrap();
    assert_eq!(last.verdict.evidence, Evidence::Inferred);
    assert!(last.client_certificate.is_none() && last.wire_client_auth.is_none());
    assert_eq!(last.verdict.server_verified, ServerVerified::Unknown);
}

/// Nor does one with the same ServerHello, whose random an upstream may repeat.
#[test]
fn up_to_tls12_a_transcript_does_not_contradict_the_wire() {
    let one_way = recorded(include_str!("../../fixtures/handshakes/tls12.jsonl"));
    let mutual = recorded(include_str!("../../fixtures/handshakes/mtls12.jsonl"));
    let hellos = |events: &[Event]| {
        let mut all = Vec::new();
        for mut event in events.iter().cloned() {
            all.extend(transcript_bytes(&mut event).map(|(bytes, _)| std::mem::take(bytes)));
        }
        let all = all.concat();
        let length = |at: usize| 4 + usize::from(all[at + 2]) * 256 + usize::from(all[at + 3]);
        let client = length(0);
        (all[..client].to_vec(), all[client..client + length(client)].to_vec())
    };
    let (own, others) = (hellos(&one_way), hellos(&mutual));
    let pid = one_way.iter().find_map(|event| match event {
        Event::Library(event) => Some(event.pid),
        _ => None,
    });
    let is_library = |event: &Event| matches!(event, Event::Library(_));
    // The wire of the one, and the messages of the other after the hellos of the first.
    let mut events: Vec<Event> =
        one_way.iter().filter(|event| !is_library(event)).cloned().collect();
    for (number, event) in mutual.iter().filter(|event| is_library(event)).enumerate() {
        let mut event = event.clone();
        if let Event::Library(event) = &mut event {
            event.pid = pid.unwrap();
        }
        if let Some((bytes, len)) = transcript_bytes(&mut event) {
            for (from, to) in [(&others.0, &own.0), (&others.1, &own.1)] {
                if let Some(at) = bytes.windows(from.len()).position(|part| part == &from[..]) {
                    bytes.splice(at..at + from.len(), to.iter().copied());
                }
            }
            *len = u32::try_from(bytes.len()).unwrap();
        }
        events.insert(1 + number, event);
    }
    let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
    assert_eq!((last.verdict.evidence, last.verdict.client_auth), (Evidence::Wire, NotRequested));
    assert!(last.client_certificate.is_none());
}

#[test]
fn what_the_library_shows_in_other_forms() {
    // RFC 8879: type, length, algorithm zlib, and a body that nobody here unpacks.
    const COMPRESSED: [u8; 12] = [25, 0, 0, 8, 0, 1, 0, 0, 9, 0, 0, 0];
    // RFC 8446 section 4.1.3: the random of a HelloRetryRequest.
    const RETRY: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let as_recorded = mtls13_with(|_, bytes| vec![bytes.to_vec()]);
    let compressed = mtls13_with(|kind, bytes| {
        vec![if kind == 11 { COMPRESSED.to_vec() } else { bytes.to_vec() }]
    });
    let retried = mtls13_with(|kind, bytes| {
        if kind != 1 {
            return vec![bytes.to_vec()];
        }
        let (client, server) =
            bytes.split_at(4 + usize::from(bytes[2]) * 256 + usize::from(bytes[3]));
        let mut retry = server.to_vec();
        // After type, length and version.
        retry[6..38].copy_from_slice(&RETRY);
        let hash = [&[254, 0, 0, 32][..], &[7; 32]].concat();
        // As OpenSSL hashes it.
        vec![client.to_vec(), [&hash, &retry[..], client, server].concat()]
    });
    let mut cut = as_recorded.clone();
    for (bytes, len) in cut.iter_mut().filter_map(transcript_bytes) {
        *len += if bytes[0] == 11 { 65_536 } else { 0 };
    }
    for (name, events, evidence, has_facts) in [
        ("as recorded", as_recorded, Evidence::Library, true),
        ("compressed certificates", compressed, Evidence::Library, false),
        ("after a HelloRetryRequest", retried, Evidence::Library, true),
        ("longer than a probe takes", cut, Evidence::Inferred, true),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        let last = run(&mut pipeline, events).pop().unwrap();
        assert_eq!(last.verdict.evidence, evidence, "{name}");
        assert_eq!(last.verdict.client_auth, ClientAuth::Presented, "{name}");
        assert_eq!(last.resumed, Some(false), "{name}");
        let shown = last.wire_client_auth.is_some();
        assert_eq!(shown, evidence == Evidence::Library, "{name}");
        assert!(!last.is_conflict(), "{name}");
        let facts = last.server_certificate.is_some() && last.client_certificate.is_some();
        assert_eq!(facts, has_facts && shown, "{name}");
        pipeline.tick(Timestamp(u64::MAX), &mut Vec::new());
        assert_eq!(pipeline.transcripts_unmatched(), 0, "{name}");
    }
}

#[test]
fn silence_of_a_client_that_nobody_listens_to_is_no_failure() {
    // The server's certificates go beyond the budget on the wire, and the probe is gone before the
    // end.
    let mut finished = 0;
    let mut events = mtls13_with(|kind, bytes| {
        finished += u32::from(kind == 20);
        if finished < 2 { vec![bytes.to_vec()] } else { Vec::new() }
    });
    let is_answer = |event: &Event| matches!(event, Event::Segment { direction, .. } if *direction == Direction::ToClient);
    let answer = events.iter().position(is_answer).unwrap();
    if let Event::Segment { payload_len, .. } = &mut events[answer] {
        *payload_len += 65_536;
    }
    let closed = events.iter().find(|event| matches!(event, Event::Closed { .. })).cloned();
    // The server's last segment comes after what the library hashed of those before.
    let mut rest = events.split_off(answer);
    let answer = rest.remove(0);
    events.extend(rest.into_iter().filter(|event| matches!(event, Event::Library(_))));
    events.push(answer);
    let mut pipeline = Pipeline::new(Limits::default());
    let early = run(&mut pipeline, events);
    assert!(!early.is_empty() && early.iter().all(|report| !report.is_final), "{early:?}");
    let last = run(&mut pipeline, closed).pop().unwrap();
    let verdict = last.verdict;
    assert!(last.is_final);
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Incomplete, Some(Reason::Truncated)));
}

#[test]
fn a_verified_chain_waits_for_the_check_of_the_name() {
    let verified = include_str!("../../fixtures/handshakes/tls12-verified.jsonl");
    for (name, result, expected) in [
        ("matches", 1, (ServerVerified::Yes, Outcome::Established)),
        ("another name", 0, (ServerVerified::No, Outcome::Failed)),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        let mut events = recorded(verified);
        let is_check = |event: &Event| {
            matches!(event, Event::Library(LibraryEvent { observation, .. })
                if matches!(observation, LibraryObservation::ApplicationCheckedHost { .. }))
        };
        let check = events.iter().position(is_check).unwrap();
        let rest = events.split_off(check);
        let finished = run(&mut pipeline, events);
        assert!(
            finished.iter().all(|report| !report.is_final
                && report.verdict.server_verified == ServerVerified::Unknown),
            "{name}: {finished:?}"
        );
        let Some(Event::Library(mut event)) = rest.into_iter().next() else { unreachable!() };
        event.observation = LibraryObservation::ApplicationCheckedHost { result };
        let (connection, at) = (finished[0].connection, event.at);
        let closed = Event::Closed { connection, at, cause: CloseCause::Closed };
        let last = run(&mut pipeline, [Event::Library(event), closed]).pop().unwrap();
        assert!(last.is_final, "{name}");
        assert_eq!((last.verdict.server_verified, last.verdict.outcome), expected, "{name}");
    }
}

/// Go asks the program's own callback in the middle of the handshake; nginx asks after it.
#[test]
fn who_finishes_after_a_bad_answer_has_not_refused() {
    for (name, is_directed, expected) in [("asked after it", false, true), ("in it", true, false)] {
        let mut seen = Vec::new();
        let mut events = Vec::new();
        for mut event in mtls13_with(singly) {
            if let Event::Library(LibraryEvent { observation, .. }) = &mut event
                && let LibraryObservation::TranscriptUpdate { bytes, direction, .. } = observation
            {
                // Either side sends a Certificate, a CertificateVerify and a Finished.
                let is_client = bytes[0] == 1 || seen.contains(&(bytes[0], bytes[0] > 10));
                seen.push((bytes[0], true));
                let sender = if is_client { Direction::ToServer } else { Direction::ToClient };
                *direction = is_directed.then_some(sender);
            }
            events.push(event);
        }
        let is_library = |event: &Event| matches!(event, Event::Library(_));
        let last = events.iter().rposition(is_library).unwrap();
        let Event::Library(mut answer) = events[last].clone() else { unreachable!() };
        answer.observation = LibraryObservation::ApplicationVerifyResult { error: 1 };
        let is_data = |event: &Event| {
            matches!(
                event,
                Event::Segment { direction: Direction::ToServer, .. } | Event::Fin { .. }
            )
        };
        let mut rest = events.split_off(last + 1);
        // The client's flight; its request was not captured any more.
        let flight = rest.iter().position(is_data).unwrap() + 1;
        let mut index = 0;
        rest.retain(|event| {
            index += 1;
            index <= flight || !is_data(event)
        });
        let mut pipeline = Pipeline::new(Limits::default());
        let events = events.into_iter().chain([Event::Library(answer)]).chain(rest);
        let report = run(&mut pipeline, events).pop().unwrap();
        assert_eq!(report.verdict.server_verified, ServerVerified::No, "{name}");
        assert_eq!(report.verdict.outcome == Outcome::Failed, expected, "{name}: {report:?}");
    }
}

/// The messages of an update, each alone.
fn singly(_: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        let (message, after) = rest.split_at(4 + length);
        messages.push(message.to_vec());
        rest = after;
    }
    messages
}

/// The housekeeping of a quiet agent comes between any two events of a handshake.
#[test]
fn a_tick_between_any_two_events_changes_nothing() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/handshakes");
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let events = recorded(&std::fs::read_to_string(&path).unwrap());
        let expected = run(&mut Pipeline::new(Limits::default()), events.clone());
        let mut pipeline = Pipeline::new(Limits::default());
        let mut reports = Vec::new();
        for event in events {
            let at = event.at();
            reports.extend(run(&mut pipeline, [event]));
            pipeline.tick(at, &mut Vec::new());
        }
        assert_eq!(reports, expected, "{}", path.display());
    }
}

/// A full handshake, and what resumes its session.
pub(super) fn reuse() -> [Vec<Event>; 2] {
    let mut full = recorded(include_str!("../../fixtures/handshakes/mtls13-reuse.jsonl"));
    let is_opened = |event: &Event| matches!(event, Event::Opened { .. });
    let second = full.iter().skip(1).position(is_opened).unwrap() + 1;
    let resumed = full.split_off(second);
    [full, resumed]
}

#[test]
fn a_session_is_carried_while_the_connection_that_began_it_goes_on() {
    let [mut full, resumed] = reuse();
    full.retain(|event| !matches!(event, Event::Fin { .. } | Event::Closed { .. }));
    let mut pipeline = Pipeline::new(Limits::default());
    let open = run(&mut pipeline, full).pop().unwrap();
    assert_eq!((open.verdict.client_auth, open.is_final), (Presented, false));
    let last = run(&mut pipeline, resumed).pop().unwrap();
    assert_eq!((last.verdict.client_auth, last.verdict.evidence), (Presented, Evidence::Carried));
}

#[test]
fn a_session_of_a_connection_that_goes_on_may_be_the_one_that_is_resumed() {
    let [mut mutual, resumed] = reuse();
    let Event::Opened { destination: upstream, .. } = mutual[0] else { panic!("it is opened") };
    // The same process with the same upstream, without a certificate.
    let mut one_way = recorded(include_str!("../../fixtures/handshakes/tls13.jsonl"));
    for events in [&mut one_way, &mut mutual] {
        events.retain(|event| !matches!(event, Event::Fin { .. } | Event::Closed { .. }));
    }
    for event in &mut one_way {
        if let Event::Opened { destination: address, .. }
        | Event::Established { remote: address, .. } = event
        {
            *address = upstream;
        }
    }
    let both = [mutual.clone(), one_way.clone()].concat();
    for (name, before, expected) in [
        ("its own", mutual, (Presented, None)),
        (
            "its own, and one whose tickets are shorter than what is offered",
            both,
            (Presented, None),
        ),
        ("the shorter one alone", one_way, (Unknown, Some(Reason::ResumedUnseen))),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        let open = run(&mut pipeline, before).pop().unwrap();
        assert!(!open.is_final, "{name}");
        let last = run(&mut pipeline, resumed.clone()).pop().unwrap();
        assert!(last.is_final, "{name}");
        assert_eq!((last.verdict.client_auth, last.verdict.reason), expected, "{name}");
    }
}

//! Recorded handshakes that somebody ends, or that nobody answers: what was seen is said, and
//! nothing is established that the server did not accept.

use std::time::Duration;

use super::{deadlines::nanoseconds, *};
use crate::model::{
    ClientAuth::{NotRequested, Presented, RequestedNotPresented, Unknown},
    Direction::{self, ToClient, ToServer},
    Evidence, Outcome,
};

/// The events of a recorded handshake without its end.
macro_rules! recorded {
    ($name:literal) => {
        $crate::pipeline::acceptance_tests::without_end(include_str!(concat!(
            "../../fixtures/handshakes/",
            $name,
            ".jsonl"
        )))
    };
}

pub(super) use recorded;

/// The events of one connection, without its end.
pub(super) fn without_end(text: &str) -> Vec<Event> {
    let mut events: Vec<Event> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.retain(|event| !matches!(event, Event::Fin { .. } | Event::Closed { .. }));
    events
}

pub(super) fn run(
    pipeline: &mut Pipeline,
    events: impl IntoIterator<Item = Event>,
) -> Vec<ConnectionReport> {
    let mut updates = Vec::new();
    events.into_iter().for_each(|event| pipeline.handle(event, &mut updates));
    reports(updates)
}

pub(super) fn reports(updates: Vec<Update>) -> Vec<ConnectionReport> {
    let reports = updates.into_iter().filter_map(|update| match update {
        Update::Report { report, .. } => Some(*report),
        Update::Done(_) => None,
    });
    reports.collect()
}

pub(super) fn without_library(mut events: Vec<Event>) -> Vec<Event> {
    events.retain(|event| !matches!(event, Event::Library(_)));
    events
}

pub(super) fn connection(events: &[Event]) -> ConnectionId {
    let Event::Opened { connection, .. } = events[0] else { panic!("it is opened") };
    connection
}

/// The index of the n-th segment of a side.
pub(super) fn nth_segment(events: &[Event], side: Direction, n: usize) -> usize {
    let is_one =
        |event: &Event| matches!(event, Event::Segment { direction, .. } if *direction == side);
    events.iter().enumerate().filter(|(_, event)| is_one(event)).nth(n).expect("a segment").0
}

/// Who ends the connection, and how that is seen.
pub(super) fn ends(connection: ConnectionId) -> [(&'static str, Vec<Event>, Reason); 4] {
    let at = Timestamp(u64::MAX / 2);
    let closed = |cause| Event::Closed { connection, at, cause };
    let fin = |direction| Event::Fin { connection, at, direction, offset: u32::MAX };
    [
        ("server resets", vec![closed(CloseCause::ResetBy(ToClient))], Reason::Unaccepted),
        ("client resets", vec![closed(CloseCause::ResetBy(ToServer))], Reason::Abandoned),
        (
            "server closes",
            vec![fin(ToClient), fin(ToServer), closed(CloseCause::Closed)],
            Reason::Unaccepted,
        ),
        (
            "client closes",
            vec![fin(ToServer), fin(ToClient), closed(CloseCause::Closed)],
            Reason::Abandoned,
        ),
    ]
}

#[test]
fn up_to_tls12_what_was_seen_is_said_at_every_cut() {
    // After the ServerHello's flight, and after the client's.
    for (name, events, after_server, after_client) in [
        ("mtls12", recorded!("mtls12"), Unknown, Presented),
        ("tls12-optional", recorded!("tls12-optional"), Unknown, RequestedNotPresented),
        ("tls12", recorded!("tls12"), NotRequested, NotRequested),
    ] {
        let events = without_library(events);
        let flight = nth_segment(&events, ToServer, 1);
        for cut in 3..=flight {
            for (how, end, reason) in ends(connection(&events)) {
                let events = events[..=cut].iter().cloned().chain(end);
                let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
                let expected = if cut == flight { after_client } else { after_server };
                let said = (last.verdict.client_auth, last.verdict.outcome, last.verdict.reason);
                let context = format!("{name}, {how} after event {cut}: {:?}", last.verdict);
                assert_eq!(said, (expected, Outcome::Incomplete, Some(reason)), "{context}");
            }
        }
    }
}

#[test]
fn a_client_hello_alone_says_nothing_but_who_left() {
    let events = recorded!("mtls12");
    for (how, end, reason) in ends(connection(&events)) {
        let events = events[..3].iter().cloned().chain(end);
        let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
        assert_eq!(last.verdict.reason, Some(reason), "{how}");
        assert_eq!(last.verdict.client_auth, Unknown, "{how}");
    }
}

/// The recorded mutual handshake up to the client's flight.
fn up_to_the_flight() -> Vec<Event> {
    let mut events = recorded!("mtls13");
    events.truncate(nth_segment(&events, ToServer, 1) + 1);
    events
}

#[test]
fn in_tls13_the_clients_finished_establishes_nothing() {
    let events = up_to_the_flight();
    let sources = [
        ("by lengths", without_library(events.clone()), Evidence::Inferred),
        ("with the library", events, Evidence::Library),
    ];
    for (source, events, evidence) in sources {
        for (how, end, reason) in ends(connection(&events)) {
            let events = events.iter().cloned().chain(end);
            let reports = run(&mut Pipeline::new(Limits::default()), events);
            for ConnectionReport { verdict, .. } in &reports {
                assert_eq!(verdict.outcome, Outcome::Incomplete, "{source}, {how}: {verdict:?}");
            }
            let last = reports.last().unwrap();
            assert!(last.is_final, "{source}, {how}");
            let said = (last.verdict.client_auth, last.verdict.evidence, last.verdict.reason);
            assert_eq!(said, (Presented, evidence, Some(reason)), "{source}, {how}");
        }
    }
}

#[test]
fn a_record_answers_what_its_sender_had_received() {
    let whole = recorded!("mtls13");
    let flight = nth_segment(&whole, ToServer, 1);
    let Event::Segment { offset, payload_len, .. } = whole[flight] else { unreachable!() };
    let end = offset + payload_len;
    let answer = nth_segment(&whole, ToClient, 1);
    let expected = [
        ("nothing is known of it", None, Outcome::Established),
        ("the ClientHello", Some(offset), Outcome::Incomplete),
        ("all but the Finished", Some(end - 1), Outcome::Incomplete),
        ("the Finished", Some(end), Outcome::Established),
    ];
    for (name, heard, outcome) in expected {
        let mut events = whole[..=answer].to_vec();
        // The server's flight answers the ClientHello.
        for (at, heard) in [(nth_segment(&events, ToClient, 0), Some(offset)), (answer, heard)] {
            if let Event::Segment { acked, .. } = &mut events[at] {
                *acked = heard;
            }
        }
        if heard.is_none() {
            let first = nth_segment(&events, ToClient, 0);
            if let Event::Segment { acked, .. } = &mut events[first] {
                *acked = None;
            }
        }
        let reset = Event::Closed {
            connection: connection(&events),
            at: events[answer].at(),
            cause: CloseCause::ResetBy(ToClient),
        };
        let events = events.into_iter().chain([reset]);
        let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
        assert_eq!(last.verdict.outcome, outcome, "{name}: {:?}", last.verdict);
        assert_eq!(last.verdict.client_auth, Presented, "{name}");
    }
}

#[test]
fn acknowledgements_that_do_not_hold_are_not_believed() {
    let mut events = recorded!("mtls13");
    for event in &mut events {
        if let Event::Segment { acked, .. } = event {
            *acked = Some(0);
        }
    }
    let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
    assert_eq!(last.verdict.outcome, Outcome::Established);
}

#[test]
fn a_server_may_think_for_longer_than_the_grace() {
    let limits = Limits::default();
    let whole = recorded!("mtls13");
    let answer = nth_segment(&whole, ToClient, 1);
    let before = whole[..answer].to_vec();
    let start = before[answer - 1].at();
    let after = |duration: Duration| Timestamp(start.0 + nanoseconds(duration));
    for (name, waits) in
        [("seconds", limits.settle_grace * 5), ("minutes", limits.handshake_timeout * 5)]
    {
        let mut pipeline = Pipeline::new(limits);
        run(&mut pipeline, before.clone());
        let mut updates = Vec::new();
        pipeline.tick(after(waits), &mut updates);
        let mut said = reports(updates);
        said.extend(run(&mut pipeline, [whole[answer].clone()]));
        let last = said.pop().unwrap();
        assert_eq!(
            (last.verdict.outcome, last.verdict.reason),
            (Outcome::Established, None),
            "{name}"
        );
        assert_eq!(last.verdict.client_auth, Presented, "{name}");
    }
}

#[test]
fn a_connection_that_says_nothing_is_nobodys_refusal() {
    let events = recorded!("mtls12");
    for (how, end, reason) in ends(connection(&events)) {
        let events = events[..2].iter().cloned().chain(end);
        let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
        let client_left = reason == Reason::Abandoned;
        let expected = if client_left { Reason::Unused } else { Reason::NoData };
        assert_eq!(last.verdict.reason, Some(expected), "{how}");
        assert_eq!((last.is_unused(), last.is_final), (client_left, true), "{how}");
    }
}

/// As OpenSSL and BoringSSL answer a check that only connects.
#[test]
fn an_alert_that_answers_who_left_is_no_failure() {
    let events = recorded!("mtls12");
    let (connection, at) = (connection(&events), events[1].at());
    let fin = |direction, offset| Event::Fin { connection, at, direction, offset };
    let alert = Event::Segment {
        connection,
        at,
        direction: ToClient,
        offset: 0,
        payload_len: 7,
        acked: None,
        bytes: vec![21, 3, 1, 0, 2, 2, 50],
    };
    let closed = Event::Closed { connection, at, cause: CloseCause::Closed };
    for (name, events, is_unused) in [
        ("after it left", [fin(ToServer, 0), alert.clone(), fin(ToClient, 7)], true),
        ("before it left", [alert, fin(ToClient, 7), fin(ToServer, 0)], false),
    ] {
        let events = events.into_iter().chain([closed.clone()]);
        let events = recorded!("mtls12")[..2].iter().cloned().chain(events).collect::<Vec<_>>();
        let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
        assert_eq!((last.is_unused(), last.is_final), (is_unused, true), "{name}: {last:?}");
    }
}

#[test]
fn what_may_have_carried_bytes_is_not_unused() {
    let events = recorded!("mtls12");
    let (connection, at) = (connection(&events), events[1].at());
    let closed = |cause| Event::Closed { connection, at, cause };
    let fin = |offset| Event::Fin { connection, at, direction: ToServer, offset };
    let mid_stream = |mut event: Event| {
        if let Event::Opened { beginning, .. } = &mut event {
            *beginning = crate::model::Beginning::MidStream;
        }
        event
    };
    let left = closed(CloseCause::ResetBy(ToServer));
    let opened = events[..2].to_vec();
    for (name, events) in [
        ("an end beyond bytes that were not seen", [&opened[..], &[fin(7), left.clone()]].concat()),
        ("a loss", [&opened[..], &[Event::Lost { connection, at }, left.clone()]].concat()),
        ("a byte", [&events[..3], std::slice::from_ref(&left)].concat()),
        ("older than the agent", vec![mid_stream(events[0].clone()), left]),
        ("nobody saw who left", [&opened[..], &[closed(CloseCause::Closed)]].concat()),
        ("never connected", [&opened[..1], &[closed(CloseCause::ConnectFailed)]].concat()),
        ("the capture ends", [&opened[..], &[closed(CloseCause::SourceEnded)]].concat()),
    ] {
        let last = run(&mut Pipeline::new(Limits::default()), events).pop().unwrap();
        assert!(last.is_final && !last.is_unused(), "{name}: {:?}", last.verdict);
    }
}

/// The server's choice of a cipher suite in its ServerHello becomes another.
fn with_suite(mut events: Vec<Event>, cipher: u16) -> Vec<Event> {
    let at = nth_segment(&events, ToClient, 0);
    let Event::Segment { bytes, .. } = &mut events[at] else { panic!("it is a segment") };
    // Record and message header, version and random stand before the session's name.
    let suite = 5 + 4 + 2 + 32 + 1 + usize::from(bytes[43]);
    bytes[suite..suite + 2].copy_from_slice(&cipher.to_be_bytes());
    events
}

#[test]
fn suites_that_encrypt_nothing_or_verify_nobody_are_told() {
    use crate::model::{Security, ServerVerified};
    const RSA_NULL_SHA: u16 = 0x0002;
    const DH_ANON_AES: u16 = 0x0034;
    const SHA256_SHA256: u16 = 0xc0b4;
    let (mtls, tls) = (recorded!("mtls12"), recorded!("tls12"));
    let (plaintext, unchecked) = (Security::Plaintext, ServerVerified::Unknown);
    for (name, events, cipher, security, client_auth, server_verified) in [
        ("mutual, encrypted", &mtls, 0xc02f, Security::Mtls, Presented, unchecked),
        ("mutual, not encrypted", &mtls, RSA_NULL_SHA, plaintext, Presented, unchecked),
        ("one-way, not encrypted", &tls, RSA_NULL_SHA, plaintext, NotRequested, unchecked),
        ("anonymous", &tls, DH_ANON_AES, Security::Tls, NotRequested, ServerVerified::No),
        (
            "TLS 1.3, not encrypted",
            &recorded!("mtls13"),
            SHA256_SHA256,
            plaintext,
            Unknown,
            unchecked,
        ),
    ] {
        let events = with_suite(without_library(events.clone()), cipher);
        let (_, end, _) = ends(connection(&events)).into_iter().last().unwrap();
        let reports = run(&mut Pipeline::new(Limits::default()), events.into_iter().chain(end));
        let verdict = reports.last().unwrap().verdict;
        let said = (verdict.security, verdict.client_auth, verdict.server_verified);
        assert_eq!(said, (security, client_auth, server_verified), "{name}: {verdict:?}");
        if security == plaintext {
            assert_eq!(verdict.evidence, Evidence::Wire, "{name}");
        }
    }
}

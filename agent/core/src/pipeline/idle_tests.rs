//! Connections that a client leaves as soon as it has finished, as health checks do, and those on
//! which it says nothing more for long, as pools hold them.

use super::{
    acceptance_tests::{connection, ends, nth_segment, recorded, reports, run, without_library},
    deadlines::nanoseconds,
    *,
};
use crate::model::{
    ClientAuth::{Presented, Unknown},
    Direction::{ToClient, ToServer},
    Evidence, Outcome, Security,
};

/// The recorded mutual handshake whose session is resumed, and the first resumption; without ends.
fn reuse() -> [Vec<Event>; 2] {
    let mut events = without_library(recorded!("mtls13-reuse"));
    let is_opened = |event: &Event| matches!(event, Event::Opened { .. });
    let mut openings = (0..events.len()).filter(|&at| is_opened(&events[at]));
    let (second, third) = (openings.nth(1).unwrap(), openings.next().unwrap());
    events.truncate(third);
    let resumed = events.split_off(second);
    [events, resumed]
}

/// The first connections with the upstream of another.
fn with_upstream_of(events: Vec<Event>, other: &[Event]) -> Vec<Event> {
    let Event::Opened { destination: upstream, origin: owner, .. } = &other[0] else {
        panic!("it is opened")
    };
    let mut events = events;
    for event in &mut events {
        match event {
            Event::Opened { destination, origin, .. } => {
                *destination = *upstream;
                *origin = owner.clone();
            }
            Event::Established { remote, .. } => *remote = *upstream,
            _ => {}
        }
    }
    events
}

/// The same events at this moment.
fn at_once(mut events: Vec<Event>, now: Timestamp) -> Vec<Event> {
    for event in &mut events {
        if let Event::Fin { at, .. } | Event::Closed { at, .. } = event {
            *at = now;
        }
    }
    events
}

/// A health check over TLS connects, finishes and leaves. Where it resumes a session, what that
/// showed is told of it as of a full handshake that ends so: presented, and accepted by nobody yet.
#[test]
fn a_check_that_resumes_is_told_like_one_that_does_not() {
    let [full, resumed] = reuse();
    let one_way = with_upstream_of(without_library(recorded!("tls13")), &full);
    let finished = nth_segment(&resumed, ToServer, 1);
    let known = full.clone();
    let two_kinds = [full.clone(), one_way.clone()].concat();
    // The server's answer, with the ticket, was not seen.
    let mut unanswered = one_way[..=nth_segment(&one_way, ToServer, 1)].to_vec();
    let (cause, at) = (CloseCause::Closed, one_way[0].at());
    unanswered.push(Event::Closed { connection: connection(&one_way), at, cause });
    let with_any_ticket = [full.clone(), unanswered].concat();
    let carried = (Presented, Evidence::Carried, Reason::Abandoned);
    let nothing = |reason| (Unknown, Evidence::None, reason);
    let (unseen, ambiguous) = (Reason::ResumedUnseen, Reason::Ambiguous);
    for (name, before, cut, client_leaves) in [
        ("after its Finished", &known, finished, carried),
        ("before its Finished", &known, finished - 1, nothing(Reason::Abandoned)),
        ("without a session that is known", &Vec::new(), finished, nothing(unseen)),
        ("with two kinds of sessions that differ in length", &two_kinds, finished, carried),
        ("with one of any length", &with_any_ticket, finished, nothing(ambiguous)),
    ] {
        for (how, end, reason) in ends(connection(&resumed)) {
            let mut pipeline = Pipeline::new(Limits::default());
            run(&mut pipeline, before.clone());
            let events = resumed[..=cut].iter().cloned().chain(at_once(end, resumed[cut].at()));
            let last = run(&mut pipeline, events).pop().unwrap();
            let verdict = last.verdict;
            let context = format!("{name}, {how}: {verdict:?}");
            let expected =
                if reason == Reason::Abandoned { client_leaves } else { nothing(reason) };
            let said = (verdict.client_auth, verdict.evidence, verdict.reason.unwrap());
            assert_eq!(said, expected, "{context}");
            assert_eq!(verdict.outcome, Outcome::Incomplete, "{context}");
            assert!(last.is_final && last.resumed == Some(true), "{context}");
        }
    }
}

/// What is said when `events` are followed by silence for ten times as long as a handshake may take,
/// and then by `rest`.
fn after_silence(events: &[Event], rest: &[Event]) -> Vec<ConnectionReport> {
    let limits = Limits::default();
    let mut pipeline = Pipeline::new(limits);
    run(&mut pipeline, events.to_vec());
    let from = events.last().unwrap().at();
    let mut updates = Vec::new();
    for step in 1..=10 {
        let passed = nanoseconds(limits.handshake_timeout) * step;
        pipeline.tick(Timestamp(from.0 + passed), &mut updates);
    }
    let mut said = reports(updates);
    said.extend(run(&mut pipeline, rest.to_vec()));
    said
}

/// Certificate, CertificateVerify and Finished in one record may be anything until a later one rules
/// padding out. On a spare connection of a pool that comes when it is needed.
#[test]
fn a_spare_connection_is_decided_when_it_is_used() {
    let whole = recorded!("mtls13-envoy");
    let flight = nth_segment(&whole, ToServer, 1);
    let request = nth_segment(&whole, ToServer, 2);
    let reset = Event::Closed {
        connection: connection(&whole),
        at: whole[flight].at(),
        cause: CloseCause::ResetBy(ToServer),
    };
    let lengths = |range: &[Event]| without_library(range.to_vec());
    let used = (Presented, Outcome::Established, None);
    let left = (Unknown, Outcome::Incomplete, Some(Reason::Abandoned));
    let reset = std::slice::from_ref(&reset);
    for (name, before, rest, expected) in [
        ("used", lengths(&whole[..request]), lengths(&whole[request..]), used),
        ("left unused", lengths(&whole[..=flight]), reset.to_vec(), left),
    ] {
        let said = after_silence(&before, &rest);
        let last = said.last().unwrap();
        let verdict = last.verdict;
        let words = (verdict.client_auth, verdict.outcome, verdict.reason);
        assert_eq!(words, expected, "{name}");
        assert!(last.is_final, "{name}");
    }
}

#[test]
fn a_handshake_that_hangs_is_given_up() {
    let whole = without_library(recorded!("mtls13"));
    let flight = nth_segment(&whole, ToServer, 1);
    let answer = nth_segment(&whole, ToClient, 0);
    let mut cut = whole[..=flight].to_vec();
    if let Event::Segment { bytes, payload_len, .. } = &mut cut[flight] {
        bytes.truncate(200);
        *payload_len = 200;
    }
    for (name, events, reason) in [
        ("after the ClientHello", whole[..answer].to_vec(), Reason::Timeout),
        ("after the server's flight", whole[..=answer].to_vec(), Reason::Timeout),
        ("in the middle of the client's first record", cut, Reason::Ambiguous),
    ] {
        let said = after_silence(&events, &[]);
        let last = said.last().unwrap();
        assert!(last.is_final, "{name}");
        assert_eq!(last.verdict.client_auth, Unknown, "{name}: {:?}", last.verdict);
        assert_eq!(last.verdict.reason, Some(reason), "{name}");
    }
}

#[test]
fn what_the_library_showed_is_kept_for_as_long_as_the_connection() {
    let whole = recorded!("mtls13");
    let before = &whole[..nth_segment(&whole, ToClient, 1)];
    let answer = &whole[before.len()..];
    let last = after_silence(before, answer).pop().unwrap();
    assert_eq!(
        (last.verdict.outcome, last.verdict.evidence),
        (Outcome::Established, Evidence::Library)
    );
}

/// A reason is given exactly where something is unknown or incomplete, wherever a handshake stops.
#[test]
fn what_is_incomplete_has_its_reason() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/handshakes");
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<Event> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for cut in 0..events.len() {
            for (how, end, _) in ends(connection(&events)) {
                let mut pipeline = Pipeline::new(Limits::default());
                let mut said = run(&mut pipeline, events[..=cut].iter().cloned().chain(end));
                let mut updates = Vec::new();
                pipeline.finish(Timestamp(u64::MAX), &mut updates);
                said.extend(reports(updates));
                for report in said {
                    let verdict = report.verdict;
                    let needs_reason =
                        [verdict.security == Security::Unknown, verdict.client_auth == Unknown]
                            .contains(&true)
                            || verdict.outcome == Outcome::Incomplete;
                    let context = format!("{}, {how} after event {cut}", path.display());
                    assert_eq!(verdict.reason.is_some(), needs_reason, "{context}: {verdict:?}");
                }
            }
        }
    }
}

//! Sessions of TLS 1.3 whose tickets the library shows.

use super::{
    acceptance_tests::without_library,
    library_tests::{recorded, reuse, run},
    *,
};
use crate::{
    model::{
        ClientAuth::{self, NotRequested, Presented, Unknown},
        Descent, Evidence, LibraryEvent, Origin, SessionName,
    },
    report::{CarriedBy, EarlyData},
    tls::hello::ClientHello,
};

const ONE_WAY: &str = include_str!("../../fixtures/handshakes/tls13.jsonl");

/// A handshake after which the server gives this ticket, as the library shows it.
fn with_ticket(mut events: Vec<Event>, ticket: SessionName) -> Vec<Event> {
    let shown = events.iter().rposition(|event| matches!(event, Event::Library(_))).unwrap();
    let Event::Library(last) = &events[shown] else { panic!("it is one") };
    let observation = LibraryObservation::TicketReceived { name: ticket };
    events.insert(shown + 1, Event::Library(LibraryEvent { observation, ..last.clone() }));
    events
}

/// The ticket that a resuming client offers.
fn offered(events: &[Event]) -> SessionName {
    let hello = events.iter().find_map(|event| match event {
        Event::Library(LibraryEvent {
            observation: LibraryObservation::TranscriptUpdate { bytes, .. },
            ..
        }) if bytes[0] == 1 => Some(bytes),
        _ => None,
    });
    let hello = hello.unwrap();
    let length = usize::from(hello[2]) * 256 + usize::from(hello[3]);
    let hello = ClientHello::parse(&hello[4..4 + length]).unwrap();
    hello.identities.and_then(|all| all.at(0)).unwrap().name
}

/// A full handshake, and what first resumes its session.
fn full_and_resumed() -> [Vec<Event>; 2] {
    let [full, mut resumed] = reuse();
    let is_opened = |event: &Event| matches!(event, Event::Opened { .. });
    let next = resumed.iter().skip(1).position(is_opened).unwrap() + 1;
    resumed.truncate(next);
    [full, resumed]
}

/// The same events of another process, of this name.
fn of_process(mut events: Vec<Event>, by: u32, name: &str) -> Vec<Event> {
    for event in &mut events {
        match event {
            Event::Opened { origin: Origin::Process(process), .. } => {
                process.pid += by;
                process.name = name.into();
            }
            Event::Library(event) => event.pid += by,
            _ => {}
        }
    }
    events
}

/// The same events with the upstream of others.
fn to_upstream_of(mut events: Vec<Event>, others: &[Event]) -> Vec<Event> {
    let Event::Opened { destination: upstream, .. } = others[0] else { panic!("it is opened") };
    for event in &mut events {
        if let Event::Opened { destination: address, .. }
        | Event::Established { remote: address, .. } = event
        {
            *address = upstream;
        }
    }
    events
}

fn last(pipeline: &mut Pipeline, events: Vec<Event>) -> ConnectionReport {
    run(pipeline, events).pop().unwrap()
}

#[test]
fn a_session_is_carried_from_the_handshake_that_gave_its_ticket() {
    const UNSEEN: (ClientAuth, Option<CarriedBy>) = (Unknown, None);
    let by = |client_auth, by| (client_auth, Some(by));
    let other = || SessionName::of(b"another ticket").unwrap();
    let [mutual, resumed] = full_and_resumed();
    let one_way = to_upstream_of(recorded(ONE_WAY), &mutual);
    let own = offered(&resumed);
    let shown = || with_ticket(mutual.clone(), own);
    let cases = [
        (
            "no ticket was shown",
            vec![mutual.clone()],
            resumed.clone(),
            by(Presented, CarriedBy::LastHandshake),
        ),
        ("its own", vec![shown()], resumed.clone(), by(Presented, CarriedBy::Session)),
        (
            "of another process",
            vec![of_process(shown(), 1, "nginx")],
            resumed.clone(),
            by(Presented, CarriedBy::Session),
        ),
        (
            "of another program",
            vec![of_process(shown(), 1, "envoy")],
            resumed.clone(),
            by(Presented, CarriedBy::Session),
        ),
        (
            "in spite of a later handshake",
            vec![shown(), with_ticket(one_way.clone(), other())],
            resumed.clone(),
            by(Presented, CarriedBy::Session),
        ),
        (
            "in spite of an earlier handshake",
            vec![with_ticket(mutual.clone(), other()), with_ticket(one_way, own)],
            resumed.clone(),
            by(NotRequested, CarriedBy::Session),
        ),
        (
            "from before the agent's time, though the last handshake is known",
            vec![with_ticket(mutual.clone(), other())],
            resumed.clone(),
            UNSEEN,
        ),
        (
            "from before the agent's time, by another worker of the same program",
            vec![of_process(with_ticket(mutual.clone(), other()), 1, "nginx"), mutual],
            resumed,
            UNSEEN,
        ),
    ];
    for (name, seen, resumed, expected) in cases {
        let mut pipeline = Pipeline::new(Limits::default());
        for events in seen {
            assert_ne!(last(&mut pipeline, events).verdict.client_auth, Unknown, "{name}");
        }
        let report = last(&mut pipeline, resumed);
        let found = (report.verdict.client_auth, report.carried_from.as_ref().map(|from| from.by));
        assert_eq!(found, expected, "{name}: {report:?}");
        let reason = report.carried_from.is_none().then_some(Reason::ResumedUnseen);
        assert_eq!(report.verdict.reason, reason, "{name}");
    }
}

#[test]
fn a_session_that_began_before_the_library_was_looked_into_is_carried() {
    let other = || SessionName::of(b"another ticket").unwrap();
    let [mutual, resumed] = full_and_resumed();
    let Event::Opened { origin: Origin::Process(process), .. } = &mutual[0] else { panic!() };
    let pid = process.pid;
    // Another worker as well, for one handshake cannot be made twice.
    let began = [pid, pid + 1]
        .map(|pid| Event::Began { pid, descent: Descent::default(), at: mutual[0].at() })
        .to_vec();
    let before = || without_library(mutual.clone());
    let looked_into = || of_process(with_ticket(mutual.clone(), other()), 1, "nginx");
    let own = |by| of_process(with_ticket(mutual.clone(), offered(&resumed)), by, "nginx");
    let unseen = (Unknown, Some(Reason::ResumedUnseen));
    for (name, first, then, expected) in [
        ("seen to begin", began.clone(), vec![before(), looked_into()], (Presented, None)),
        ("older than the watch", vec![], vec![before(), looked_into()], unseen),
        ("looked into at once", began.clone(), vec![looked_into()], unseen),
        (
            "seen to begin, but another one said that its ticket is its own",
            began,
            vec![before(), own(0), own(1)],
            unseen,
        ),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        run(&mut pipeline, first);
        for events in then {
            last(&mut pipeline, events);
        }
        let report = last(&mut pipeline, resumed.clone());
        assert_eq!((report.verdict.client_auth, report.verdict.reason), expected, "{name}");
        let by = (expected.1.is_none()).then_some(CarriedBy::LastHandshake);
        assert_eq!(report.carried_from.map(|from| from.by), by, "{name}");
    }
}

#[test]
fn a_report_names_the_handshake_that_it_is_carried_from() {
    let [mutual, resumed] = full_and_resumed();
    let mutual = of_process(with_ticket(mutual, offered(&resumed)), 7, "nginx");
    let mut pipeline = Pipeline::new(Limits::default());
    let full = last(&mut pipeline, mutual);
    let report = last(&mut pipeline, resumed);
    let Origin::Process(process) = &full.origin else { panic!("{full:?}") };
    let from = report.carried_from.unwrap();
    assert_eq!((from.pid, from.at), (Some(process.pid), full.decided_at));
    assert_eq!((from.evidence, report.verdict.evidence), (Evidence::Library, Evidence::Carried));
    assert_eq!(from.client_certificate, full.client_certificate);
    assert!(from.client_certificate.is_some());
}

#[test]
fn a_ticket_may_come_before_the_handshake_is_judged_and_after_it_is_forgotten() {
    let [mutual, resumed] = full_and_resumed();
    let with = with_ticket(mutual.clone(), offered(&resumed));
    let is_ticket = |event: &Event| {
        let Event::Library(event) = event else { return false };
        matches!(event.observation, LibraryObservation::TicketReceived { .. })
    };
    let (tickets, rest): (Vec<_>, Vec<_>) = with.into_iter().partition(is_ticket);
    let (library, wire): (Vec<_>, Vec<_>) =
        rest.iter().cloned().partition(|event| matches!(event, Event::Library(_)));
    let orders = [
        ("before the wire", [library, tickets.clone(), wire].concat()),
        ("after the end", [rest, tickets].concat()),
    ];
    for (name, events) in orders {
        let mut pipeline = Pipeline::new(Limits::default());
        run(&mut pipeline, events);
        let report = last(&mut pipeline, resumed.clone());
        let by = report.carried_from.map(|from| from.by);
        assert_eq!(
            (report.verdict.client_auth, by),
            (Presented, Some(CarriedBy::Session)),
            "{name}"
        );
    }
}

#[test]
fn a_ticket_of_a_damaged_transcript_is_nobodys() {
    let [mutual, resumed] = full_and_resumed();
    let mut events = with_ticket(mutual, offered(&resumed));
    let twice = events.iter().rposition(|event| {
        let Event::Library(event) = event else { return false };
        matches!(&event.observation,
            LibraryObservation::TranscriptUpdate { bytes, .. } if bytes[0] == 8)
    });
    // A second EncryptedExtensions.
    let twice = twice.unwrap();
    events.insert(twice, events[twice].clone());
    let mut pipeline = Pipeline::new(Limits::default());
    run(&mut pipeline, events);
    assert_eq!(pipeline.transcripts_damaged(), 1);
    let report = last(&mut pipeline, resumed);
    assert_ne!(report.carried_from.map(|from| from.by), Some(CarriedBy::Session));
}

#[test]
fn early_data_is_told_where_it_was_offered() {
    for (name, text, expected) in [
        (
            "accepted or not, by the library",
            include_str!("../../fixtures/handshakes/tls13-early-data.jsonl"),
            Some(EarlyData::Refused),
        ),
        (
            "ended by a HelloRetryRequest",
            include_str!("../../fixtures/handshakes/tls13-early-data-retry.jsonl"),
            Some(EarlyData::Refused),
        ),
        ("not offered", ONE_WAY, None),
    ] {
        let mut pipeline = Pipeline::new(Limits::default());
        assert_eq!(last(&mut pipeline, recorded(text)).early_data, expected, "{name}");
    }
}

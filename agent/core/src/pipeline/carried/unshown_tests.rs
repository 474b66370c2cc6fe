//! Sessions that a program began before its library was looked into.

use super::{
    tests::{DAY, HOUR, full, key, verdict},
    *,
};
use crate::{
    model::{Descent, ServerVerified},
    pipeline::owners::Owner,
    report::CarriedBy,
    tls::session::Identity,
};

/// What the library shows of a handshake.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Nothing,
    Messages,
    MessagesAndTicket,
}

/// A full handshake with an upstream, under a name, with a ticket in a record of this length.
struct Begun(u8, &'static str, ClientAuth, u16, Shown);

fn process() -> Process {
    Process { pid: 7, name: "envoy".into(), cgroup_id: 1 }
}

/// Of the process, every session of which was seen to begin.
fn own(host: u8, name: &str) -> SessionKey {
    SessionKey { owner: Owner::Generation(1), ..key(7, host, name) }
}

impl Begun {
    fn happen(&self, handshakes: &mut FullHandshakes, at: u8) {
        let Self(host, name, client_auth, record, shown) = *self;
        let process = process();
        let handshake = (process.pid, [at; 32]);
        let session = Session::Unnamed {
            key: own(host, name),
            basis: Basis::Certificates,
            taken: None,
            ticket: Some(record),
        };
        let (evidence, server_verified) = match shown {
            Shown::Nothing => (Evidence::Inferred, ServerVerified::Unknown),
            Shown::Messages | Shown::MessagesAndTicket => (Evidence::Library, ServerVerified::Yes),
        };
        let seen = verdict(client_auth, Outcome::Established);
        let verdict = Verdict { evidence, server_verified, ..seen };
        let full = full(verdict, at.into());
        handshakes.learn(session, full, Some(false), Some((&process, handshake)));
        if shown == Shown::MessagesAndTicket {
            handshakes.receive(handshake, SessionName::of(b"shown").unwrap());
        }
    }
}

type Case = (&'static str, Vec<Begun>, Result<ClientAuth, Reason>);

/// What began, and what a session is then told that is offered to the first host, with an identity of
/// 672 bytes.
fn cases() -> Vec<Case> {
    use ClientAuth::{NotRequested, Presented};
    const UNSEEN: Result<ClientAuth, Reason> = Err(Reason::ResumedUnseen);
    const LONG: u16 = 714;
    const SHORT: u16 = 234;
    let before =
        |host, name, client_auth, record| Begun(host, name, client_auth, record, Shown::Nothing);
    let later = |host, name, client_auth, record| {
        Begun(host, name, client_auth, record, Shown::MessagesAndTicket)
    };
    let unshown =
        |host, name, client_auth, record| Begun(host, name, client_auth, record, Shown::Messages);
    vec![
        (
            "one",
            vec![before(1, "a", Presented, LONG), later(1, "a", Presented, LONG)],
            Ok(Presented),
        ),
        ("none", vec![later(1, "a", Presented, LONG)], UNSEEN),
        (
            "another with tickets of another length",
            vec![
                before(1, "a", Presented, LONG),
                before(2, "b", NotRequested, SHORT),
                later(1, "a", Presented, LONG),
            ],
            Ok(Presented),
        ),
        (
            "another with tickets as long",
            vec![
                before(1, "a", Presented, LONG),
                before(2, "b", NotRequested, LONG),
                later(1, "a", Presented, LONG),
            ],
            UNSEEN,
        ),
        (
            "two hosts without a name, and sessions of either are offered to both",
            vec![
                before(1, "", Presented, LONG),
                before(2, "", NotRequested, LONG),
                later(1, "", Presented, LONG),
            ],
            UNSEEN,
        ),
        (
            "what was shown since does not matter",
            vec![before(1, "a", Presented, LONG), later(1, "a", NotRequested, LONG)],
            Ok(Presented),
        ),
        (
            "another that nobody showed, though others were shown by then",
            vec![
                before(1, "", Presented, LONG),
                later(3, "c", Presented, SHORT),
                before(2, "", NotRequested, LONG),
            ],
            UNSEEN,
        ),
        (
            "with another upstream only, for it began in no other",
            vec![before(2, "b", Presented, LONG), later(1, "a", NotRequested, SHORT)],
            Ok(Presented),
        ),
        (
            "only since it was read",
            vec![unshown(1, "a", Presented, LONG), later(1, "a", Presented, LONG)],
            UNSEEN,
        ),
        (
            "and another since, without a ticket, which verified",
            vec![
                before(1, "a", Presented, LONG),
                later(1, "a", Presented, LONG),
                unshown(1, "a", Presented, LONG),
            ],
            Ok(Presented),
        ),
        (
            "and another since, without a ticket, that was otherwise",
            vec![
                before(1, "a", Presented, LONG),
                later(1, "a", Presented, LONG),
                unshown(2, "b", NotRequested, LONG),
            ],
            UNSEEN,
        ),
    ]
}

#[test]
fn what_began_before_the_library_showed_tickets_is_carried_where_all_of_that_is_alike() {
    let process = process();
    for (name, begun, expected) in cases() {
        let mut handshakes = FullHandshakes::new(100, DAY);
        handshakes.began(process.pid, Descent::default(), Timestamp(0));
        handshakes.opens(&Origin::Process(process.clone()), Timestamp(1));
        for (at, begun) in (0..).zip(&begun) {
            begun.happen(&mut handshakes, at);
        }
        let taken = Identity { name: SessionName::of(b"not shown").unwrap(), length: 672 };
        let mut resume = |taken, ticket| {
            let key = own(1, begun[begun.len() - 1].1);
            let session =
                Session::Unnamed { key, basis: Basis::Session, taken: Some(taken), ticket: None };
            let origin = Origin::Process(process.clone());
            let at = Timestamp(10 * HOUR);
            let carried = handshakes.carry(&session, &origin, Outcome::Established, at);
            // Its own ticket is shown.
            let handshake = (process.pid, [ticket; 32]);
            let resumed = full(verdict(ClientAuth::Unknown, Outcome::Established), 10);
            handshakes.learn(session, resumed, Some(true), Some((&process, handshake)));
            handshakes.receive(handshake, SessionName::of(&[ticket]).unwrap());
            let said = |full: Arc<Full>| {
                let Verdict { client_auth, server_verified, .. } = full.verdict;
                assert_eq!(server_verified, ServerVerified::Unknown, "{name}: nobody saw it");
                (client_auth, full.by)
            };
            carried.map(said)
        };
        let expected = expected.map(|client_auth| (client_auth, CarriedBy::LastHandshake));
        assert_eq!(resume(taken, 100), expected, "{name}");
        let next = Identity { name: SessionName::of(&[100]).unwrap(), length: 672 };
        assert_eq!(resume(next, 101), expected, "{name}: what that got");
    }
}

#[test]
fn a_ticket_of_a_handshake_that_nobody_knows_names_no_other() {
    const LENGTH: u16 = 714;
    let process = process();
    let origin = Origin::Process(process.clone());
    for (name, seconds, expected) in [
        ("soon after: it is of a handshake from before", 1, Ok(ClientAuth::Presented)),
        ("later: it may be of any", 40, Err(Reason::ResumedUnseen)),
    ] {
        let mut handshakes = FullHandshakes::new(100, DAY);
        handshakes.began(process.pid, Descent::default(), Timestamp(0));
        handshakes.opens(&origin, Timestamp(1));
        Begun(1, "a", ClientAuth::Presented, LENGTH, Shown::Nothing).happen(&mut handshakes, 1);
        Begun(1, "a", ClientAuth::Presented, LENGTH, Shown::MessagesAndTicket)
            .happen(&mut handshakes, 10);
        let astray = SessionName::of(b"astray").unwrap();
        handshakes.receive_astray(
            process.pid,
            astray,
            Timestamp(10 * HOUR + seconds * 1_000_000_000),
        );
        let session = Session::Unnamed {
            key: own(1, "a"),
            basis: Basis::Session,
            taken: Some(Identity { name: astray, length: 672 }),
            ticket: None,
        };
        let at = Timestamp(HOUR);
        let carried = handshakes.carry(&session, &origin, Outcome::Established, at);
        assert_eq!(carried.map(|full| full.verdict.client_auth), expected, "{name}");
    }
}

#[test]
fn a_handshake_of_another_process_of_the_owner_is_no_source() {
    let (one, other) = (process(), Process { pid: 8, ..process() });
    let mut handshakes = FullHandshakes::new(100, DAY);
    for process in [&one, &other] {
        handshakes.began(process.pid, Descent::default(), Timestamp(0));
        handshakes.opens(&Origin::Process(process.clone()), Timestamp(1));
    }
    Begun(1, "a", ClientAuth::Presented, 714, Shown::Nothing).happen(&mut handshakes, 1);
    Begun(1, "a", ClientAuth::Presented, 714, Shown::MessagesAndTicket).happen(&mut handshakes, 2);
    let taken = Identity { name: SessionName::of(b"not shown").unwrap(), length: 672 };
    for (process, expected) in
        [(&one, Ok(ClientAuth::Presented)), (&other, Err(Reason::ResumedUnseen))]
    {
        let key = own(1, "a");
        let session =
            Session::Unnamed { key, basis: Basis::Session, taken: Some(taken), ticket: None };
        let origin = Origin::Process(process.clone());
        let carried = handshakes.carry(&session, &origin, Outcome::Established, Timestamp(HOUR));
        assert_eq!(carried.map(|full| full.verdict.client_auth), expected, "{}", process.pid);
    }
}

#[test]
fn what_was_shown_counts_as_well_once_the_library_was_not_watched() {
    use ClientAuth::{NotRequested, Presented};
    let process = process();
    let origin = Origin::Process(process.clone());
    let before = Begun(1, "a", Presented, 714, Shown::Nothing);
    let shown = |client_auth| Begun(1, "a", client_auth, 714, Shown::MessagesAndTicket);
    let unseen = Err(Reason::ResumedUnseen);
    for (name, pauses_after, shown, expected) in [
        ("always watched", None, shown(NotRequested), Ok(Presented)),
        ("not watched after it", Some(2), shown(NotRequested), unseen),
        ("not watched before it", Some(0), shown(NotRequested), unseen),
        ("not watched after what is alike", Some(2), shown(Presented), Ok(Presented)),
    ] {
        let mut handshakes = FullHandshakes::new(100, DAY);
        handshakes.began(process.pid, Descent::default(), Timestamp(0));
        handshakes.opens(&origin, Timestamp(1));
        for (at, begun) in (0..).zip([&before, &shown]) {
            if pauses_after == Some(at) {
                handshakes.watch_paused();
            }
            begun.happen(&mut handshakes, at);
        }
        if pauses_after == Some(2) {
            handshakes.watch_paused();
        }
        let taken = Identity { name: SessionName::of(b"not shown").unwrap(), length: 672 };
        let key = own(1, "a");
        let session =
            Session::Unnamed { key, basis: Basis::Session, taken: Some(taken), ticket: None };
        let carried = handshakes.carry(&session, &origin, Outcome::Established, Timestamp(HOUR));
        assert_eq!(carried.map(|full| full.verdict.client_auth), expected, "{name}");
    }
}

use super::*;
use crate::{
    model::{Security, ServerVerified},
    pipeline::owners::Owner,
    report::CarriedBy,
    tls::session::Identity,
};

/// Of process, last byte of the upstream's address, and server name.
pub(super) fn key(pid: u32, host: u8, name: &str) -> SessionKey {
    SessionKey {
        owner: Owner::Process(pid),
        upstream: ([10, 0, 0, host], 443).into(),
        server_name: (!name.is_empty()).then(|| name.into()),
    }
}

/// The length of a ticket, and of the record in which it is given.
pub(super) const TICKET: (u16, u16) = (672, 714);

/// A session whose tickets are as long as those of others.
fn unnamed(key: SessionKey, basis: Basis) -> Session {
    of_lengths(key, basis, TICKET.0, Some(TICKET.1))
}

/// A session that is offered as an identity of this length, if at all, and gets a ticket in this record.
pub(super) fn of_lengths(
    key: SessionKey,
    basis: Basis,
    length: u16,
    ticket: Option<u16>,
) -> Session {
    let name =
        SessionName::of(b"of no handshake that is known").filter(|_| basis == Basis::Session);
    let taken = name.map(|name| Identity { name, length });
    Session::Unnamed { key, basis, taken, ticket }
}

fn begun(key: SessionKey) -> Session {
    unnamed(key, Basis::Certificates)
}

fn resumed(key: SessionKey) -> Session {
    unnamed(key, Basis::Session)
}

fn named(offered: &str, given: [&str; 2]) -> Session {
    let name = |text: &str| SessionName::of(text.as_bytes());
    Session::Named { offered: name(offered), given: given.map(name) }
}

pub(super) fn verdict(client_auth: ClientAuth, outcome: Outcome) -> Verdict {
    Verdict {
        security: Security::Mtls,
        client_auth,
        outcome,
        evidence: Evidence::Library,
        server_verified: ServerVerified::Yes,
        reason: None,
    }
}

pub(super) const HOUR: u64 = 3_600_000_000_000;
pub(super) const DAY: Duration = Duration::from_hours(24);

/// What happened before, in hours: a full handshake, or one with an external key.
#[derive(Clone, Copy)]
enum Seen {
    Full(ClientAuth, Outcome, u64),
    /// Under another server name, with the same upstream.
    OtherName(ClientAuth, u64),
    /// Under the same server name, with another upstream.
    OtherUpstream(ClientAuth, u64),
    /// With neither.
    Elsewhere(ClientAuth, u64),
    ExternalKey(u64),
    /// Given up, or lost, before its ServerHello.
    Unseen(Reason, u64),
    Resumed(u64),
}

impl Seen {
    fn happen(self, handshakes: &mut FullHandshakes) {
        use Outcome::Established;
        let external = || unnamed(own(), Basis::ExternalKey);
        let (session, client_auth, outcome, hour) = match self {
            Self::Full(client_auth, outcome, hour) => (begun(own()), client_auth, outcome, hour),
            Self::OtherName(auth, hour) => (begun(key(7, 1, "b")), auth, Established, hour),
            Self::OtherUpstream(auth, hour) => (begun(key(7, 2, "a")), auth, Established, hour),
            Self::Elsewhere(auth, hour) => (begun(key(7, 2, "b")), auth, Established, hour),
            Self::ExternalKey(hour) => (external(), ClientAuth::Unknown, Established, hour),
            Self::Unseen(reason, hour) => {
                let session = unnamed(own(), Basis::Unseen);
                let verdict = verdict(ClientAuth::Unknown, Outcome::Incomplete);
                let verdict = Verdict { reason: Some(reason), ..verdict };
                handshakes.learn(session, full(verdict, hour), None, None);
                return;
            }
            Self::Resumed(hour) => {
                let at = Timestamp(hour * HOUR);
                // What it is told does not matter here, that it was in use does.
                let _ = carry(handshakes, &resumed(own()), at);
                return;
            }
        };
        let full = full(verdict(client_auth, outcome), hour);
        handshakes.learn(session, full, Some(false), None);
    }
}

pub(super) fn full(verdict: Verdict, hour: u64) -> Full {
    let at = Timestamp(hour * HOUR);
    Full {
        verdict,
        at,
        process: Some(7),
        by: CarriedBy::Session,
        client_certificate: None,
        server_certificate: None,
    }
}

/// What the resumption of a session is told.
pub(super) fn carry(
    handshakes: &mut FullHandshakes,
    session: &Session,
    at: Timestamp,
) -> Result<ClientAuth, Reason> {
    let origin = Origin::PacketCapture;
    let carried = handshakes.carry(session, &origin, Outcome::Established, at);
    carried.map(|full| full.verdict.client_auth)
}

pub(super) fn own() -> SessionKey {
    key(7, 1, "a")
}

/// Name, what was seen, the hour when one is resumed, what is carried.
type Case<'c> = (&'c str, &'c [Seen], u64, Result<ClientAuth, Reason>);

#[test]
fn what_is_carried() {
    use ClientAuth::{NotRequested, Presented, Unknown};
    use Outcome::{Established, Incomplete, Rejected};
    use Seen::{Elsewhere, ExternalKey, Full, OtherName, OtherUpstream, Resumed, Unseen};
    const UNSEEN: Result<ClientAuth, Reason> = Err(Reason::ResumedUnseen);
    const AMBIGUOUS: Result<ClientAuth, Reason> = Err(Reason::Ambiguous);
    let mutual = Full(Presented, Established, 0);
    let cases: &[Case<'_>] = &[
        ("nothing seen", &[], 1, UNSEEN),
        ("seen", &[mutual], 1, Ok(Presented)),
        ("too old", &[mutual], 25, UNSEEN),
        ("rejected", &[Full(Presented, Rejected, 0)], 1, UNSEEN),
        ("unknown", &[Full(Unknown, Established, 0)], 1, UNSEEN),
        ("changed lately", &[mutual, Full(NotRequested, Established, 1)], 2, AMBIGUOUS),
        (
            "changed long ago",
            &[mutual, Full(NotRequested, Established, 1), Full(NotRequested, Established, 160)],
            170,
            Ok(NotRequested),
        ),
        (
            "changed, and out of use for longer than a handshake is carried",
            &[Full(NotRequested, Established, 0), Full(Presented, Established, 30)],
            40,
            AMBIGUOUS,
        ),
        ("undecided since", &[mutual, Full(Unknown, Established, 1)], 2, AMBIGUOUS),
        ("undecided before", &[Full(Unknown, Established, 0), mutual], 2, AMBIGUOUS),
        (
            "undecided, and in use for long",
            &[mutual, Full(Unknown, Established, 1), Resumed(20), Full(Presented, Established, 24)],
            30,
            Ok(Presented),
        ),
        ("another refused", &[mutual, Full(NotRequested, Rejected, 1)], 2, Ok(Presented)),
        (
            "another whose end was not seen",
            &[mutual, Full(NotRequested, Incomplete, 1)],
            2,
            AMBIGUOUS,
        ),
        ("an external key since", &[mutual, ExternalKey(1)], 2, AMBIGUOUS),
        ("an external key before", &[ExternalKey(0), mutual], 2, AMBIGUOUS),
        ("an external key only", &[ExternalKey(0)], 2, UNSEEN),
        ("given up before it answered", &[Unseen(Reason::Timeout, 0), mutual], 2, AMBIGUOUS),
        ("closed before it answered", &[Unseen(Reason::NoData, 0), mutual], 2, Ok(Presented)),
        ("another name alike", &[mutual, OtherName(Presented, 1)], 2, Ok(Presented)),
        ("another name that differs", &[mutual, OtherName(NotRequested, 1)], 2, AMBIGUOUS),
        ("another name alone", &[OtherName(Presented, 1)], 2, UNSEEN),
        ("another upstream that differs", &[mutual, OtherUpstream(NotRequested, 1)], 2, AMBIGUOUS),
        ("another upstream alone", &[OtherUpstream(Presented, 1)], 2, UNSEEN),
        ("elsewhere it differs", &[mutual, Elsewhere(NotRequested, 1)], 2, Ok(Presented)),
        (
            "one that differs in use for longer than it is remembered",
            &[
                Full(NotRequested, Established, 0),
                Resumed(20),
                Full(Presented, Established, 30),
                Resumed(40),
                Resumed(60),
            ],
            80,
            AMBIGUOUS,
        ),
        (
            "one that differs out of use",
            &[
                Full(NotRequested, Established, 0),
                Resumed(20),
                Full(Presented, Established, 30),
                Resumed(40),
                Full(Presented, Established, 200),
            ],
            210,
            Ok(Presented),
        ),
    ];
    for (name, seen, hour, expected) in cases {
        let mut handshakes = FullHandshakes::new(10, DAY);
        seen.iter().for_each(|seen| seen.happen(&mut handshakes));
        let carried = carry(&mut handshakes, &resumed(own()), Timestamp(hour * HOUR));
        assert_eq!(carried, *expected, "{name}");
    }
}

#[test]
fn another_process_carries_nothing() {
    let mut handshakes = FullHandshakes::new(10, DAY);
    learn_full(&mut handshakes, key(7, 1, ""), ClientAuth::Presented);
    let carried = carry(&mut handshakes, &resumed(key(8, 1, "")), Timestamp(1));
    assert_eq!(carried.unwrap_err(), Reason::ResumedUnseen);
}

#[test]
fn a_session_with_a_name_is_carried_from_the_handshake_that_began_it() {
    use ClientAuth::{NotRequested, Presented};
    let mut handshakes = FullHandshakes::new(10, DAY);
    let begun = [
        ("", ["mutual ticket", "mutual id"], Presented),
        ("another", ["one-way ticket", ""], NotRequested),
    ];
    for (offered, given, client_auth) in begun {
        let full = full(verdict(client_auth, Outcome::Established), 0);
        handshakes.learn(named(offered, given), full, Some(false), None);
    }
    let cases = [
        ("by ticket", "mutual ticket", ["", "of the client"], 1, Ok(Presented)),
        ("by identifier", "mutual id", ["", "mutual id"], 2, Ok(Presented)),
        ("the other session", "one-way ticket", ["renewed", ""], 3, Ok(NotRequested)),
        ("by the ticket it then got", "renewed", ["", ""], 4, Ok(NotRequested)),
        ("from before", "another", ["new", ""], 5, Err(Reason::ResumedUnseen)),
        ("by what that got", "new", ["", ""], 6, Err(Reason::ResumedUnseen)),
        ("nothing offered", "", ["", ""], 7, Err(Reason::ResumedUnseen)),
        ("however old", "mutual ticket", ["", ""], 25, Ok(Presented)),
    ];
    for (name, offered, given, hour, expected) in cases {
        let session = named(offered, given);
        let carried = carry(&mut handshakes, &session, Timestamp(hour * HOUR));
        assert_eq!(carried, expected, "{name}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut handshakes = FullHandshakes::new(3, DAY);
    let seen = || full(verdict(ClientAuth::Presented, Outcome::Established), 0);
    for pid in 0..10 {
        let given = [format!("ticket {pid}"), format!("id {pid}")];
        let named = named("", given.each_ref().map(String::as_str));
        for session in [begun(key(pid, 1, "a")), named] {
            handshakes.learn(session, seen(), Some(false), None);
        }
    }
    let (last, uses) = (&handshakes.unnamed.last, &handshakes.unnamed.uses);
    assert_eq!((last.entries.len(), uses.entries.len()), (3, 6));
    assert_eq!((last.order.len(), uses.order.len()), (3, 6));
}

fn learn_full(handshakes: &mut FullHandshakes, key: SessionKey, client_auth: ClientAuth) {
    let full = full(verdict(client_auth, Outcome::Established), 0);
    handshakes.learn(begun(key), full, Some(false), None);
}

#[test]
fn what_is_forgotten_cannot_speak_against_a_handshake_and_takes_it_along() {
    use ClientAuth::{NotRequested, Presented};
    let mut handshakes = FullHandshakes::new(2, DAY);
    let mut learn = |key, client_auth| learn_full(&mut handshakes, key, client_auth);
    learn(key(7, 1, "b"), NotRequested);
    learn(key(8, 1, "a"), Presented);
    learn(key(7, 1, "a"), Presented);
    learn(key(9, 1, "a"), Presented);
    let carried = carry(&mut handshakes, &resumed(key(7, 1, "a")), Timestamp(1));
    assert_eq!(carried.unwrap_err(), Reason::ResumedUnseen);
}

#[test]
fn what_was_forgotten_may_have_spoken_against_a_handshake() {
    use ClientAuth::{NotRequested, Presented};
    let mut handshakes = FullHandshakes::new(2, DAY);
    let mut learn = |key, client_auth| learn_full(&mut handshakes, key, client_auth);
    learn(own(), NotRequested);
    for pid in 20..25 {
        learn(key(pid, 1, "a"), Presented);
    }
    learn(own(), Presented);
    let carried = carry(&mut handshakes, &resumed(own()), Timestamp(1));
    assert_eq!(carried.unwrap_err(), Reason::Ambiguous);
}

/// What is said of a session resumed after handshakes whose flights are as long as a padded block.
#[test]
fn a_flight_in_doubt_stands_against_others_until_it_is_explained() {
    /// Of a handshake with the key: a flight in doubt, or one that shows a certificate.
    enum Seen {
        Doubted(u16),
        Shown(u16),
    }
    use Seen::{Doubted, Shown};
    type Case = (&'static str, Vec<(SessionKey, Seen)>, Result<ClientAuth, Reason>);
    let other = || key(7, 1, "b");
    let cases: [Case; 6] = [
        ("alone", vec![(own(), Doubted(976))], Err(Reason::ResumedUnseen)),
        ("explained", vec![(own(), Doubted(976)), (own(), Shown(980))], Ok(ClientAuth::Presented)),
        ("too different", vec![(own(), Doubted(976)), (own(), Shown(981))], Err(Reason::Ambiguous)),
        ("after one", vec![(own(), Shown(980)), (own(), Doubted(976))], Err(Reason::Ambiguous)),
        (
            "two lengths, one explained",
            vec![(own(), Doubted(976)), (own(), Doubted(1040)), (own(), Shown(980))],
            Err(Reason::Ambiguous),
        ),
        (
            "under another name",
            vec![(other(), Doubted(976)), (own(), Shown(980))],
            Err(Reason::Ambiguous),
        ),
    ];
    for (name, seen, expected) in cases {
        let mut handshakes = FullHandshakes::new(10, DAY);
        for (key, seen) in seen {
            match seen {
                Doubted(length) => handshakes.doubt(&key, length, Timestamp(0)),
                Shown(length) => {
                    handshakes.note_flight(&key, length, Timestamp(0));
                    learn_full(&mut handshakes, key, ClientAuth::Presented);
                }
            }
        }
        let carried = carry(&mut handshakes, &resumed(own()), Timestamp(1));
        assert_eq!(carried, expected, "{name}");
    }
}

#[test]
fn a_flight_explains_others_for_as_long_as_a_handshake_is_carried() {
    let mut handshakes = FullHandshakes::new(10, DAY);
    handshakes.note_flight(&own(), 980, Timestamp(0));
    for (hour, expected) in [(1, true), (25, false)] {
        let at = Timestamp(hour * HOUR);
        assert_eq!(handshakes.explains(&own(), 976, at), expected, "after {hour} hours");
    }
}

/// Which of several handshakes a session rests on is not known: then nor is what it verified, unless all
/// did.
#[test]
fn verification_is_carried_where_all_handshakes_agree_on_it() {
    use ServerVerified::{No, Unknown, Yes};
    for (name, seen, expected) in [
        ("all", vec![(Yes, 1), (Yes, 2)], Yes),
        ("none", vec![(No, 1), (No, 2)], No),
        ("not the last", vec![(Yes, 1), (No, 2)], Unknown),
        ("not the first", vec![(No, 1), (Yes, 2)], Unknown),
        ("not one between", vec![(Yes, 1), (No, 2), (Yes, 3)], Unknown),
        ("of the first nobody saw it", vec![(Unknown, 1), (Yes, 2)], Unknown),
        ("one of which more was said later", vec![(Unknown, 1), (Yes, 1)], Yes),
    ] {
        let mut handshakes = FullHandshakes::new(10, DAY);
        for (server_verified, hour) in seen {
            let verdict = verdict(ClientAuth::Presented, Outcome::Established);
            let full = full(Verdict { server_verified, ..verdict }, hour);
            handshakes.learn(begun(own()), full, Some(false), None);
        }
        let origin = Origin::Process(Process { pid: 7, name: "nginx".into(), cgroup_id: 1 });
        let at = Timestamp(4 * HOUR);
        let carried = handshakes.carry(&resumed(own()), &origin, Outcome::Established, at);
        let carried = carried.map(|full| full.verdict.server_verified);
        assert_eq!(carried, Ok(expected), "{name}");
    }
}

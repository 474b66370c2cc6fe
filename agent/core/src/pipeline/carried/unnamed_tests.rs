//! What a handshake may speak for whose process is older than the watch.

use super::{
    tests::{DAY, TICKET, carry, full, of_lengths, own, verdict},
    *,
};

/// Of a process that is older than the watch: it may have any session from before.
#[test]
fn a_handshake_whose_ticket_nobody_saw_speaks_against_others_alone() {
    use ClientAuth::{NotRequested, Presented};
    const ONE_WAY: (u16, u16) = (192, 234);
    /// A full handshake and the record of its ticket, or a resumption and the length of what it offers.
    #[derive(Clone, Copy)]
    enum Past {
        Full(ClientAuth, Option<u16>),
        Resumed((u16, u16)),
    }
    use Past::{Full, Resumed};
    type Case = (&'static str, &'static [Past], u16, Result<ClientAuth, Reason>);
    let cases: [Case; 8] = [
        ("alone", &[Full(Presented, None)], ONE_WAY.0, Err(Reason::ResumedUnseen)),
        (
            "another like it has a ticket of another length",
            &[Full(Presented, Some(TICKET.1)), Full(Presented, None)],
            ONE_WAY.0,
            Err(Reason::ResumedUnseen),
        ),
        (
            "another like it has a ticket of this length",
            &[Full(Presented, Some(TICKET.1)), Full(Presented, None)],
            TICKET.0,
            Ok(Presented),
        ),
        (
            "another that differs has a ticket of this length",
            &[Full(Presented, None), Full(NotRequested, Some(ONE_WAY.1))],
            ONE_WAY.0,
            Err(Reason::Ambiguous),
        ),
        (
            "a session that it may not have begun was resumed",
            &[Full(Presented, None), Resumed(ONE_WAY)],
            ONE_WAY.0,
            Err(Reason::ResumedUnseen),
        ),
        (
            "such a session was renewed as long as its like",
            &[Full(Presented, Some(TICKET.1)), Full(Presented, None), Resumed((192, 714))],
            TICKET.0,
            Ok(Presented),
        ),
        (
            "one that differs was renewed as long",
            &[Full(NotRequested, Some(ONE_WAY.1)), Resumed((192, 714)), Full(Presented, None)],
            TICKET.0,
            Err(Reason::ResumedUnseen),
        ),
        (
            "a session was renewed in another length",
            &[Full(Presented, Some(TICKET.1)), Resumed((TICKET.0, ONE_WAY.1))],
            ONE_WAY.0,
            Ok(Presented),
        ),
    ];
    for (name, seen, identity, expected) in cases {
        let mut handshakes = FullHandshakes::new(10, DAY);
        for seen in seen {
            let (session, client_auth, is_resumed) = match *seen {
                Full(auth, record) => {
                    (of_lengths(own(), Basis::Certificates, 0, record), auth, false)
                }
                Resumed((length, record)) => {
                    (of_lengths(own(), Basis::Session, length, Some(record)), Presented, true)
                }
            };
            let full = full(verdict(client_auth, Outcome::Established), 0);
            handshakes.learn(session, full, Some(is_resumed), None);
        }
        let offered = of_lengths(own(), Basis::Session, identity, None);
        assert_eq!(carry(&mut handshakes, &offered, Timestamp(1)), expected, "{name}");
    }
}

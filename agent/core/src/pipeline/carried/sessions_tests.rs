use super::{sessions::HandshakeKey, tests::verdict, *};
use crate::{model::Process, report::CarriedBy};

fn ticket(number: u32) -> SessionName {
    SessionName::of(&number.to_be_bytes()).unwrap()
}

fn handshake(number: u32) -> HandshakeKey {
    let mut random = [0; 32];
    random[..4].copy_from_slice(&number.to_be_bytes());
    (7, random)
}

fn full(client_auth: ClientAuth) -> Arc<Full> {
    let verdict = verdict(client_auth, Outcome::Established);
    Arc::new(Full {
        verdict,
        at: Timestamp(1),
        process: Some(7),
        by: CarriedBy::Session,
        client_certificate: None,
        server_certificate: None,
    })
}

fn process(name: &str) -> Process {
    Process { pid: 7, name: name.into(), cgroup_id: 1 }
}

/// What is known of a ticket.
fn told(sessions: &Sessions, number: u32) -> Option<ClientAuth> {
    let full = sessions.find(ticket(number)).filter(|full| full.is_certain());
    full.map(|full| full.verdict.client_auth)
}

/// What happens to connections, each told by a number: a ticket is given, or what the connection rests
/// on is known: a handshake of its own, or the session of a ticket.
#[derive(Clone, Copy)]
enum Step {
    Gives(u32, u32),
    Begins(u32, ClientAuth),
    Resumes(u32, u32),
    Unseen(u32),
}

fn take(sessions: &mut Sessions, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Gives(connection, number) => {
                sessions.receive(handshake(connection), ticket(number));
            }
            Step::Begins(connection, client_auth) => {
                let full = Some(full(client_auth));
                sessions.rest(handshake(connection), &process("nginx"), None, full);
            }
            Step::Resumes(connection, number) => {
                let (name, process) = (ticket(number), process("nginx"));
                let full = sessions.find(name).cloned();
                sessions.rest(handshake(connection), &process, Some(name), full);
            }
            Step::Unseen(connection) => {
                sessions.rest(handshake(connection), &process("nginx"), None, None);
            }
        }
    }
}

#[test]
fn every_ticket_of_a_chain_rests_on_its_first_handshake() {
    use ClientAuth::{NotRequested, Presented};
    use Step::{Begins, Gives, Resumes, Unseen};
    let cases: [(&str, &[Step], u32, Option<ClientAuth>); 10] = [
        ("given after", &[Begins(1, Presented), Gives(1, 10)], 10, Some(Presented)),
        ("given before", &[Gives(1, 10), Begins(1, Presented)], 10, Some(Presented)),
        ("not given", &[Begins(1, Presented)], 10, None),
        (
            "two, the older",
            &[Begins(1, Presented), Gives(1, 10), Gives(1, 11)],
            10,
            Some(Presented),
        ),
        (
            "a chain of three",
            &[
                Begins(1, Presented),
                Gives(1, 10),
                Resumes(2, 10),
                Gives(2, 20),
                Gives(3, 30),
                Resumes(3, 20),
            ],
            30,
            Some(Presented),
        ),
        (
            "two chains",
            &[
                Begins(1, Presented),
                Gives(1, 10),
                Begins(2, NotRequested),
                Gives(2, 20),
                Resumes(3, 20),
                Gives(3, 30),
            ],
            30,
            Some(NotRequested),
        ),
        ("of what nobody saw begin", &[Resumes(1, 10), Gives(1, 20)], 20, None),
        (
            "of what nobody saw begin, and of another",
            &[Resumes(1, 10), Gives(1, 20), Begins(2, Presented), Gives(2, 20)],
            20,
            None,
        ),
        (
            "of another that is not decided",
            &[Gives(1, 20), Gives(2, 20), Begins(2, Presented)],
            20,
            None,
        ),
        ("of what nobody knows", &[Gives(1, 10), Unseen(1)], 10, None),
    ];
    for (name, steps, asked, expected) in cases {
        let mut sessions = Sessions::new(100);
        take(&mut sessions, steps);
        assert_eq!(told(&sessions, asked), expected, "{name}");
    }
}

#[test]
fn what_was_judged_again_is_judged_for_its_tickets_too() {
    let mut sessions = Sessions::new(100);
    let steps = [Step::Begins(1, ClientAuth::NotRequested), Step::Gives(1, 10)];
    take(&mut sessions, &steps);
    take(&mut sessions, &[Step::Begins(1, ClientAuth::Presented)]);
    assert_eq!(told(&sessions, 10), Some(ClientAuth::Presented));
}

#[test]
fn a_busy_proxy_does_not_press_out_the_session_of_an_idle_one() {
    let mut sessions = Sessions::new(64);
    take(&mut sessions, &[Step::Begins(1, ClientAuth::Presented), Step::Gives(1, 1)]);
    take(&mut sessions, &[Step::Begins(2, ClientAuth::NotRequested), Step::Gives(2, 2)]);
    for connection in 3..10_000 {
        let (before, now) = (connection - 1, connection);
        take(&mut sessions, &[Step::Resumes(now, before), Step::Gives(now, now)]);
    }
    assert_eq!(told(&sessions, 1), Some(ClientAuth::Presented));
    assert_eq!(told(&sessions, 9_999), Some(ClientAuth::NotRequested));
    assert_eq!(told(&sessions, 9_998), Some(ClientAuth::NotRequested), "used twice at once");
    assert_eq!(told(&sessions, 3), None);
}

#[test]
fn a_program_shows_tickets_once_one_of_its_connections_was_given_one() {
    let mut sessions = Sessions::new(100);
    let shows =
        |sessions: &Sessions| ["nginx", "envoy"].map(|name| sessions.shows_tickets(&process(name)));
    take(&mut sessions, &[Step::Begins(1, ClientAuth::Presented)]);
    assert_eq!(shows(&sessions), [false, false]);
    take(&mut sessions, &[Step::Gives(1, 10)]);
    assert_eq!(shows(&sessions), [true, false]);
}

#[test]
fn a_ticket_that_two_handshakes_say_they_got_is_nobodys() {
    let of = |process, client_auth| {
        Arc::new(Full { process: Some(process), ..(*full(client_auth)).clone() })
    };
    let mut sessions = Sessions::new(100);
    sessions.name(ticket(1), of(7, ClientAuth::NotRequested));
    // Judged again.
    sessions.name(ticket(1), of(7, ClientAuth::RequestedNotPresented));
    assert_eq!(told(&sessions, 1), Some(ClientAuth::RequestedNotPresented));
    sessions.name(ticket(1), of(8, ClientAuth::Presented));
    assert_eq!(told(&sessions, 1), None);
    for process in [7, 8] {
        sessions.name(ticket(1), of(process, ClientAuth::Presented));
        assert_eq!(told(&sessions, 1), None, "by {process} once more");
    }
    let later = |client_auth| Arc::new(Full { at: Timestamp(2), ..(*full(client_auth)).clone() });
    sessions.name(ticket(2), of(7, ClientAuth::NotRequested));
    sessions.name(ticket(2), later(ClientAuth::NotRequested));
    assert_eq!(told(&sessions, 2), Some(ClientAuth::NotRequested), "both say the same");
    sessions.name(ticket(2), later(ClientAuth::Presented));
    assert_eq!(told(&sessions, 2), Some(ClientAuth::Presented), "judged again");
    sessions.name(ticket(2), of(7, ClientAuth::NotRequested));
    assert_eq!(told(&sessions, 2), None, "another handshake of the process");
}

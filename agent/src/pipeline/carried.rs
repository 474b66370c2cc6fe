//! Resumption: a resumed session shows no certificates, so its verdict is carried from a full
//! handshake: up to TLS 1.2 from the one that began the session, which both sides name in clear; in
//! TLS 1.3 from the last one of the same proxy process, upstream and server name.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::connection::Connection;
use crate::{
    model::{ClientAuth, Evidence, Origin, Outcome, Reason, Timestamp},
    report::{CarriedFrom, Verdict},
    tls::session::SessionName,
};

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A process: two proxies on one machine may treat the same upstream differently.
    Process(u32),
    /// In a packet capture, the client's address.
    Address(IpAddr),
}

/// Whose session, with whom, under which server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The client.
    pub owner: Owner,
    /// The upstream.
    pub upstream: SocketAddr,
    /// SNI; `None` where the client sent none.
    pub server_name: Option<Arc<str>>,
}

/// The session that a connection begins or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Up to TLS 1.2.
    Named {
        /// What the client offers to resume.
        offered: Option<SessionName>,
        /// The ticket and the identifier that it gets.
        given: [Option<SessionName>; 2],
    },
    /// TLS 1.3: nothing on the wire tells one session from another.
    Unnamed(SessionKey),
}

impl Session {
    /// The session of this connection; `None` before its ServerHello, where it may rest on a key
    /// that no session made, and for a capture that does not show the client's address.
    #[must_use]
    pub fn of(connection: &Connection) -> Option<Self> {
        let facts = connection.wire_facts()?;
        let (client, server) = (facts.client_hello.as_ref()?, facts.server_hello.as_ref()?);
        if !server.version.encrypts_handshake() {
            return Some(Self::Named {
                offered: client.session,
                given: [facts.session_ticket, server.session_id],
            });
        }
        if client.external_psk {
            return None;
        }
        let owner = match connection.origin() {
            Origin::Process(process) => Owner::Process(process.pid),
            Origin::PacketCapture => Owner::Address(connection.local()?.ip()),
        };
        Some(Self::Unnamed(SessionKey {
            owner,
            upstream: connection.upstream(),
            server_name: client.server_name.clone(),
        }))
    }
}

/// A full handshake.
#[derive(Clone, Copy, Debug)]
struct Full {
    verdict: Verdict,
    at: Timestamp,
}

/// The last full handshake of a key.
#[derive(Clone, Copy, Debug)]
struct Last {
    full: Full,
    /// When a session was last begun or resumed: it may live on for the age limit from then.
    used_at: Timestamp,
    /// The same of sessions from full handshakes that showed another `client_auth`.
    disagreed_at: Option<Timestamp>,
}

/// A map that forgets what was put in first.
#[derive(Debug)]
struct Bounded<K, V> {
    max: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(max: usize) -> Self {
        Self { max, entries: HashMap::new(), order: VecDeque::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        if let Some(known) = self.entries.get_mut(&key) {
            *known = value;
            return;
        }
        while self.entries.len() >= self.max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }
}

/// The last full handshakes.
#[derive(Debug)]
pub struct FullHandshakes {
    max_age: Duration,
    named: Bounded<SessionName, Full>,
    last: Bounded<SessionKey, Last>,
}

impl FullHandshakes {
    /// Remembers at most `max` sessions that have names and the sessions of at most `max` hops that
    /// have none, each for `max_age`.
    #[must_use]
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self { max_age, named: Bounded::new(max), last: Bounded::new(max) }
    }

    /// Learns from a full handshake. Only an established one with a certain answer counts.
    pub fn learn(&mut self, session: Session, verdict: Verdict, at: Timestamp) {
        if verdict.outcome != Outcome::Established || verdict.client_auth == ClientAuth::Unknown {
            return;
        }
        let full = Full { verdict, at };
        match session {
            Session::Named { given, .. } => self.name(given, full),
            Session::Unnamed(key) => {
                let disagreed_at = self.last.entries.get(&key).and_then(|known| {
                    if known.full.verdict.client_auth == verdict.client_auth {
                        known.disagreed_at
                    } else {
                        Some(known.used_at)
                    }
                });
                self.last.insert(key, Last { full, used_at: at, disagreed_at });
            }
        }
    }

    fn name(&mut self, given: [Option<SessionName>; 2], full: Full) {
        for name in given.into_iter().flatten() {
            self.named.insert(name, full);
        }
    }

    /// The verdict on a session resumed at `at`, and where it is carried from.
    ///
    /// # Errors
    /// [`Reason::HandshakeFailed`] if the resumption did not succeed;
    /// [`Reason::ResumedUnseen`] if its full handshake is not known or too old;
    /// [`Reason::Ambiguous`] if it may be one of several that gave different answers and whose
    /// sessions may all be alive.
    pub fn carry(
        &mut self,
        session: &Session,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(Verdict, CarriedFrom), Reason> {
        if outcome != Outcome::Established {
            return Err(Reason::HandshakeFailed);
        }
        let full = match session {
            Session::Named { offered, given } => {
                let full = offered.and_then(|name| self.named.entries.get(&name).copied());
                let full = full.ok_or(Reason::ResumedUnseen)?;
                // Resumed, it may get a new ticket.
                self.name(*given, full);
                full
            }
            Session::Unnamed(key) => {
                let last = self.last.entries.get_mut(key).ok_or(Reason::ResumedUnseen)?;
                last.used_at = at;
                if let Some(other) = &mut last.disagreed_at
                    && at.since(*other) <= self.max_age
                {
                    // It may be the one that is resumed, and gets a new ticket with it.
                    *other = at;
                    return Err(Reason::Ambiguous);
                }
                last.full
            }
        };
        let age = at.since(full.at);
        if age > self.max_age {
            return Err(Reason::ResumedUnseen);
        }
        let verdict = Verdict { outcome, evidence: Evidence::Carried, ..full.verdict };
        Ok((
            verdict,
            CarriedFrom { evidence: full.verdict.evidence, age_seconds: age.as_secs_f64() },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Security, ServerVerified};

    fn of_process(pid: u32) -> Session {
        Session::Unnamed(SessionKey {
            owner: Owner::Process(pid),
            upstream: "10.0.0.1:443".parse().unwrap(),
            server_name: None,
        })
    }

    fn key() -> Session {
        of_process(7)
    }

    fn named(offered: &str, given: [&str; 2]) -> Session {
        let name = |text: &str| SessionName::of(text.as_bytes());
        Session::Named { offered: name(offered), given: given.map(name) }
    }

    fn verdict(client_auth: ClientAuth, outcome: Outcome) -> Verdict {
        Verdict {
            security: Security::Mtls,
            client_auth,
            outcome,
            evidence: Evidence::Library,
            server_verified: ServerVerified::Yes,
            reason: None,
        }
    }

    /// Name, full handshakes seen and when, when one is resumed, what is carried.
    type Case =
        (&'static str, &'static [(ClientAuth, Outcome, u64)], u64, Result<ClientAuth, Reason>);

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn what_is_carried() {
        use ClientAuth::{NotRequested, Presented, Unknown};
        const ESTABLISHED: Outcome = Outcome::Established;
        let cases: &[Case] = &[
            ("nothing seen", &[], 1, Err(Reason::ResumedUnseen)),
            ("seen", &[(Presented, ESTABLISHED, 0)], HOUR, Ok(Presented)),
            ("too old", &[(Presented, ESTABLISHED, 0)], 25 * HOUR, Err(Reason::ResumedUnseen)),
            ("rejected", &[(Presented, Outcome::Rejected, 0)], 1, Err(Reason::ResumedUnseen)),
            ("unknown", &[(Unknown, ESTABLISHED, 0)], 1, Err(Reason::ResumedUnseen)),
            (
                "changed lately",
                &[(Presented, ESTABLISHED, 0), (NotRequested, ESTABLISHED, HOUR)],
                2 * HOUR,
                Err(Reason::Ambiguous),
            ),
            (
                "changed long ago",
                &[
                    (Presented, ESTABLISHED, 0),
                    (NotRequested, ESTABLISHED, HOUR),
                    (NotRequested, ESTABLISHED, 20 * HOUR),
                ],
                30 * HOUR,
                Ok(NotRequested),
            ),
        ];
        for (name, full, at, expected) in cases {
            let mut handshakes = FullHandshakes::new(10, Duration::from_hours(24));
            for (client_auth, outcome, at) in *full {
                handshakes.learn(key(), verdict(*client_auth, *outcome), Timestamp(*at));
            }
            let carried = handshakes.carry(&key(), ESTABLISHED, Timestamp(*at));
            let client_auth = carried.map(|(verdict, _)| verdict.client_auth);
            assert_eq!(client_auth, *expected, "{name}");
        }
    }

    #[test]
    fn a_session_in_use_disagrees_longer_than_its_handshake_is_remembered() {
        use ClientAuth::{NotRequested, Presented};
        const ESTABLISHED: Outcome = Outcome::Established;
        let mut handshakes = FullHandshakes::new(10, Duration::from_hours(24));
        let carry = |handshakes: &mut FullHandshakes, hour: u64| {
            let carried = handshakes.carry(&key(), ESTABLISHED, Timestamp(hour * HOUR));
            carried.map(|(verdict, _)| verdict.client_auth)
        };
        handshakes.learn(key(), verdict(NotRequested, ESTABLISHED), Timestamp(0));
        assert_eq!(carry(&mut handshakes, 20), Ok(NotRequested));
        handshakes.learn(key(), verdict(Presented, ESTABLISHED), Timestamp(30 * HOUR));
        for hour in [40, 60, 80] {
            assert_eq!(carry(&mut handshakes, hour), Err(Reason::Ambiguous), "hour {hour}");
        }
        handshakes.learn(key(), verdict(Presented, ESTABLISHED), Timestamp(100 * HOUR));
        assert_eq!(carry(&mut handshakes, 110), Ok(Presented));
    }

    #[test]
    fn another_process_carries_nothing() {
        let mut handshakes = FullHandshakes::new(10, Duration::from_mins(1));
        let seen = verdict(ClientAuth::Presented, Outcome::Established);
        handshakes.learn(key(), seen, Timestamp(0));
        let carried = handshakes.carry(&of_process(8), Outcome::Established, Timestamp(1));
        assert_eq!(carried.unwrap_err(), Reason::ResumedUnseen);
    }

    #[test]
    fn a_session_with_a_name_is_carried_from_the_handshake_that_began_it() {
        use ClientAuth::{NotRequested, Presented};
        const ESTABLISHED: Outcome = Outcome::Established;
        let mut handshakes = FullHandshakes::new(10, Duration::from_hours(24));
        let full = [
            ("", ["mutual ticket", "mutual id"], Presented),
            ("another", ["one-way ticket", ""], NotRequested),
        ];
        for (offered, given, client_auth) in full {
            let verdict = verdict(client_auth, ESTABLISHED);
            handshakes.learn(named(offered, given), verdict, Timestamp(0));
        }
        let cases = [
            ("by ticket", "mutual ticket", ["", "of the client"], 1, Ok(Presented)),
            ("by identifier", "mutual id", ["", "mutual id"], 2, Ok(Presented)),
            ("the other session", "one-way ticket", ["renewed", ""], 3, Ok(NotRequested)),
            ("by the ticket it then got", "renewed", ["", ""], 4, Ok(NotRequested)),
            ("from before", "another", ["new", ""], 5, Err(Reason::ResumedUnseen)),
            ("by what that got", "new", ["", ""], 6, Err(Reason::ResumedUnseen)),
            ("nothing offered", "", ["", ""], 7, Err(Reason::ResumedUnseen)),
            ("too old", "mutual ticket", ["", ""], 25, Err(Reason::ResumedUnseen)),
        ];
        for (name, offered, given, hour, expected) in cases {
            let session = named(offered, given);
            let carried = handshakes.carry(&session, ESTABLISHED, Timestamp(hour * HOUR));
            assert_eq!(carried.map(|(verdict, _)| verdict.client_auth), expected, "{name}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut handshakes = FullHandshakes::new(3, Duration::from_mins(1));
        let seen = verdict(ClientAuth::Presented, Outcome::Established);
        for pid in 0..10 {
            handshakes.learn(of_process(pid), seen, Timestamp(0));
            let given = [format!("ticket {pid}"), format!("id {pid}")];
            handshakes.learn(named("", given.each_ref().map(String::as_str)), seen, Timestamp(0));
        }
        assert_eq!(handshakes.last.entries.len(), 3);
        assert_eq!(handshakes.last.order.len(), 3);
        assert_eq!(handshakes.named.entries.len(), 3);
    }
}

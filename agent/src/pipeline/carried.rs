//! Resumption: a resumed session shows no certificates, so its verdict is carried from the last
//! full handshake of the same proxy process, upstream and server name.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::connection::Connection;
use crate::{
    model::{ClientAuth, Evidence, Origin, Outcome, Reason, Timestamp},
    report::{CarriedFrom, Verdict},
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

impl SessionKey {
    /// The key of the session that this connection begins or resumes; `None` where it may rest on
    /// a key that no session made, and for a capture that does not show the client's address.
    #[must_use]
    pub fn of(connection: &Connection) -> Option<Self> {
        if connection.offers_external_psk() {
            return None;
        }
        let owner = match connection.origin() {
            Origin::Process(process) => Owner::Process(process.pid),
            Origin::PacketCapture => Owner::Address(connection.local()?.ip()),
        };
        Some(Self {
            owner,
            upstream: connection.upstream(),
            server_name: connection.server_name().cloned(),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Full {
    verdict: Verdict,
    at: Timestamp,
    /// When a session was last begun or resumed: it may live on for the age limit from then.
    used_at: Timestamp,
    /// The same of sessions from full handshakes that showed another `client_auth`.
    disagreed_at: Option<Timestamp>,
}

/// The last full handshakes.
#[derive(Debug)]
pub struct FullHandshakes {
    max_age: Duration,
    max: usize,
    last: HashMap<SessionKey, Full>,
    order: VecDeque<SessionKey>,
}

impl FullHandshakes {
    /// Remembers at most `max` hops, each for `max_age`.
    #[must_use]
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self { max_age, max, last: HashMap::new(), order: VecDeque::new() }
    }

    /// Learns from a full handshake. Only an established one with a certain answer counts.
    pub fn learn(&mut self, key: SessionKey, verdict: Verdict, at: Timestamp) {
        if verdict.outcome != Outcome::Established || verdict.client_auth == ClientAuth::Unknown {
            return;
        }
        if let Some(known) = self.last.get_mut(&key) {
            let disagreed_at = if known.verdict.client_auth == verdict.client_auth {
                known.disagreed_at
            } else {
                Some(known.used_at)
            };
            *known = Full { verdict, at, used_at: at, disagreed_at };
            return;
        }
        while self.last.len() >= self.max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.last.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.last.insert(key, Full { verdict, at, used_at: at, disagreed_at: None });
    }

    /// The verdict on a session resumed at `at`, and where it is carried from.
    ///
    /// # Errors
    /// [`Reason::HandshakeFailed`] if the resumption did not succeed;
    /// [`Reason::ResumedUnseen`] if no full handshake is known or it is too old;
    /// [`Reason::Ambiguous`] if full handshakes gave different answers and sessions of both may be
    /// alive, for then nobody can tell which of them is resumed.
    pub fn carry(
        &mut self,
        key: &SessionKey,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(Verdict, CarriedFrom), Reason> {
        if outcome != Outcome::Established {
            return Err(Reason::HandshakeFailed);
        }
        let full = self.last.get_mut(key).ok_or(Reason::ResumedUnseen)?;
        let age = at.since(full.at);
        full.used_at = at;
        if let Some(other) = &mut full.disagreed_at
            && at.since(*other) <= self.max_age
        {
            // It may be the one that is resumed, and gets a new ticket with it.
            *other = at;
            return Err(Reason::Ambiguous);
        }
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

    fn key() -> SessionKey {
        SessionKey {
            owner: Owner::Process(7),
            upstream: "10.0.0.1:443".parse().unwrap(),
            server_name: None,
        }
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
        let other = SessionKey { owner: Owner::Process(8), ..key() };
        let carried = handshakes.carry(&other, Outcome::Established, Timestamp(1));
        assert_eq!(carried.unwrap_err(), Reason::ResumedUnseen);
    }

    #[test]
    fn memory_is_bounded() {
        let mut handshakes = FullHandshakes::new(3, Duration::from_mins(1));
        let seen = verdict(ClientAuth::Presented, Outcome::Established);
        for pid in 0..10 {
            let key = SessionKey { owner: Owner::Process(pid), ..key() };
            handshakes.learn(key, seen, Timestamp(0));
        }
        assert_eq!(handshakes.last.len(), 3);
    }
}

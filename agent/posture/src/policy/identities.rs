//! Who presented the newest certificate of each identity.

use std::{net::SocketAddr, time::Duration};

use hopsight_core::{
    collections::HashMap,
    tls::{certificate_facts::CertificateFacts, fingerprint::Fingerprint},
};

use super::time::UnixTime;

/// So long the servers of an upstream may take to get a new certificate, one after the other.
const ROLL_OUT: Duration = Duration::from_hours(1);
/// Identities that are remembered.
const MAX_IDENTITIES: usize = 4_096;

/// A server that presents a newer certificate than another of the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Which one.
    pub server: SocketAddr,
    /// Since when.
    pub since: UnixTime,
}

/// The newest certificates that were seen, by what they are for: subject, alternative names, issuer
/// and kind of key.
#[derive(Debug, Default)]
pub struct Identities {
    newest: HashMap<Fingerprint, (i64, Newer)>,
}

impl Identities {
    /// Takes in what `server` presented `at` that time. Who has presented a newer one for longer than
    /// a roll-out takes, if anybody has.
    pub fn note(
        &mut self,
        facts: &CertificateFacts,
        server: SocketAddr,
        at: UnixTime,
    ) -> Option<Newer> {
        let CertificateFacts { subject, issuer, sans, public_key, .. } = facts;
        let text = format!("{:?}", (subject, issuer, sans, public_key));
        let identity = Fingerprint::of(text.as_bytes());
        let own = (facts.not_before, Newer { server, since: at });
        match self.newest.get(&identity) {
            Some((newest, newer)) if facts.not_before < *newest => {
                let is_rolled_out = at.since(newer.since) > ROLL_OUT && newer.server != server;
                return is_rolled_out.then_some(*newer);
            }
            Some((newest, _)) if facts.not_before == *newest => {}
            known => {
                if known.is_none() && self.newest.len() >= MAX_IDENTITIES {
                    // Those in use are back with the next handshakes.
                    self.newest.clear();
                }
                self.newest.insert(identity, own);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hops::testing::certificate;

    #[test]
    fn the_newest_of_an_identity_is_known_after_a_while() {
        let of = |name: &str, not_before| CertificateFacts {
            not_before,
            ..certificate(name, 2_000_000_000)
        };
        let server = |last: u8| SocketAddr::from(([10, 0, 0, last], 443));
        let mut identities = Identities::default();
        for (case, facts, last, seconds, expected) in [
            ("the first", of("a", 100), 1, 0, None),
            ("a newer one elsewhere", of("a", 200), 2, 10, None),
            ("the old one soon after", of("a", 100), 1, 3_600, None),
            ("the old one after an hour", of("a", 100), 1, 3_611, Some(2)),
            ("the new one still", of("a", 200), 2, 3_612, None),
            ("another identity", of("b", 50), 1, 3_613, None),
            ("both at one server", of("a", 100), 2, 3_614, None),
        ] {
            let newer = identities.note(&facts, server(last), UnixTime::from_secs(seconds));
            let found = newer.map(|newer| newer.server);
            assert_eq!(found, expected.map(server), "{case}");
        }
    }
}

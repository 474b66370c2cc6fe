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

/// How long another identity counts that was seen with a key.
const KEY_STANDS_FOR: Duration = Duration::from_hours(24);

/// Whose certificates have a key: the two identities that were seen with it last.
type Holders = Vec<(Box<str>, UnixTime)>;

/// Who has which key. The first of several that share one is told from then on that another has it.
#[derive(Debug, Default)]
pub struct Keys {
    holders: HashMap<Fingerprint, Holders>,
}

impl Keys {
    /// Takes in a certificate that was presented `at` that time. Another identity that has its key and
    /// was seen lately, if there is one.
    pub fn note(&mut self, facts: &CertificateFacts, at: UnixTime) -> Option<Box<str>> {
        let key = facts.key_sha256?;
        let name = facts.identity();
        if self.holders.len() >= MAX_IDENTITIES && !self.holders.contains_key(&key) {
            self.holders.clear();
        }
        let holders = self.holders.entry(key).or_default();
        holders.retain(|(known, seen)| **known == *name || at.since(*seen) <= KEY_STANDS_FOR);
        if let Some((_, seen)) = holders.iter_mut().find(|(known, _)| **known == *name) {
            *seen = (*seen).max(at);
        } else {
            if holders.len() >= 2 {
                holders.sort_by_key(|(_, seen)| *seen);
                holders.remove(0);
            }
            holders.push((name.as_ref().into(), at));
        }
        holders.iter().find(|(known, _)| **known != *name).map(|(known, _)| known.clone())
    }
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
    fn who_shares_a_key_is_known_for_a_day() {
        let of = |name: &str, key: u8| CertificateFacts {
            key_sha256: Some(Fingerprint::of(&[key])),
            ..certificate(name, 2_000_000_000)
        };
        let mut keys = Keys::default();
        for (case, name, key, hours, expected) in [
            ("the first", "a", 1, 0, None),
            ("again", "a", 1, 1, None),
            ("another key", "b", 2, 1, None),
            ("another with the first one's", "b", 1, 2, Some("a")),
            ("the first", "a", 1, 3, Some("b")),
            ("a third", "c", 1, 4, Some("a")),
            ("after a day", "c", 1, 40, None),
        ] {
            let at = UnixTime::from_secs(hours * 3_600);
            let other = keys.note(&of(name, key), at);
            let subject = |name: &str| certificate(name, 0).subject;
            assert_eq!(other.as_deref(), expected.map(subject).as_deref(), "{case}");
        }
    }

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

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
type Holders = Vec<Holder>;

/// Who was seen with a key.
#[derive(Debug)]
struct Holder {
    name: Box<str>,
    /// Its alternative names; `None` where it has none.
    sans: Option<Fingerprint>,
    seen: UnixTime,
}

impl Holder {
    /// Whether it is the same one: by another subject a certificate with the same names may be renewed.
    fn is(&self, name: &str, sans: Option<Fingerprint>) -> bool {
        *self.name == *name || sans.is_some() && self.sans == sans
    }
}

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
        let all = format!("{:?}", facts.sorted_sans());
        let sans = (!facts.sans.is_empty()).then(|| Fingerprint::of(all.as_bytes()));
        if self.holders.len() >= MAX_IDENTITIES && !self.holders.contains_key(&key) {
            self.holders.clear();
        }
        let holders = self.holders.entry(key).or_default();
        holders.retain(|one| one.is(&name, sans) || at.since(one.seen) <= KEY_STANDS_FOR);
        if let Some(own) = holders.iter_mut().find(|one| one.is(&name, sans)) {
            own.seen = own.seen.max(at);
        } else {
            if holders.len() >= 2 {
                holders.sort_by_key(|one| one.seen);
                holders.remove(0);
            }
            holders.push(Holder { name: name.as_ref().into(), sans, seen: at });
        }
        holders.iter().find(|one| !one.is(&name, sans)).map(|one| one.name.clone())
    }
}

/// Servers whose certificates are remembered, and certificates that one of them has renewed.
const MAX_SERVERS: usize = 16_384;

/// Which certificates servers present, by what these are for: subject, alternative names, issuer and kind
/// of key. Servers that are issued certificates one by one, or make them, have none older than others.
#[derive(Debug, Default)]
pub struct Identities {
    /// The newest of each, and when it begins.
    newest: HashMap<(Fingerprint, SocketAddr), (Fingerprint, i64)>,
    /// Who has a newer one than this.
    renewed: HashMap<Fingerprint, Newer>,
}

impl Identities {
    /// Takes in what `server` presented `at` that time. Who had presented the same one, and presents a newer
    /// one for longer than a roll-out takes, if anybody does.
    pub fn note(
        &mut self,
        facts: &CertificateFacts,
        server: SocketAddr,
        at: UnixTime,
    ) -> Option<Newer> {
        let own = facts.sha256?;
        let CertificateFacts { subject, issuer, sans, public_key, not_before, .. } = facts;
        let text = format!("{:?}", (subject, issuer, sans, public_key));
        let key = (Fingerprint::of(text.as_bytes()), server);
        match self.newest.get_mut(&key) {
            Some((newest, begins)) if *not_before > *begins => {
                if self.renewed.len() >= MAX_SERVERS {
                    self.renewed.clear();
                }
                self.renewed.entry(*newest).or_insert(Newer { server, since: at });
                (*newest, *begins) = (own, *not_before);
            }
            Some(_) => {}
            None => {
                if self.newest.len() >= MAX_SERVERS {
                    // Those in use are back with the next handshakes.
                    self.newest.clear();
                }
                self.newest.insert(key, (own, *not_before));
            }
        }
        let newer = self.renewed.get(&own).filter(|newer| newer.server != server)?;
        (at.since(newer.since) > ROLL_OUT).then_some(*newer)
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
            // Of two subjects of one service.
            sans: vec![format!("DNS:{}", name.trim_end_matches(" anew"))],
            ..certificate(name, 2_000_000_000)
        };
        let mut keys = Keys::default();
        for (case, name, key, hours, expected) in [
            ("the first", "a", 1, 0, None),
            ("again", "a", 1, 1, None),
            ("renewed with another subject", "a anew", 1, 1, None),
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
    fn who_was_left_out_of_a_renewal_is_known_after_a_while() {
        // Those of a name, each with its own content.
        let of = |name: &str, not_before: i64, serial: u8| CertificateFacts {
            not_before,
            sha256: Some(Fingerprint::of(&[name.as_bytes(), &[serial]].concat())),
            ..certificate(name, 2_000_000_000)
        };
        let server = |last: u8| SocketAddr::from(([10, 0, 0, last], 443));
        let mut identities = Identities::default();
        for (case, facts, last, seconds, expected) in [
            ("the first", of("a", 100, 1), 1, 0, None),
            ("the same elsewhere", of("a", 100, 1), 2, 5, None),
            ("a newer one there", of("a", 200, 2), 2, 10, None),
            ("the old one soon after", of("a", 100, 1), 1, 3_600, None),
            ("the old one after an hour", of("a", 100, 1), 1, 3_611, Some(2)),
            ("the new one still", of("a", 200, 2), 2, 3_612, None),
            ("another identity", of("b", 50, 1), 1, 3_613, None),
            ("both at one server", of("a", 100, 1), 2, 3_614, None),
            ("one that is newer still", of("a", 300, 3), 2, 3_615, None),
            ("the old one still", of("a", 100, 1), 1, 3_616, Some(2)),
            ("renewed as well", of("a", 200, 2), 1, 3_617, None),
            ("one of its own", of("c", 100, 1), 1, 0, None),
            ("a newer one that is another's own", of("c", 200, 2), 2, 10, None),
            ("its own, after an hour", of("c", 100, 1), 1, 4_000, None),
            ("that of the other renewed", of("c", 300, 3), 2, 4_001, None),
            ("its own still", of("c", 100, 1), 1, 9_000, None),
        ] {
            let newer = identities.note(&facts, server(last), UnixTime::from_secs(seconds));
            let found = newer.map(|newer| newer.server);
            assert_eq!(found, expected.map(server), "{case}");
        }
    }
}

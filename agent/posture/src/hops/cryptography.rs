//! What the connections of a hop used of cryptography.

use hopsight_core::{
    model::{Evidence, Outcome, Reason, Word},
    report::ConnectionReport,
    tls::{
        cryptography::{CryptographyFacts, GroupAbsence, PostQuantum, SignatureAbsence},
        version::encrypts_handshake,
    },
};
use serde::{Deserialize, Serialize};

use super::state::word;
use crate::policy::rules::parse_version;

/// Kinds kept apart per hop; beyond that the one that was not seen for longest is forgotten.
pub const MAX_KINDS: usize = 16;
/// How long what was used counts as in use that others are seen beside.
const IN_USE_SECONDS: f64 = 7_200.0;

/// Connections that used the same. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CryptographyInUse {
    /// Negotiated version.
    pub version: Word,
    /// Negotiated cipher suite, IANA name; absent where it was not seen.
    pub cipher: Option<Word>,
    /// As of [`CryptographyFacts`].
    pub group: Option<Word>,
    /// As of [`CryptographyFacts`].
    pub group_absent: Option<GroupAbsence>,
    /// As of [`CryptographyFacts`].
    pub server_signature: Option<Word>,
    /// As of [`CryptographyFacts`].
    pub server_signature_absent: Option<SignatureAbsence>,
    /// As of [`CryptographyFacts`].
    pub client_signature: Option<Word>,
    /// As of [`CryptographyFacts`].
    pub client_signature_absent: Option<SignatureAbsence>,
    /// Whether its keys are safe from a quantum computer, and who decided that they are not.
    pub post_quantum: PostQuantum,
    /// `library` where it takes the proxy's TLS library to know all of it, else `wire`.
    pub evidence: Evidence,
    /// Finished connections that used it.
    pub connections: u64,
    /// When the first of them was reported.
    pub first_seen: f64,
    /// When the newest was.
    pub last_seen: f64,
}

/// Everything that finished connections of a hop used, unless their handshakes failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cryptography(Vec<CryptographyInUse>);

impl Cryptography {
    /// What was used, in no particular order; [`MAX_KINDS`] at most.
    #[must_use]
    pub fn kinds(&self) -> &[CryptographyInUse] {
        &self.0
    }

    /// The weakest of what is in use: keys that are not post-quantum before those that are, old versions
    /// before new ones, and of equals what was seen last. In use is what was seen within two hours of
    /// the newest.
    #[must_use]
    pub fn weakest(&self) -> Option<&CryptographyInUse> {
        let newest = self.0.iter().map(|kind| kind.last_seen).max_by(f64::total_cmp)?;
        let in_use = self.0.iter().filter(|kind| newest - kind.last_seen <= IN_USE_SECONDS);
        let strength = |kind: &CryptographyInUse| {
            (kind.post_quantum == PostQuantum::Yes, parse_version(&kind.version))
        };
        in_use.min_by(|one, other| {
            let by_strength = strength(one).cmp(&strength(other));
            by_strength.then(other.last_seen.total_cmp(&one.last_seen))
        })
    }

    /// Takes the last report of a connection in, at `now` (seconds since the Unix epoch).
    pub(super) fn record(&mut self, report: &ConnectionReport, now: f64) {
        let Some(used) = CryptographyInUse::of(report, now) else { return };
        if let Some(known) = self.0.iter_mut().find(|known| known.is_like(&used)) {
            known.connections += 1;
            known.last_seen = now;
            return;
        }
        if self.0.len() >= MAX_KINDS {
            let oldest = self.0.iter().map(|kind| kind.last_seen).min_by(f64::total_cmp);
            let at = self.0.iter().position(|kind| Some(kind.last_seen) == oldest);
            self.0.swap_remove(at.unwrap_or(0));
        }
        self.0.push(used);
    }

    /// Bounds what comes from outside.
    pub(super) fn bound(&mut self) {
        self.0.truncate(MAX_KINDS);
        for kind in &mut self.0 {
            let texts = [
                &mut kind.cipher,
                &mut kind.group,
                &mut kind.server_signature,
                &mut kind.client_signature,
            ];
            for text in texts {
                *text = word(text.as_ref());
            }
            kind.version = word(Some(&kind.version)).unwrap_or_default();
        }
    }
}

impl CryptographyInUse {
    /// What this connection used; `None` where no handshake is known to have gone through.
    fn of(report: &ConnectionReport, now: f64) -> Option<Self> {
        let verdict = &report.verdict;
        let has_failed = matches!(verdict.outcome, Outcome::Rejected | Outcome::Failed)
            || verdict.reason == Some(Reason::Unaccepted);
        let version = report.tls_version.as_ref().filter(|_| !has_failed)?;
        let facts = &report.cryptography;
        let CryptographyFacts { group_absent, .. } = *facts;
        let shows_signatures = facts.server_signature.is_some() || facts.client_signature.is_some();
        let is_encrypted = encrypts_handshake(version);
        Some(Self {
            version: word(Some(version))?,
            cipher: word(report.cipher.as_ref()),
            group: word(facts.group.as_ref()),
            group_absent,
            server_signature: word(facts.server_signature.as_ref()),
            server_signature_absent: facts.server_signature_absent,
            client_signature: word(facts.client_signature.as_ref()),
            client_signature_absent: facts.client_signature_absent,
            post_quantum: facts.post_quantum(Some(version), &report.offered_versions),
            evidence: if is_encrypted && shows_signatures {
                Evidence::Library
            } else {
                Evidence::Wire
            },
            connections: 1,
            first_seen: now,
            last_seen: now,
        })
    }

    /// Whether the other is the same but for when and how often it was used.
    fn is_like(&self, other: &Self) -> bool {
        let Self { connections, first_seen, last_seen, .. } = *self;
        // Numbers are cheaper to compare than names.
        (self.post_quantum, self.evidence) == (other.post_quantum, other.evidence)
            && *self == Self { connections, first_seen, last_seen, ..other.clone() }
    }
}

#[cfg(test)]
mod tests {
    use hopsight_core::model::Security;

    use super::*;
    use crate::hops::testing::{rejected, report};

    fn with_group(group: &'static str) -> ConnectionReport {
        let mut report = report(1, Security::Mtls);
        report.tls_version = Some("1.3".into());
        report.cryptography.group = Some(group.into());
        report.cryptography.server_signature_absent = Some(SignatureAbsence::Encrypted);
        report
    }

    #[test]
    fn connections_are_counted_by_what_they_used() {
        let shown = || {
            let mut report = with_group("x25519");
            report.cryptography.server_signature_absent = None;
            report.cryptography.server_signature = Some("ed25519".into());
            report
        };
        let hybrid = || {
            let mut report = with_group("X25519MLKEM768");
            report.cryptography.offered_groups = vec!["X25519MLKEM768".into()];
            report
        };
        let mut left = with_group("x25519");
        left.verdict.outcome = Outcome::Incomplete;
        left.verdict.reason = Some(Reason::Unaccepted);
        let all = [
            with_group("x25519"),
            with_group("x25519"),
            hybrid(),
            shown(),
            rejected(with_group("x448")),
            left,
            report(1, Security::Plaintext),
        ];
        let mut used = Cryptography::default();
        for (at, report) in (0_u32..).zip(&all) {
            used.record(report, at.into());
        }
        let kinds = used.kinds().iter().map(|kind| {
            let times = (kind.first_seen, kind.last_seen);
            (
                kind.group.as_deref().unwrap(),
                kind.evidence,
                kind.post_quantum,
                kind.connections,
                times,
            )
        });
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [
                ("x25519", Evidence::Wire, PostQuantum::NotOffered, 2, (0.0, 1.0)),
                ("X25519MLKEM768", Evidence::Wire, PostQuantum::Yes, 1, (2.0, 2.0)),
                ("x25519", Evidence::Library, PostQuantum::NotOffered, 1, (3.0, 3.0)),
            ]
        );
    }

    #[test]
    fn kinds_are_bounded_and_the_oldest_goes() {
        let mut used = Cryptography::default();
        for number in 0..40_u32 {
            let mut report = with_group("x25519");
            report.cryptography.group = Some(format!("0x{number:04X}").into());
            used.record(&report, number.into());
            used.record(&with_group("x448"), f64::from(number) + 0.5);
        }
        let groups: Vec<_> = used.kinds().iter().filter_map(|kind| kind.group.as_deref()).collect();
        assert_eq!(groups.len(), MAX_KINDS);
        assert!(groups.contains(&"x448") && groups.contains(&"0x0027"), "{groups:?}");
        assert!(!groups.contains(&"0x0000"), "{groups:?}");
    }
}

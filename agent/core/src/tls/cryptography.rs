//! What one handshake used of cryptography, beside its version and cipher suite.

use serde::{Deserialize, Serialize};

use super::{group::is_post_quantum, version::encrypts_handshake};
use crate::{model::Word, vocabulary};

vocabulary! {
    /// Why no group of the key exchange is said.
    GroupAbsence {
        /// The keys come from a session that was resumed, or another pre-shared key, alone.
        PreSharedKey => "pre_shared_key",
        /// The proxy encrypted them to the key in the upstream's certificate: whoever gets that key
        /// reads every connection ever recorded.
        KeyTransport => "key_transport",
        /// The cipher suite makes them in a way that names no group.
        NoGroup => "no_group",
        /// The handshake was not seen as far.
        NotSeen => "not_seen",
    }
}

vocabulary! {
    /// Why it is not said what one side signed the handshake with.
    SignatureAbsence {
        /// It signed nothing: it was not asked to, a session was resumed, or the cipher suite has it
        /// show in another way that its key is its own.
        NotSent => "not_sent",
        /// It was sent under encryption (TLS 1.3), and no library showed it.
        Encrypted => "encrypted",
        /// It was sent, in a version that does not say which scheme it is (up to TLS 1.1).
        Unnamed => "unnamed",
        /// The handshake was not seen as far.
        NotSeen => "not_seen",
    }
}

vocabulary! {
    /// Whether what is recorded today stays secret from a quantum computer, and who decided that it
    /// does not.
    PostQuantum {
        /// The keys come from ML-KEM, alone or beside a curve.
        Yes => "yes",
        /// The proxy offered no such group.
        NotOffered => "not_offered",
        /// The proxy offered one, and the upstream chose another.
        NotSelected => "not_selected",
        /// The proxy offered no TLS 1.3, which alone has such groups.
        ProxyBelowTls13 => "proxy_below_tls13",
        /// The proxy offered TLS 1.3, and the upstream chose an older version.
        UpstreamBelowTls13 => "upstream_below_tls13",
        /// Not established: the session began earlier, or the handshake was not seen as far.
        Unknown => "unknown",
    }
}

/// What one handshake used of cryptography, beside its version and cipher suite. Of each thing that may
/// be missing there is one of two: its name, or why there is none; neither where it is not TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CryptographyFacts {
    /// Groups that the proxy offered, most wanted first, as the IANA registry calls them.
    pub offered_groups: Vec<Word>,
    /// The group that the upstream had the proxy begin again with (a HelloRetryRequest); `None` where
    /// it did not.
    pub retried_group: Option<Word>,
    /// The group of the key exchange; `dh2048` for a prime of that many bits that has no name.
    pub group: Option<Word>,
    /// Why there is no `group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_absent: Option<GroupAbsence>,
    /// What the upstream signed the handshake with, as the IANA registry calls it.
    pub server_signature: Option<Word>,
    /// Why there is no `server_signature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_signature_absent: Option<SignatureAbsence>,
    /// What the proxy signed it with.
    pub client_signature: Option<Word>,
    /// Why there is no `client_signature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_signature_absent: Option<SignatureAbsence>,
}

impl CryptographyFacts {
    /// Whether the keys of this handshake are safe from a quantum computer, and if not, who decided so.
    /// `version` is what was negotiated, and `offered` what the proxy offered.
    #[must_use]
    pub fn post_quantum(&self, version: Option<&str>, offered: &[Word]) -> PostQuantum {
        let Some(version) = version else { return PostQuantum::Unknown };
        if let Some(group) = &self.group
            && is_post_quantum(group)
        {
            return PostQuantum::Yes;
        }
        match self.group_absent {
            // What it rests on was agreed on in another handshake.
            Some(GroupAbsence::PreSharedKey | GroupAbsence::NotSeen) => PostQuantum::Unknown,
            None if self.group.is_none() => PostQuantum::Unknown,
            _ if encrypts_handshake(version)
                && self.offered_groups.iter().any(|name| is_post_quantum(name)) =>
            {
                PostQuantum::NotSelected
            }
            _ if encrypts_handshake(version) => PostQuantum::NotOffered,
            _ if offered.iter().any(|version| encrypts_handshake(version)) => {
                PostQuantum::UpstreamBelowTls13
            }
            _ => PostQuantum::ProxyBelowTls13,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decided_against_post_quantum() {
        const PLAIN: &[&str] = &["x25519", "secp256r1"];
        const HYBRID: &[&str] = &["X25519MLKEM768", "x25519"];
        let words = |all: &[&'static str]| all.iter().copied().map(Word::Borrowed).collect();
        let chosen = |name: &'static str| Ok(Word::Borrowed(name));
        for (name, offered_groups, group, version, offered, expected) in [
            ("hybrid", HYBRID, chosen("X25519MLKEM768"), "1.3", "1.3", PostQuantum::Yes),
            ("chosen against", HYBRID, chosen("x25519"), "1.3", "1.3", PostQuantum::NotSelected),
            ("never offered", PLAIN, chosen("x25519"), "1.3", "1.3", PostQuantum::NotOffered),
            ("old proxy", PLAIN, chosen("x25519"), "1.2", "1.2", PostQuantum::ProxyBelowTls13),
            (
                "old upstream",
                HYBRID,
                chosen("x25519"),
                "1.2",
                "1.3",
                PostQuantum::UpstreamBelowTls13,
            ),
            (
                "key transport",
                PLAIN,
                Err(GroupAbsence::KeyTransport),
                "1.2",
                "1.2",
                PostQuantum::ProxyBelowTls13,
            ),
            (
                "resumed",
                HYBRID,
                Err(GroupAbsence::PreSharedKey),
                "1.3",
                "1.3",
                PostQuantum::Unknown,
            ),
            ("not seen", HYBRID, Err(GroupAbsence::NotSeen), "1.3", "1.3", PostQuantum::Unknown),
        ] {
            let facts = CryptographyFacts {
                offered_groups: words(offered_groups),
                group_absent: group.as_ref().err().copied(),
                group: group.ok(),
                ..CryptographyFacts::default()
            };
            let offered = [Word::Borrowed(offered)];
            assert_eq!(facts.post_quantum(Some(version), &offered), expected, "{name}");
        }
        let nothing = CryptographyFacts::default();
        assert_eq!(nothing.post_quantum(None, &[]), PostQuantum::Unknown);
        assert_eq!(nothing.post_quantum(Some("1.3"), &[]), PostQuantum::Unknown);
    }
}

//! The lines of one hop.

use std::sync::Arc;

use serde::Serialize;

use hopsight_core::{
    model::{Evidence, Security, Word},
    tls::{
        certificate_facts::{CertificateAbsence, CertificateFacts, IssuerFacts},
        cryptography::{GroupAbsence, PostQuantum, SignatureAbsence},
        fingerprint::Fingerprint,
        key_usage::{ExtendedKeyUse, KeyUse},
    },
    vocabulary,
};
use hopsight_posture::{
    hops::{
        hop::Hop,
        labels::{MAX_LABEL_BYTES, MAX_SANS, MAX_TEXT_BYTES, printable},
    },
    policy::certificate::{ChainWord, RevocationWord},
};

use super::merged::merged;
use crate::time;

vocabulary! {
    /// Whose a certificate is.
    Role {
        /// The upstream's.
        Upstream => "upstream",
        /// An authority's, sent behind the upstream's.
        UpstreamIssuer => "upstream_issuer",
        /// The proxy's.
        Proxy => "proxy",
        /// An authority's, sent behind the proxy's.
        ProxyIssuer => "proxy_issuer",
    }
}

/// Which hop a line is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HopName {
    /// Where it comes from.
    pub source: Arc<str>,
    /// The proxy, as the hop is labelled.
    pub proxy: Arc<str>,
    /// The upstream, as the hop is labelled.
    pub upstream: Arc<str>,
    /// What the hop is now.
    pub security: Security,
}

/// What a line rests on. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Use {
    /// How strong the evidence is.
    pub evidence: Evidence,
    /// Finished connections that it rests on.
    pub connections: u64,
    /// Finished connections of the hop.
    pub of_connections: u64,
    /// When the first of them was reported.
    pub first_seen: Option<String>,
    /// When the newest was.
    pub last_seen: Option<String>,
}

/// A hop and a certificate that was sent there, or why none is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CertificateLine {
    /// Which hop.
    #[serde(flatten)]
    pub hop: HopName,
    /// Whose it is.
    pub role: Role,
    /// Why none is known.
    pub absent: Option<CertificateAbsence>,
    /// Subject.
    pub subject: Option<String>,
    /// Issuer.
    pub issuer: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// What it is told by.
    pub sha256: Option<Fingerprint>,
    /// Subject alternative names.
    pub sans: Vec<String>,
    /// Its SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// Start of validity, RFC 3339.
    pub not_before: Option<String>,
    /// End of validity, RFC 3339.
    pub not_after: Option<String>,
    /// Kind of key, and its size or curve.
    pub public_key: Option<String>,
    /// Signature algorithm.
    pub signature: Option<String>,
    /// What its key may be used for.
    pub key_usage: Option<Box<[KeyUse]>>,
    /// What for, by purpose.
    pub extended_key_usage: Option<Box<[ExtendedKeyUse]>>,
    /// Its place in what was sent, from 0 for the end entity's.
    pub position: usize,
    /// How many certificates were sent.
    pub chain_length: usize,
    /// Where the chain leads, of an end entity's; `None` where nobody has looked.
    pub chain: Option<ChainWord>,
    /// Whether it is revoked, the same way.
    pub revocation: Option<RevocationWord>,
    /// What the line rests on.
    #[serde(flatten)]
    pub used: Use,
    /// Start and end of validity, seconds since the Unix epoch.
    #[serde(skip)]
    pub(super) validity: Option<(i64, i64)>,
}

/// A hop and what connections of it used, or that nothing is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CryptographyLine {
    /// Which hop.
    #[serde(flatten)]
    pub hop: HopName,
    /// Protocol version; `None` for plaintext, and where nothing is known.
    pub version: Option<Word>,
    /// Cipher suite, IANA name.
    pub cipher: Option<Word>,
    /// Group of the key exchange.
    pub group: Option<Word>,
    /// Why there is no group.
    pub group_absent: Option<GroupAbsence>,
    /// What the upstream signed with.
    pub server_signature: Option<Word>,
    /// Why there is no signature of the upstream's.
    pub server_signature_absent: Option<SignatureAbsence>,
    /// What the proxy signed with.
    pub client_signature: Option<Word>,
    /// Why there is no signature of the proxy's.
    pub client_signature_absent: Option<SignatureAbsence>,
    /// Whether the keys are post-quantum, and who decided that they are not; `None` for plaintext.
    pub post_quantum: Option<PostQuantum>,
    /// What the line rests on.
    #[serde(flatten)]
    pub used: Use,
}

/// A text that may come from a file that anybody wrote.
fn text(value: &str) -> String {
    printable(value, MAX_TEXT_BYTES).into_owned()
}

fn word(word: Option<&Word>) -> Option<Word> {
    Some(text(word?).into())
}

fn name(source: &str, hop: &Hop) -> HopName {
    let label = |text: &str| printable(text, MAX_LABEL_BYTES).into();
    HopName {
        source: text(source).into(),
        proxy: label(&hop.proxy),
        upstream: label(&hop.upstream),
        security: hop.state.security,
    }
}

/// Of a hop of which nothing is known.
fn unused(hop: &Hop) -> Use {
    Use {
        evidence: Evidence::None,
        connections: 0,
        of_connections: hop.counts.count_of(|_| true),
        first_seen: None,
        last_seen: None,
    }
}

/// The certificates of a hop: the upstream's and those behind it, then the proxy's. What several
/// servers show is one line.
pub(super) fn certificates(source: &str, hop: &Hop) -> Vec<CertificateLine> {
    let hop_name = name(source, hop);
    let mut lines = Vec::new();
    for (side, role, issuer_role, absent) in [
        (0, Role::Upstream, Role::UpstreamIssuer, hop.server_certificate_absent),
        (1, Role::Proxy, Role::ProxyIssuer, hop.client_certificate_absent),
    ] {
        let in_use =
            merged(hop.servers.iter().flat_map(|server| server.certificates.in_use()[side]));
        for one in &in_use {
            let used = Use {
                evidence: one.evidence,
                connections: one.connections,
                of_connections: hop.counts.count_of(|_| true),
                first_seen: Some(time::rfc3339(one.first_seen)),
                last_seen: Some(time::rfc3339(one.last_seen)),
            };
            let end_entity = CertificateLine {
                chain: one.chain,
                revocation: one.revocation.as_ref().map(|says| says.answer),
                ..CertificateLine::of(&hop_name, role, &one.facts, used)
            };
            let issuers = one.facts.issuers.iter().enumerate();
            let issuers: Vec<_> = issuers
                .map(|(at, issuer)| end_entity.issuer(issuer_role, at + 1, issuer))
                .collect();
            lines.push(end_entity);
            lines.extend(issuers);
        }
        if in_use.is_empty() && hop.state.security != Security::Plaintext {
            lines.push(CertificateLine::none(&hop_name, role, absent, unused(hop)));
        }
    }
    lines
}

impl CertificateLine {
    /// Its subject alternative names in one text, with this between them; its first character stands as
    /// `\\` and two digits inside of a name.
    pub(super) fn names(&self, separator: &str) -> String {
        let first = separator.chars().next().unwrap_or(' ');
        let escaped = format!("\\{:02X}", u32::from(first));
        let names = self.sans.iter().map(|san| san.replace(first, &escaped));
        names.collect::<Vec<_>>().join(separator)
    }

    fn none(hop: &HopName, role: Role, absent: Option<CertificateAbsence>, used: Use) -> Self {
        Self {
            hop: hop.clone(),
            role,
            absent,
            subject: None,
            issuer: None,
            serial: None,
            sha256: None,
            sans: Vec::new(),
            spiffe_id: None,
            not_before: None,
            not_after: None,
            public_key: None,
            signature: None,
            key_usage: None,
            extended_key_usage: None,
            position: 0,
            chain_length: 0,
            chain: None,
            revocation: None,
            used,
            validity: None,
        }
    }

    fn of(hop: &HopName, role: Role, facts: &CertificateFacts, used: Use) -> Self {
        Self {
            subject: Some(text(&facts.subject)),
            issuer: Some(text(&facts.issuer)),
            serial: Some(text(&facts.serial)),
            sha256: facts.sha256,
            sans: facts.sans.iter().take(MAX_SANS + 1).map(|san| text(san)).collect(),
            spiffe_id: facts.spiffe_id().map(text),
            public_key: Some(text(&facts.public_key)),
            signature: Some(text(&facts.signature)),
            key_usage: facts.key_usage.clone(),
            extended_key_usage: facts.extended_key_usage.clone(),
            chain_length: facts.chain_length,
            ..Self::none(hop, role, None, used)
        }
        .valid(facts.not_before, facts.not_after)
    }

    /// One that was sent behind this one.
    fn issuer(&self, role: Role, position: usize, facts: &IssuerFacts) -> Self {
        Self {
            subject: Some(text(&facts.subject)),
            issuer: Some(text(&facts.issuer)),
            serial: Some(text(&facts.serial)),
            sha256: Some(facts.sha256),
            public_key: Some(text(&facts.public_key)),
            signature: Some(text(&facts.signature)),
            position,
            chain_length: self.chain_length,
            ..Self::none(&self.hop, role, None, self.used.clone())
        }
        .valid(facts.not_before, facts.not_after)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
    fn valid(mut self, not_before: i64, not_after: i64) -> Self {
        self.not_before = Some(time::rfc3339(not_before as f64));
        self.not_after = Some(time::rfc3339(not_after as f64));
        self.validity = Some((not_before, not_after));
        self
    }
}

/// What connections of a hop used; a line that says so where some were in the clear, or nothing is
/// known.
pub(super) fn cryptography(source: &str, hop: &Hop) -> Vec<CryptographyLine> {
    let hop_name = name(source, hop);
    let of_connections = hop.counts.count_of(|_| true);
    let mut lines: Vec<_> = hop
        .cryptography
        .kinds()
        .iter()
        .map(|kind| CryptographyLine {
            hop: hop_name.clone(),
            version: word(Some(&kind.version)),
            cipher: word(kind.cipher.as_ref()),
            group: word(kind.group.as_ref()),
            group_absent: kind.group_absent,
            server_signature: word(kind.server_signature.as_ref()),
            server_signature_absent: kind.server_signature_absent,
            client_signature: word(kind.client_signature.as_ref()),
            client_signature_absent: kind.client_signature_absent,
            post_quantum: Some(kind.post_quantum),
            used: Use {
                evidence: kind.evidence,
                connections: kind.connections,
                of_connections,
                first_seen: Some(time::rfc3339(kind.first_seen)),
                last_seen: Some(time::rfc3339(kind.last_seen)),
            },
        })
        .collect();
    let in_the_clear = hop.counts.count_of(|tally| tally.security == Security::Plaintext);
    if in_the_clear > 0 {
        let used = Use { evidence: Evidence::Wire, connections: in_the_clear, ..unused(hop) };
        lines.push(CryptographyLine::none(&hop_name, None, used));
    } else if lines.is_empty() {
        lines.push(CryptographyLine::none(&hop_name, Some(PostQuantum::Unknown), unused(hop)));
    }
    lines
}

impl CryptographyLine {
    fn none(hop: &HopName, post_quantum: Option<PostQuantum>, used: Use) -> Self {
        Self {
            hop: hop.clone(),
            version: None,
            cipher: None,
            group: None,
            group_absent: None,
            server_signature: None,
            server_signature_absent: None,
            client_signature: None,
            client_signature_absent: None,
            post_quantum,
            used,
        }
    }
}

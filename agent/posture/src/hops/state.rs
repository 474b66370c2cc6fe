//! What a hop is now, and which verdicts may say so.

use std::{borrow::Cow, sync::Arc};

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, ServerVerified, Word},
    report::{CarriedFrom, ConnectionReport, Verdict},
};
use serde::{Deserialize, Serialize};

use super::labels::{MAX_TEXT_BYTES, printable};

/// What a hop is now: the newest certain report's words and facts, or `unknown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopState {
    /// How the hop is protected.
    pub security: Security,
    /// What the client did about client authentication.
    pub client_auth: ClientAuth,
    /// What this rests on.
    pub evidence: Evidence,
    /// Whether the proxy checked the upstream's certificate.
    pub server_verified: ServerVerified,
    /// Result of the proxy's chain verification (`X509_V_*`), where it was shown.
    pub verify_error: Option<i32>,
    /// The rule that decided, for `inferred` evidence.
    pub rule: Option<Word>,
    /// Origin of a `carried` verdict.
    pub carried_from: Option<CarriedFrom>,
    /// Negotiated version.
    pub tls_version: Option<Word>,
    /// Negotiated cipher suite.
    pub cipher: Option<Word>,
    /// Server name the proxy asked for.
    pub sni: Option<Arc<str>>,
    /// Negotiated application protocol.
    pub alpn: Option<Arc<str>>,
    /// Whether that connection resumed a session.
    pub resumed: Option<bool>,
    /// Clear-text protocol.
    pub protocol: Option<Word>,
    /// Upgrade protocol after which TLS began.
    pub starttls: Option<Word>,
    /// PROXY protocol version.
    pub proxy_protocol: Option<Word>,
}

impl HopState {
    /// Nothing certain was seen.
    pub const UNKNOWN: Self = Self {
        security: Security::Unknown,
        client_auth: ClientAuth::Unknown,
        evidence: Evidence::None,
        server_verified: ServerVerified::Unknown,
        verify_error: None,
        rule: None,
        carried_from: None,
        tls_version: None,
        cipher: None,
        sni: None,
        alpn: None,
        resumed: None,
        protocol: None,
        starttls: None,
        proxy_protocol: None,
    };

    /// What `report` says after `before`. A resumed connection verifies no certificate, so it
    /// leaves the answer of the handshake before it.
    pub(super) fn of(report: &ConnectionReport, before: Option<&Self>) -> Self {
        let says_nothing = report.verdict.server_verified == ServerVerified::Unknown;
        let before = before.filter(|_| says_nothing && report.resumed == Some(true));
        Self {
            security: report.verdict.security,
            client_auth: report.verdict.client_auth,
            evidence: report.verdict.evidence,
            server_verified: before
                .map_or(report.verdict.server_verified, |before| before.server_verified),
            verify_error: before.map_or(report.verify_error, |before| before.verify_error),
            rule: word(report.rule.as_ref()),
            carried_from: report.carried_from.clone(),
            tls_version: word(report.tls_version.as_ref()),
            cipher: word(report.cipher.as_ref()),
            sni: text(report.sni.as_ref()),
            alpn: text(report.alpn.as_ref()),
            resumed: report.resumed,
            protocol: word(report.protocol.as_ref()),
            starttls: word(report.starttls.as_ref()),
            proxy_protocol: word(report.proxy_protocol.as_ref()),
        }
    }
}

/// Our own words need no look.
pub(super) fn word(word: Option<&Word>) -> Option<Word> {
    word.map(|word| match word {
        Cow::Borrowed(ours) => Cow::Borrowed(*ours),
        Cow::Owned(read) => printable(read, MAX_TEXT_BYTES).into_owned().into(),
    })
}

/// The same text, shared, unless it has to be sanitised.
pub(super) fn text(text: Option<&Arc<str>>) -> Option<Arc<str>> {
    text.map(|text| match printable(text, MAX_TEXT_BYTES) {
        Cow::Borrowed(_) => text.clone(),
        Cow::Owned(sanitised) => sanitised.into(),
    })
}

/// Whether a verdict may become the state of its hop.
///
/// A refused or failed handshake protects nothing, nor does one that the server left without a
/// word, or that stopped in the middle (as TLS up to 1.2 that is incomplete did). `mtls` needs acceptance as well: presented is not accepted. Clear text counts however the connection ended, for the bytes
/// were sent.
#[must_use]
pub fn is_certain(verdict: &Verdict) -> bool {
    match verdict.security {
        Security::Unknown => false,
        Security::Plaintext => true,
        Security::Tls => match verdict.outcome {
            Outcome::Rejected | Outcome::Failed => false,
            Outcome::Incomplete => {
                verdict.evidence != Evidence::Wire && verdict.reason != Some(Reason::Unaccepted)
            }
            Outcome::Established => true,
        },
        Security::Mtls => verdict.outcome == Outcome::Established,
    }
}

/// Whether a connection works, as far as is known, and nobody knows how it is protected.
pub(super) const fn is_in_the_dark(verdict: Verdict) -> bool {
    let was_not_seen = matches!(verdict.reason, Some(Reason::CaptureLost | Reason::MidStream));
    let works = match verdict.outcome {
        Outcome::Established => true,
        Outcome::Incomplete => was_not_seen,
        Outcome::Rejected | Outcome::Failed => false,
    };
    matches!(verdict.security, Security::Unknown) && works
}

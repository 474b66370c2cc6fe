//! What a hop is now, and which verdicts may say so.

use serde::{Deserialize, Serialize};

use super::labels::{MAX_TEXT_BYTES, printable};
use crate::{
    model::{ClientAuth, Evidence, FlowId, Outcome, Security, ServerVerified, Timestamp},
    report::{CarriedFrom, ConnectionReport, Verdict},
};

/// What a hop is now: the newest certain report's words and facts, or `unknown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
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
    pub rule: Option<String>,
    /// Origin of a `carried` verdict.
    pub carried_from: Option<CarriedFrom>,
    /// Negotiated version.
    pub tls_version: Option<String>,
    /// Negotiated cipher suite.
    pub cipher: Option<String>,
    /// Server name the proxy asked for.
    pub sni: Option<String>,
    /// Negotiated application protocol.
    pub alpn: Option<String>,
    /// Whether that connection resumed a session.
    pub resumed: Option<bool>,
    /// Clear-text protocol.
    pub protocol: Option<String>,
    /// Upgrade protocol after which TLS began.
    pub starttls: Option<String>,
    /// PROXY protocol version.
    pub proxy_protocol: Option<String>,
    /// The connection this comes from, and when it was decided; absent while nothing is certain.
    #[serde(skip)]
    pub(super) source: Option<(FlowId, Timestamp)>,
}

impl Standing {
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
        source: None,
    };

    /// What `report` says after `before`. A resumed connection verifies no certificate, so it
    /// leaves the answer of the handshake before it.
    pub(super) fn of(report: &ConnectionReport, before: &Self) -> Self {
        let says_nothing = report.verdict.server_verified == ServerVerified::Unknown;
        let keeps_verification = says_nothing && report.resumed == Some(true);
        let text =
            |value: &Option<String>| value.as_deref().map(|value| printable(value, MAX_TEXT_BYTES));
        Self {
            security: report.verdict.security,
            client_auth: report.verdict.client_auth,
            evidence: report.verdict.evidence,
            server_verified: if keeps_verification {
                before.server_verified
            } else {
                report.verdict.server_verified
            },
            verify_error: if keeps_verification {
                before.verify_error
            } else {
                report.verify_error
            },
            rule: text(&report.rule),
            carried_from: report.carried_from.clone(),
            tls_version: text(&report.tls_version),
            cipher: text(&report.cipher),
            sni: text(&report.sni),
            alpn: text(&report.alpn),
            resumed: report.resumed,
            protocol: text(&report.protocol),
            starttls: text(&report.starttls),
            proxy_protocol: text(&report.proxy_protocol),
            source: Some((report.flow, report.decided_at)),
        }
    }

    /// Whether this is the claim of `flow`.
    pub(super) fn is_from(&self, flow: FlowId) -> bool {
        self.source.is_some_and(|(source, _)| source == flow)
    }
}

/// Whether a verdict may become the state of its hop.
///
/// A refused or failed handshake protects nothing. `mtls` needs the end of the handshake as well:
/// presented is not accepted. Clear text counts however the connection ended, for the bytes
/// were sent.
#[must_use]
pub fn is_certain(verdict: &Verdict) -> bool {
    match verdict.security {
        Security::Unknown => false,
        Security::Plaintext => true,
        Security::Tls => !matches!(verdict.outcome, Outcome::Rejected | Outcome::Failed),
        Security::Mtls => verdict.outcome == Outcome::Established,
    }
}

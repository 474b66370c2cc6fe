//! What hopsight says about one connection: the verdict and the facts behind it.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        ClientAuth, ConnectionId, Evidence, Origin, Outcome, Reason, Security, ServerVerified,
        Timestamp, Word,
    },
    tls::{
        authorities::Authorities,
        certificate::Chain,
        certificate_facts::{CertificateAbsence, CertificateFacts, is_zero},
        cryptography::CryptographyFacts,
    },
    vocabulary,
};

/// The verdict on one connection.
///
/// `reason` is present exactly where `security` or `client_auth` is `unknown` or the outcome is
/// `incomplete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the connection is protected.
    pub security: Security,
    /// What the client did about client authentication.
    pub client_auth: ClientAuth,
    /// How the handshake ended.
    pub outcome: Outcome,
    /// What this rests on.
    pub evidence: Evidence,
    /// Whether the proxy checked the upstream's certificate.
    pub server_verified: ServerVerified,
    /// Why something is unknown.
    pub reason: Option<Reason>,
}

/// A TLS alert that was seen in the clear or shown by the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFacts {
    /// Who sent it: `client` or `server`.
    pub from: Word,
    /// RFC 8446 section 6 name, such as `unknown_ca`.
    pub description: Word,
    /// Its number.
    pub code: u8,
}

vocabulary! {
    /// What became of 0-RTT data (RFC 8446 section 2.3), which rests on the session alone: whoever has
    /// the client's bytes can send them again.
    EarlyData {
        /// The client offered it; what the server made of it is encrypted, and no library showed it.
        Offered => "offered",
        /// The server took it.
        Accepted => "accepted",
        /// The server did not.
        Refused => "refused",
    }
}

vocabulary! {
    /// How a resumed connection's full handshake was found.
    CarriedBy {
        /// It began this very session, which is known by its ticket or identifier.
        Session => "session",
        /// It is the last one of those that may have begun it: of the same process, upstream and server
        /// name, or of the workers that began with it. Nothing that is known speaks against it.
        LastHandshake => "last_handshake",
    }
}

vocabulary! {
    /// Why the full handshake of a resumed session is not known.
    Unseen {
        /// The process is older than the agent, and so may be its session.
        OlderProcess => "older_process",
        /// Its program made full handshakes that the library did not show, such as before it was read.
        LibraryUnread => "library_unread",
        /// Its program was given tickets that were lost on their way to the agent.
        TicketLost => "ticket_lost",
        /// None of these: an external pre-shared key, a session of another program, or one that was
        /// forgotten to make room.
        Unexplained => "unexplained",
    }
}

/// The full handshake that a resumed connection's verdict was carried from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarriedFrom {
    /// Its evidence.
    pub evidence: Evidence,
    /// Its age when it was carried, in seconds.
    pub age_seconds: f64,
    /// How it was found.
    #[serde(default = "CarriedFrom::by_unsaid")]
    pub by: CarriedBy,
    /// When it was decided (source clock).
    #[serde(default)]
    pub at: Timestamp,
    /// The process that made it; `None` in a packet capture.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The certificate that the proxy presented in it, where it was seen: for policy to judge.
    #[serde(skip)]
    pub client_certificate: Option<Arc<CertificateFacts>>,
    /// The same of the upstream.
    #[serde(skip)]
    pub server_certificate: Option<Arc<CertificateFacts>>,
}

impl CarriedFrom {
    /// Of what an agent wrote that did not know sessions by their tickets.
    const fn by_unsaid() -> CarriedBy {
        CarriedBy::LastHandshake
    }
}

/// One connection as reported in events, `replay --output json` and to the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The connection.
    pub connection: ConnectionId,
    /// Who opened it.
    pub origin: Origin,
    /// Proxy end, `ip:port`; empty until the connection is established.
    pub src: String,
    /// Upstream end, `ip:port`.
    pub dst: String,
    /// Destination the process asked for, before any service NAT.
    pub destination: SocketAddr,
    /// What its packets were inside of in a capture, outermost first, such as `vlan:100/vxlan:7`;
    /// addresses are those within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Arc<str>>,
    /// When the connection was opened (source clock).
    pub opened_at: Timestamp,
    /// When the byte that decided left the kernel (source clock).
    pub decided_at: Timestamp,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// True for the last report of this connection; an earlier one may be revised upward.
    pub is_final: bool,
    /// The rule that decided, for `inferred` evidence.
    pub rule: Option<Word>,
    /// Origin of a `carried` verdict.
    pub carried_from: Option<CarriedFrom>,
    /// Why the full handshake is not known, where the reason is `resumed_unseen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// Where the verdict rests on `library`: what the wire alone says of client authentication, by
    /// messages in the clear up to TLS 1.2 and by record lengths in TLS 1.3.
    pub wire_client_auth: Option<ClientAuth>,
    /// Negotiated version: `SSLv3`, `1.0` … `1.3`.
    pub tls_version: Option<Word>,
    /// Versions the client offered, highest first.
    pub offered_versions: Vec<Word>,
    /// Negotiated cipher suite, IANA name.
    pub cipher: Option<Word>,
    /// What else it used of cryptography.
    #[serde(flatten)]
    pub cryptography: CryptographyFacts,
    /// Server name the client asked for.
    pub sni: Option<Arc<str>>,
    /// Negotiated application protocol, where it is visible.
    pub alpn: Option<Arc<str>>,
    /// Protocols the client offered.
    pub offered_alpn: Vec<Arc<str>>,
    /// Whether a session was resumed.
    pub resumed: Option<bool>,
    /// What became of the 0-RTT data that the client offered; `carried_from` is what it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_data: Option<EarlyData>,
    /// The alert that ended or marred the handshake.
    pub alert: Option<AlertFacts>,
    /// The upstream's certificate.
    pub server_certificate: Option<Arc<CertificateFacts>>,
    /// Why there is no `server_certificate`, where the connection is TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_certificate_absent: Option<CertificateAbsence>,
    /// The upstream's certificates as they were sent, for policy to judge.
    #[serde(skip)]
    pub server_chain: Option<Arc<Chain>>,
    /// Signed certificate timestamps that came along with it, beside those in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_timestamps: u16,
    /// The OCSP response that came along with it, for policy to judge.
    #[serde(skip)]
    pub server_staple: Option<Arc<[u8]>>,
    /// The proxy's certificate.
    pub client_certificate: Option<Arc<CertificateFacts>>,
    /// Why there is no `client_certificate`, where the connection is TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_absent: Option<CertificateAbsence>,
    /// The proxy's certificates as they were sent, for policy to judge.
    #[serde(skip)]
    pub client_chain: Option<Arc<Chain>>,
    /// The CAs that the upstream names in its request for a certificate, for policy to judge.
    #[serde(skip)]
    pub requested_authorities: Option<Arc<Authorities>>,
    /// Result of the proxy's own chain verification (`X509_V_*`), where the library showed it.
    pub verify_error: Option<i32>,
    /// Clear-text protocol spoken first: `http/1`, `h2c`, or the upgrade (`starttls`) protocol.
    pub protocol: Option<Word>,
    /// Upgrade protocol after which TLS began, such as `postgresql`, `smtp`.
    pub starttls: Option<Word>,
    /// `v1` or `v2` where a PROXY protocol prefix came first.
    pub proxy_protocol: Option<Word>,
}

impl ConnectionReport {
    /// The proxy closed the connection before either side had sent a byte; an alert that answers its
    /// leaving does not count. It is counted apart, and no share, state or evaluation of its hop
    /// includes it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.verdict.reason == Some(Reason::Unused)
    }

    /// The handshake was completed, so that both sides have proven what they had to.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.verdict.outcome == Outcome::Established
    }

    /// Library and wire give different answers: one of them is misread. The library's is reported.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.wire_client_auth
            .is_some_and(|wire| wire != ClientAuth::Unknown && wire != self.verdict.client_auth)
    }
}

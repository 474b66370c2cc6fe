//! What a report says of the cryptography of its handshake, or why it does not.

use crate::{
    model::{ClientAuth, Direction},
    report::ConnectionReport,
    tls::{
        cryptography::{CryptographyFacts, GroupAbsence, SignatureAbsence},
        facts::HandshakeFacts,
        group::NamedGroup,
        hello::TlsVersion,
        key_exchange::{Exchange, Kind, kind},
        scheme::SignatureScheme,
    },
};

/// What the wire said, and the library where it shows what the wire hides. `report` has everything
/// else of this handshake by now.
pub(super) fn cryptography(
    report: &ConnectionReport,
    wire: &HandshakeFacts,
    shown: Option<&HandshakeFacts>,
) -> CryptographyFacts {
    // Where a reset was faster than the server's bytes, the library alone shows them.
    let seen = shown.filter(|_| wire.server_hello.is_none()).unwrap_or(wire);
    let group = group(report, seen);
    let server = server_signature(report, seen, shown);
    let client = client_signature(report, seen, shown);
    let offered = wire.client_hello.iter().flat_map(|hello| hello.offered.groups());
    CryptographyFacts {
        offered_groups: offered.map(NamedGroup::name).collect(),
        retried_group: wire.said().retried_group.map(NamedGroup::name),
        group_absent: group.err(),
        group: group.ok().map(Exchange::name),
        server_signature_absent: server.err(),
        server_signature: server.ok().map(SignatureScheme::name),
        client_signature_absent: client.err(),
        client_signature: client.ok().map(SignatureScheme::name),
    }
}

/// Groups are in the clear in every version.
fn group(report: &ConnectionReport, wire: &HandshakeFacts) -> Result<Exchange, GroupAbsence> {
    let hello = wire.server_hello.as_ref().ok_or(GroupAbsence::NotSeen)?;
    if hello.version.encrypts_handshake() {
        return match (hello.group, hello.pre_shared_key) {
            (Some(group), _) => Ok(Exchange::Group(group)),
            (None, Some(_)) => Err(GroupAbsence::PreSharedKey),
            (None, None) => Err(GroupAbsence::NotSeen),
        };
    }
    if let Some(sent) = wire.said().server_key_exchange {
        return Ok(sent.exchange);
    }
    if report.resumed == Some(true) {
        return Err(GroupAbsence::PreSharedKey);
    }
    Err(match kind(hello.cipher) {
        Some(Kind::Transport) => GroupAbsence::KeyTransport,
        Some(Kind::Other) => GroupAbsence::NoGroup,
        Some(Kind::Curve | Kind::Prime) | None => GroupAbsence::NotSeen,
    })
}

fn server_signature(
    report: &ConnectionReport,
    wire: &HandshakeFacts,
    shown: Option<&HandshakeFacts>,
) -> Result<SignatureScheme, SignatureAbsence> {
    let hello = wire.server_hello.as_ref().ok_or(SignatureAbsence::NotSeen)?;
    if report.resumed == Some(true) {
        return Err(SignatureAbsence::NotSent);
    }
    if hello.version.encrypts_handshake() {
        let shown = shown.and_then(|facts| facts.said().signatures[Direction::ToClient.index()]);
        return shown.ok_or(SignatureAbsence::Encrypted);
    }
    match (wire.said().server_key_exchange, kind(hello.cipher)) {
        (Some(sent), _) if sent.is_signed => sent.signature.ok_or(SignatureAbsence::Unnamed),
        (Some(_), _) | (None, Some(Kind::Transport | Kind::Other)) => {
            Err(SignatureAbsence::NotSent)
        }
        (None, _) => Err(SignatureAbsence::NotSeen),
    }
}

fn client_signature(
    report: &ConnectionReport,
    wire: &HandshakeFacts,
    shown: Option<&HandshakeFacts>,
) -> Result<SignatureScheme, SignatureAbsence> {
    let version = wire.version().ok_or(SignatureAbsence::NotSeen)?;
    let at = Direction::ToServer.index();
    let seen = wire.said().signatures[at].or_else(|| shown?.said().signatures[at]);
    if let Some(scheme) = seen {
        return Ok(scheme);
    }
    let is_sent = wire.client_certificate_verify;
    Err(match report.verdict.client_auth {
        _ if report.resumed == Some(true) => SignatureAbsence::NotSent,
        ClientAuth::NotRequested | ClientAuth::RequestedNotPresented => SignatureAbsence::NotSent,
        ClientAuth::Presented | ClientAuth::Unknown if version.encrypts_handshake() => {
            SignatureAbsence::Encrypted
        }
        ClientAuth::Presented | ClientAuth::Unknown if is_sent && version < TlsVersion::TLS12 => {
            SignatureAbsence::Unnamed
        }
        ClientAuth::Presented | ClientAuth::Unknown => SignatureAbsence::NotSeen,
    })
}

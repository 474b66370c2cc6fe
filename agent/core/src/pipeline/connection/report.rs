//! What is said about a connection, in the words of a report.

use super::{
    Connection, Phase,
    certificates::{client_certificate, server_certificate, slot},
    cryptography::cryptography,
};
use crate::{
    model::{Direction, Word, address_text},
    report::{AlertFacts, ConnectionReport, EarlyData},
    tls::{
        alert,
        certificate::CertificateMemory,
        cryptography::CryptographyFacts,
        hello::{TlsVersion, cipher_name},
        transcript::Transcript,
        wire::WireHandshake,
    },
    verdict::Judgement,
};

impl Connection {
    /// The report on this connection as judged. `carried_from` and `unseen` are left to the caller.
    #[must_use]
    pub fn report(
        &self,
        judgement: &Judgement,
        transcript: Option<&Transcript>,
        certificates: &mut CertificateMemory,
        is_final: bool,
    ) -> ConnectionReport {
        let mut report = ConnectionReport {
            connection: self.id,
            origin: self.origin.clone(),
            src: self.local.map(address_text).unwrap_or_default(),
            dst: address_text(self.upstream()),
            destination: self.destination,
            tunnel: self.uncommon.as_ref().and_then(|uncommon| uncommon.tunnel.clone()),
            opened_at: self.opened_at,
            decided_at: self.last_at,
            verdict: judgement.verdict,
            is_final,
            rule: judgement.rule.map(Word::Borrowed),
            carried_from: None,
            unseen: None,
            wire_client_auth: judgement.wire_client_auth,
            tls_version: None,
            offered_versions: Vec::new(),
            cipher: None,
            cryptography: CryptographyFacts::default(),
            sni: None,
            alpn: None,
            offered_alpn: Vec::new(),
            resumed: judgement.resumed,
            early_data: None,
            alert: None,
            server_certificate: None,
            server_certificate_absent: None,
            server_chain: None,
            client_certificate: None,
            client_certificate_absent: None,
            client_chain: None,
            requested_authorities: None,
            server_timestamps: 0,
            server_staple: None,
            verify_error: None,
            protocol: None,
            starttls: None,
            proxy_protocol: self.proxy_protocol.map(|version| version.as_str().into()),
        };
        match &self.phase {
            Phase::Tls { wire, starttls } => {
                report.starttls = starttls.map(|protocol| protocol.as_str().into());
                describe(&mut report, wire, transcript, certificates);
            }
            Phase::Plaintext(protocol)
            | Phase::Opaque(protocol)
            | Phase::Unfinished(protocol)
            | Phase::Greeted(protocol) => {
                report.protocol = Some(protocol.as_str().into());
            }
            Phase::Undecided | Phase::Opening | Phase::MidStream { .. } | Phase::TlsMidStream => {}
        }
        report
    }
}

fn describe(
    report: &mut ConnectionReport,
    wire: &WireHandshake,
    transcript: Option<&Transcript>,
    certificates: &mut CertificateMemory,
) {
    let facts = wire.facts();
    let shown = transcript.map(|transcript| &transcript.facts);
    if let Some(hello) = &facts.client_hello {
        report.offered_versions = hello.offered.versions().map(TlsVersion::name).collect();
        report.sni.clone_from(&hello.server_name);
        report.offered_alpn = hello.alpn.to_vec();
    }
    if let Some(hello) = &facts.server_hello {
        report.tls_version = Some(hello.version.name());
        report.cipher = Some(cipher_name(hello.cipher));
    }
    report.early_data = wire.offered_early_data().then_some(match shown {
        Some(shown) if shown.early_data_accepted => EarlyData::Accepted,
        Some(shown) if shown.encrypted_extensions => EarlyData::Refused,
        // A second ClientHello may not offer it again (RFC 8446 section 4.2.10).
        _ if facts.hello_retry_request => EarlyData::Refused,
        _ => EarlyData::Offered,
    });
    report.alpn = facts.alpn().or_else(|| shown?.alpn()).cloned();
    let server_chain =
        facts.server_certificate.as_ref().or_else(|| shown?.server_certificate.as_ref());
    (report.server_certificate, report.server_certificate_absent, report.server_chain) =
        slot(server_certificate(report, server_chain.map(|chain| &**chain), certificates));
    let client = facts.client_certificate.as_ref().or_else(|| shown?.client_certificate.as_ref());
    (report.client_certificate, report.client_certificate_absent, report.client_chain) =
        slot(client_certificate(report, client, certificates));
    let said = [Some(facts), shown].map(|facts| facts.and_then(|facts| facts.said.as_deref()));
    let said = || said.into_iter().flatten();
    report.requested_authorities = said().find_map(|said| said.authorities.clone());
    report.server_staple = said().find_map(|said| said.status.staple.clone());
    report.server_timestamps = said().map(|said| said.status.timestamps).max().unwrap_or_default();
    report.cryptography = cryptography(report, facts, shown);
    report.verify_error = transcript
        .and_then(|transcript| transcript.server_verification)
        .map(|verification| verification.error);
    let seen = wire.alert().map(|seen| (seen.sender, seen.description));
    let received = transcript
        .and_then(|transcript| transcript.alert_received)
        .map(|description| (Direction::ToClient, description));
    report.alert = seen.or(received).map(|(sender, code)| AlertFacts {
        from: match sender {
            Direction::ToServer => "client".into(),
            Direction::ToClient => "server".into(),
        },
        description: alert::name(code),
        code,
    });
}

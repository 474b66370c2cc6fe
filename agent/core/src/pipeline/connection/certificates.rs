//! The two certificates of a report, or why there is none.

use std::sync::Arc;

use crate::{
    model::{ClientAuth, Outcome},
    report::ConnectionReport,
    tls::{
        certificate::{CertificateMemory, Chain, Sent},
        certificate_facts::{CertificateAbsence, CertificateFacts},
        facts::ClientCertificate,
    },
};

/// What a report says of one side's certificate.
type CertificateSlot = Result<Sent, CertificateAbsence>;

/// The certificate and why there is none, of which a report has one, and the chain.
pub(super) fn slot(
    slot: CertificateSlot,
) -> (Option<Arc<CertificateFacts>>, Option<CertificateAbsence>, Option<Arc<Chain>>) {
    match slot {
        Ok(Sent { facts, chain }) => (Some(facts), None, chain),
        Err(absent) => (None, Some(absent), None),
    }
}

/// The upstream's certificate: of this chain, if one was seen.
pub(super) fn server_certificate(
    report: &ConnectionReport,
    chain: Option<&Chain>,
    certificates: &mut CertificateMemory,
) -> CertificateSlot {
    match chain {
        Some(chain) => certificates.sent(chain).map_err(|_| CertificateAbsence::Unreadable),
        None if report.resumed == Some(true) => Err(CertificateAbsence::NotSent),
        None => Err(not_there(report)),
    }
}

/// The proxy's certificate, where it proved that it is its own.
pub(super) fn client_certificate(
    report: &ConnectionReport,
    certificate: Option<&ClientCertificate>,
    certificates: &mut CertificateMemory,
) -> CertificateSlot {
    let client_auth = report.verdict.client_auth;
    match (certificate, client_auth) {
        (Some(ClientCertificate::Chain(chain)), ClientAuth::Presented) => {
            certificates.sent(chain).map_err(|_| CertificateAbsence::Unreadable)
        }
        (Some(ClientCertificate::Chain(_)), _) => Err(CertificateAbsence::Unproven),
        (Some(ClientCertificate::Compressed), _) => Err(CertificateAbsence::Compressed),
        (Some(ClientCertificate::Empty), _)
        | (None, ClientAuth::NotRequested | ClientAuth::RequestedNotPresented) => {
            Err(CertificateAbsence::NotSent)
        }
        (None, _) if report.resumed == Some(true) => Err(CertificateAbsence::NotSent),
        (None, _) => Err(not_there(report)),
    }
}

/// Why a certificate that may have been sent was not seen.
fn not_there(report: &ConnectionReport) -> CertificateAbsence {
    match (report.tls_version.as_deref(), report.verdict.outcome) {
        (Some("1.3"), _) => CertificateAbsence::Encrypted,
        // In the clear, and the handshake went on without one: an anonymous or pre-shared key suite.
        (Some(_), Outcome::Established) => CertificateAbsence::NotSent,
        _ => CertificateAbsence::NotSeen,
    }
}

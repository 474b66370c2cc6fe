//! Handshakes that lengths alone leave in doubt, explained by others of the same process with the
//! same server: see [`CertificateFlight`].

use super::{
    carried::{self, FullHandshakes},
    connection::Connection,
    owners::Owners,
    session::{Basis, Session, SessionKey},
};
use crate::{
    model::{ClientAuth, Evidence, Outcome, Reason, Timestamp},
    report::{ConnectionReport, Verdict},
    tls::flights::CertificateFlight,
    verdict::{Judgement, known},
};

/// The flight of a full handshake in one record, and whose it is.
fn flight_of(connection: &Connection, owners: &Owners) -> Option<(SessionKey, CertificateFlight)> {
    let flight = connection.certificate_flight()?;
    match Session::of(connection, owners)? {
        Session::Unnamed { key, basis: Basis::Certificates, .. } => Some((key, flight)),
        Session::Unnamed { .. } | Session::Named { .. } => None,
    }
}

/// Whether a handshake is in doubt that another may yet explain.
pub(super) fn is_in_doubt(judgement: &Judgement, connection: &Connection, owners: &Owners) -> bool {
    let verdict = judgement.verdict;
    verdict.outcome == Outcome::Established
        && (verdict.client_auth, verdict.reason) == (ClientAuth::Unknown, Some(Reason::Ambiguous))
        && matches!(flight_of(connection, owners), Some((_, CertificateFlight::Doubted(_))))
}

/// Says `presented` of a handshake in doubt that is like one which showed it.
pub(super) fn explain(
    judgement: &mut Judgement,
    connection: &Connection,
    full_handshakes: &FullHandshakes,
    at: Timestamp,
) {
    let owners = full_handshakes.owners();
    if !is_in_doubt(judgement, connection, owners) {
        return;
    }
    let verdict = judgement.verdict;
    if let Some((key, CertificateFlight::Doubted(length))) = flight_of(connection, owners)
        && full_handshakes.explains(&key, length, at)
    {
        let shown = known(ClientAuth::Presented, verdict.outcome, Evidence::Inferred);
        judgement.verdict = Verdict { server_verified: verdict.server_verified, ..shown };
        judgement.rule = Some(CertificateFlight::RULE);
        judgement.resumed = Some(false);
    }
}

/// Learns from the last report on a connection.
pub(super) fn learn(
    full_handshakes: &mut FullHandshakes,
    connection: &Connection,
    report: &ConnectionReport,
    at: Timestamp,
) {
    let is_established = report.is_established();
    let flight = flight_of(connection, full_handshakes.owners()).filter(|_| is_established);
    match (&flight, report.verdict.client_auth) {
        (Some((key, CertificateFlight::Doubted(length))), ClientAuth::Unknown) => {
            full_handshakes.doubt(key, *length, at);
            carried::doubt(full_handshakes, connection, report);
            return;
        }
        (Some((key, CertificateFlight::Shown(length))), ClientAuth::Presented) => {
            full_handshakes.note_flight(key, *length, at);
        }
        _ => {}
    }
    carried::learn(full_handshakes, connection, report);
}

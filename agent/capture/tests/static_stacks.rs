//! Recordings of real proxies whose TLS library is inside the program: what their probes showed
//! beside what crossed the wire.

#[path = "support/reports.rs"]
mod reports;

use std::path::PathBuf;

use hopsight_core::report::ConnectionReport;

fn recording(name: &str) -> Option<PathBuf> {
    let path = hopsight_test_support::shared().join("data/static").join(name);
    if path.exists() {
        return Some(path);
    }
    let why = format!("there is none at {}", path.display());
    hopsight_test_support::not_run("recordings of real proxies", &why);
    None
}

/// Port, verdict and verification of a finished connection.
fn line(report: &ConnectionReport) -> String {
    let port = report.dst.rsplit(':').next().unwrap_or_default();
    format!("{port} {} verified={}", reports::said(report), report.verdict.server_verified)
}

#[test]
fn envoy_1_40_is_seen_from_inside() {
    let Some(path) = recording("envoystatic.merged") else { return };
    let reports = reports::reports(&path);
    let finals: Vec<_> = reports.iter().filter(|report| report.is_final).collect();
    let lines: Vec<_> = finals.iter().map(|report| line(report)).collect();
    assert_eq!(
        lines,
        [
            "22000 tls not_requested established library verified=yes",
            "22001 mtls presented established library verified=yes",
            "22001 tls requested_not_presented established library verified=yes",
            "22000 tls not_requested established library verified=no",
            "22001 unknown{handshake_failed} unknown failed none verified=no",
            "22002 mtls presented established library verified=yes",
            "22002 tls requested_not_presented rejected library verified=yes",
            "22000 tls not_requested established library verified=yes",
        ]
    );
    let alert = finals[6].alert.as_ref().map(|alert| (alert.from.as_ref(), alert.code));
    assert_eq!(alert, Some(("server", 116)), "only the library sees it");
    check_certificates(&finals);
}

#[test]
fn caddy_2_11_is_seen_from_inside() {
    let Some(path) = recording("caddystatic.merged") else { return };
    let reports = reports::reports(&path);
    let finals: Vec<_> = reports.iter().filter(|report| report.is_final).collect();
    let lines: Vec<_> = finals.iter().map(|report| line(report)).collect();
    assert_eq!(
        lines,
        [
            "22000 tls not_requested established library verified=yes",
            "22001 mtls presented established library verified=yes",
            "22001 tls requested_not_presented established library verified=yes",
            "22000 tls not_requested established library verified=unknown",
            "22001 unknown{handshake_failed} unknown failed none verified=no",
            "22002 mtls presented established library verified=yes",
            "22002 tls requested_not_presented rejected library verified=yes",
            "22000 tls not_requested established library verified=yes",
        ]
    );
    check_certificates(&finals);
}

fn check_certificates(finals: &[&ConnectionReport]) {
    for report in finals.iter().filter(|report| line(report).contains("library")) {
        let name = line(report);
        let server = report.server_certificate.as_ref().map(|facts| facts.subject.as_str());
        assert_eq!(server, Some("CN=server.test"), "{name}");
        let client = report.client_certificate.as_ref().map(|facts| facts.subject.as_str());
        assert_eq!(client, name.contains(" presented").then_some("CN=client.test"), "{name}");
    }
}

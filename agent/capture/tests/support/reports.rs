//! What is reported of a capture, and a verdict in one line.

use std::path::Path;

use hopsight_capture::replay;
use hopsight_core::report::ConnectionReport;

/// Every report of a capture, in order.
pub fn reports(path: &Path) -> Vec<ConnectionReport> {
    let mut reports = Vec::new();
    let counts = replay::replay(path, replay::limits(), &mut |report| {
        reports.push(report);
        Ok(())
    });
    counts.unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    reports
}

/// Security with its reason, client authentication, outcome and evidence.
pub fn said(report: &ConnectionReport) -> String {
    let verdict = &report.verdict;
    let reason = verdict.reason.map_or(String::new(), |reason| format!("{{{reason}}}"));
    format!(
        "{}{reason} {} {} {}",
        verdict.security, verdict.client_auth, verdict.outcome, verdict.evidence
    )
}

//! A verdict in one line.

use hopsight::report::ConnectionReport;

/// Security with its reason, client authentication, outcome and evidence.
pub fn said(report: &ConnectionReport) -> String {
    let verdict = &report.verdict;
    let reason = verdict.reason.map_or(String::new(), |reason| format!("{{{reason}}}"));
    format!(
        "{}{reason} {} {} {}",
        verdict.security, verdict.client_auth, verdict.outcome, verdict.evidence
    )
}

//! As compilers write it: file, line, what is wrong, and below it what would mend it.

use super::Outcome;
use hopsight_posture::{
    hops::labels::printable,
    policy::lint::{Finding, State},
};

/// The findings, and a last line that sums up.
pub(super) fn render(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = Vec::new();
    if let Some(fault) = &outcome.fault {
        lines.push(format!("{}: refused: {}", fault.at, fault.text));
        lines.push(format!("{}: nothing was held against policy", outcome.configuration));
        return printed(&lines);
    }
    for finding in &outcome.lint.findings {
        lines.extend(of(finding));
    }
    lines.extend(outcome.remarks.iter().map(|one| format!("{}: note: {}", one.at, one.text)));
    for (policy, what) in &outcome.lint.not_judged {
        lines.push(format!("note: policy \"{policy}\": only connections show {what}"));
    }
    for (policy, _) in outcome.lint.policies.iter().filter(|(_, upstreams)| **upstreams == 0) {
        lines.push(format!("note: policy \"{policy}\" matches no upstream here"));
    }
    if outcome.lint.local > 0 {
        lines.push(format!("note: {} upstreams on this machine's sockets", outcome.lint.local));
    }
    if let Some(why) = outcome.nothing_matched {
        lines.push(format!("{}: {why}", outcome.configuration));
    }
    let count = |state| outcome.lint.count(state);
    lines.push(format!(
        "{}: {}, upstreams: {}, violations: {}, unknown: {}, exempt: {}",
        outcome.configuration,
        if outcome.passes { "passes" } else { "fails" },
        outcome.lint.upstreams.len(),
        count(State::Violation),
        count(State::Unknown),
        count(State::Exempt),
    ));
    printed(&lines)
}

fn of(finding: &Finding) -> Vec<String> {
    let Finding { state, rule, upstream, at, detail, .. } = finding;
    let mut lines = vec![format!("{at}: {state}: {}: {upstream}: {detail}", rule.as_str())];
    match (&finding.exemption, &finding.mend) {
        (Some(exemption), _) => lines.push(format!("    exempt, {exemption}")),
        (None, Some(mend)) => lines.extend(mend.lines().map(|line| format!("    {line}"))),
        (None, None) => {}
    }
    lines
}

/// Others may have chosen what is in them.
fn printed(lines: &[String]) -> String {
    let lines = lines.iter().map(|line| printable(line, usize::MAX) + "\n");
    lines.collect()
}

//! JUnit's XML: a test suite for each statement, a test case for itself, for each of its nodes that is
//! refused, and for each hop.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Outcome, Verified};
use crate::cli::lint::junit::escape;
use hopsight_posture::audit::refusal::Refusal;

/// Writes it.
pub(super) fn render(outcome: &Outcome) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for one in &outcome.statements {
        suite(&mut out, one);
    }
    out + "</testsuites>\n"
}

fn suite(out: &mut String, one: &Verified) {
    let mut cases: BTreeMap<(String, String), Vec<&Refusal>> = BTreeMap::new();
    cases.insert((String::new(), "statement".to_owned()), Vec::new());
    for label in &one.labels {
        cases.insert(label.clone(), Vec::new());
    }
    for refusal in &one.refusals {
        let node = refusal.node.as_deref().unwrap_or_default().to_owned();
        let name = match (&refusal.hop, node.is_empty()) {
            (Some(hop), _) => hop.to_string(),
            (None, false) => "node".to_owned(),
            (None, true) => "statement".to_owned(),
        };
        cases.entry((node, name)).or_default().push(refusal);
    }
    let failures = cases.values().filter(|refusals| !refusals.is_empty()).count();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  <testsuite name=\"hopsight verify {}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"0\">",
        escape(&one.file),
        cases.len(),
    );
    for ((node, name), refusals) in &cases {
        let class = if node.is_empty() { &one.file } else { node };
        let (class, name) = (escape(class), escape(name));
        let _ = writeln!(out, "    <testcase classname=\"{class}\" name=\"{name}\">");
        for refusal in refusals {
            let _ = writeln!(
                out,
                "      <failure type=\"{}\" message=\"{}\"></failure>",
                refusal.kind,
                escape(&refusal.detail)
            );
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n");
}

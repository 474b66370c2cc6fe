//! SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format), as far as code scanning shows it.

use std::{env, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Outcome;
use hopsight_posture::policy::{
    intent::Place,
    lint::{Finding, State},
};

/// The rule of what the proxy itself would refuse, and of a policy that matches nothing.
const REFUSED: &str = "refused";
const NOTHING_MATCHED: &str = "nothing_matched";

/// Writes it.
///
/// # Errors
/// Never in practice: it is JSON.
pub(super) fn render(outcome: &Outcome) -> anyhow::Result<String> {
    let here = env::current_dir().unwrap_or_default();
    let mut results = Vec::new();
    if let Some(fault) = &outcome.fault {
        results.push(result(REFUSED, "error", &fault.text, &location(&fault.at, &here)));
    }
    if let Some(why) = outcome.nothing_matched {
        let place = Place { file: outcome.configuration.as_str().into(), line: 0 };
        results.push(result(NOTHING_MATCHED, "error", why, &location(&place, &here)));
    }
    results.extend(outcome.lint.findings.iter().map(|one| of(one, outcome.allow_unknown, &here)));
    for remark in &outcome.remarks {
        results.push(result("note", "note", &remark.text, &location(&remark.at, &here)));
    }
    document(&results)
}

/// These results in a run of hopsight, with the rules that they name.
///
/// # Errors
/// Never in practice: it is JSON.
pub(in crate::cli) fn document(results: &[Value]) -> anyhow::Result<String> {
    let mut rules: Vec<_> = results.iter().filter_map(|one| one["ruleId"].as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<_> = rules.iter().map(|id| json!({ "id": id })).collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hopsight",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&document).context("write SARIF")? + "\n")
}

fn of(finding: &Finding, allow_unknown: bool, here: &Path) -> Value {
    let level = match finding.state {
        State::Violation => "error",
        State::Unknown if !allow_unknown => "error",
        State::Unknown => "warning",
        State::Exempt => "note",
    };
    let Finding { state, upstream, detail, .. } = finding;
    let mut text = format!("{upstream}: {detail}");
    if *state == State::Unknown {
        text = format!("{text} (unknown)");
    }
    if let Some(mend) = &finding.mend {
        text = format!("{text}\n{mend}");
    }
    let mut result = result(finding.rule.as_str(), level, &text, &location(&finding.at, here));
    if let Some(exemption) = &finding.exemption {
        result["suppressions"] = json!([{ "kind": "external", "justification": exemption }]);
    }
    result
}

fn result(rule: &str, level: &str, text: &str, location: &Value) -> Value {
    json!({ "ruleId": rule, "level": level, "message": { "text": text }, "locations": [location] })
}

/// A place, relative to the working directory where it is below it: scanners look for it there.
pub(in crate::cli) fn location(place: &Place, here: &Path) -> Value {
    let file = Path::new(&*place.file);
    let shown = file.strip_prefix(here).unwrap_or(file).to_string_lossy();
    let uri: String = shown.bytes().map(in_uri).collect();
    let uri = if uri.starts_with('/') { format!("file://{uri}") } else { uri };
    let mut physical = json!({ "artifactLocation": { "uri": uri } });
    if place.line > 0 {
        physical["region"] = json!({ "startLine": place.line });
    }
    json!({ "physicalLocation": physical })
}

/// A byte of a path in a URI (RFC 3986 section 2.3, and `/`).
fn in_uri(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    }
}

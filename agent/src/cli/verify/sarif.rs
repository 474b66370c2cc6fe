//! SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format): a result for each reason, at the file
//! of its statement.

use std::{collections::BTreeSet, env};

use anyhow::Context as _;
use serde_json::json;

use super::Outcome;
use crate::cli::lint::sarif::location;
use hopsight_core::policy::intent::Place;

/// Writes it.
///
/// # Errors
/// Never in practice: it is JSON.
pub(super) fn render(outcome: &Outcome) -> anyhow::Result<String> {
    let here = env::current_dir().unwrap_or_default();
    let mut results = Vec::new();
    let mut rules = BTreeSet::new();
    for one in &outcome.statements {
        let place = Place { file: one.file.as_str().into(), line: 0 };
        for refusal in &one.refusals {
            rules.insert(refusal.kind.as_str());
            results.push(json!({
                "ruleId": refusal.kind,
                "level": "error",
                "message": { "text": refusal.to_string() },
                "locations": [location(&place, &here)],
            }));
        }
    }
    let rules: Vec<_> = rules.into_iter().map(|id| json!({ "id": id })).collect();
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

//! SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format): a result for each reason, at the file
//! of its statement.

use std::env;

use serde_json::json;

use super::Outcome;
use crate::cli::lint::sarif::{document, location};
use hopsight_posture::policy::intent::Place;

/// Writes it.
///
/// # Errors
/// Never in practice: it is JSON.
pub(super) fn render(outcome: &Outcome) -> anyhow::Result<String> {
    let here = env::current_dir().unwrap_or_default();
    let mut results = Vec::new();
    for one in &outcome.statements {
        let place = Place { file: one.file.as_str().into(), line: 0 };
        for refusal in &one.refusals {
            results.push(json!({
                "ruleId": refusal.kind,
                "level": "error",
                "message": { "text": refusal.to_string() },
                "locations": [location(&place, &here)],
            }));
        }
    }
    document(&results)
}

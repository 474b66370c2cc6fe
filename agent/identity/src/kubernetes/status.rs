//! Conditions of a status, as far as they are known.

use serde::Deserialize;
use serde_json::Value;

use hopsight_posture::workload::standing::Conditions;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) observed_generation: Option<Value>,
}

/// What is said by those of these conditions that are asked for. One of an older generation of the
/// object is as good: what a controller has not looked at again is in force as it was.
pub(super) fn known(conditions: &[Condition], wanted: &[&'static str]) -> Conditions {
    let known = |kind: &&'static str| {
        let condition = conditions.iter().find(|one| one.kind == **kind)?;
        match condition.status.as_str() {
            "True" => Some((*kind, true)),
            "False" => Some((*kind, false)),
            _ => None,
        }
    };
    Conditions(wanted.iter().filter_map(known).collect())
}

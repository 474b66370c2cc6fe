//! Conditions of a status, as far as they are known.

use kube::api::ObjectMeta;
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
/// object is as good: what a controller has not looked at again is in force as it was. Where one is
/// `Unknown` the controller has not come to an end: that something is so counts for nothing then.
pub(super) fn known(conditions: &[Condition], wanted: &[&'static str]) -> Conditions {
    let said = |kind: &&'static str| {
        let condition = conditions.iter().find(|one| one.kind == **kind)?;
        let is_true = match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some((*kind, is_true))
    };
    let all: Vec<_> = wanted.iter().filter_map(said).collect();
    let is_open = all.iter().any(|(_, is_true)| is_true.is_none());
    let counts = |(kind, is_true): (_, Option<bool>)| {
        Some((kind, is_true.filter(|is_true| !is_open || !is_true)?))
    };
    Conditions(all.into_iter().filter_map(counts).collect())
}

/// A status as Istio writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    conditions: Vec<Condition>,
    observed_generation: Option<Value>,
}

/// What a status says of the object as it is now, by the conditions that are asked for: nothing, if the
/// controller has yet to say one of those that it has there (`Unknown`), or said it of an older object.
/// Where it does not say of which, an object that was changed may be another.
pub(super) fn current(
    meta: &ObjectMeta,
    status: Option<Status>,
    wanted: &[&'static str],
) -> Conditions {
    let Status { conditions, observed_generation } = status.unwrap_or_default();
    // The API has them as text, objects as numbers.
    let number = |of: &Value| of.as_i64().or_else(|| of.as_str()?.parse().ok());
    let is_now = |one: &Condition| {
        let observed = one.observed_generation.as_ref().or(observed_generation.as_ref());
        let observed = observed.map_or(Some(1), number);
        let is_said = matches!(one.status.as_str(), "True" | "False");
        is_said && (meta.generation.is_none() || observed == meta.generation)
    };
    let mut asked = conditions.iter().filter(|one| wanted.contains(&one.kind.as_str()));
    if asked.all(is_now) { known(&conditions, wanted) } else { Conditions::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use hopsight_posture::workload::standing::{OF_GATEWAY_API, OF_ISTIO};

    #[test]
    fn what_is_not_decided_promises_nothing() {
        for (case, accepted, resolved, expected) in [
            ("all is well", "True", "True", &[("Accepted", true), ("ResolvedRefs", true)][..]),
            ("one is not", "True", "False", &[("Accepted", true), ("ResolvedRefs", false)]),
            ("one is not decided", "True", "Unknown", &[]),
            ("one is not decided, and one is not", "Unknown", "False", &[("ResolvedRefs", false)]),
        ] {
            let one = |kind: &str, status: &str| Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                observed_generation: None,
            };
            let conditions = [one("Accepted", accepted), one("ResolvedRefs", resolved)];
            assert_eq!(known(&conditions, OF_GATEWAY_API).0, expected, "{case}");
        }
    }

    #[test]
    fn a_status_is_of_one_generation() {
        let reconciled = |status: &str, of: Value| json!({"type": "Reconciled", "status": status, "observedGeneration": of});
        let analysed =
            || json!({"type": "PassedAnalysis", "status": "True", "observedGeneration": "2"});
        let alone = || vec![json!({"type": "Reconciled", "status": "True"})];
        let beside = |one: Value| vec![one, analysed()];
        for (case, conditions, observed, generation, expected) in [
            ("as text", alone(), json!("2"), 2, true),
            ("as a number", alone(), json!(2), 2, true),
            ("of an older one", alone(), json!("1"), 2, false),
            ("of nobody knows which", alone(), Value::Null, 2, false),
            ("of the only one", alone(), Value::Null, 1, true),
            ("each of its own", beside(reconciled("True", json!(2))), Value::Null, 2, true),
            ("one of an older one", beside(reconciled("True", json!(1))), json!(2), 2, false),
            ("one not said yet", beside(reconciled("Unknown", json!(2))), json!(2), 2, false),
            ("one that is not so", beside(reconciled("False", json!(2))), json!(2), 2, false),
        ] {
            let status = json!({"conditions": conditions, "observedGeneration": observed});
            let status = serde_json::from_value(status).unwrap();
            let meta = ObjectMeta { generation: Some(generation), ..ObjectMeta::default() };
            assert_eq!(current(&meta, status, OF_ISTIO).are_good(), expected, "{case}");
        }
    }
}

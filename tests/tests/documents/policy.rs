//! POLICY.md and the chart's schema against the reader of policy files.

use std::{collections::BTreeSet, fs};

use hopsight_posture::policy::{exempt::PolicyDocument, rules::BUILT_IN};
use serde_json::Value;

use crate::{blocks, describes, document};

/// The keys that a table may have, as the message about an unknown one lists them.
fn keys(source: &str) -> Vec<String> {
    let message = PolicyDocument::parse(source).unwrap_err().message;
    let (_, known) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
    let keys: Vec<_> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(keys.len() >= 5, "{message}");
    keys
}

#[test]
fn every_example_is_a_policy_file() {
    let text = document("POLICY.md");
    let examples = blocks(&text, "toml");
    assert!(examples.len() >= 11, "the built-in policies and ten recipes: {}", examples.len());
    for example in &examples {
        PolicyDocument::parse(example).unwrap_or_else(|error| panic!("{error} in\n{example}"));
    }
    let recipes = text.lines().filter(|line| line.starts_with("## ") && line.contains(". "));
    assert!(recipes.count() >= 10);
}

const OF_A_POLICY: &str = "[[policies]]\nrequire = \"tls\"\nno-such-key = 1\n";
const OF_AN_EXEMPTION: &str = "[[exempt]]\nno-such-key = 1\n";
const OF_A_MATCH: &str = "[[policies]]\nrequire = \"tls\"\nmatch.no-such-key = 1\n";

#[test]
fn every_key_is_described() {
    let text = document("POLICY.md");
    for key in keys(OF_A_POLICY) {
        assert!(describes(&text, &key), "{key} is not in POLICY.md");
    }
    for key in keys(OF_AN_EXEMPTION) {
        assert!(describes(&text, &format!("exempt.{key}")), "exempt.{key} is not in POLICY.md");
    }
    for key in keys(OF_A_MATCH) {
        assert!(describes(&text, &format!("match.{key}")), "match.{key} is not in POLICY.md");
    }
}

#[test]
fn the_built_in_policies_are_those_of_the_code() {
    let policies = BUILT_IN.split_once("\n\n").unwrap().1;
    let text = document("POLICY.md");
    assert!(
        blocks(&text, "toml").contains(&policies),
        "POLICY.md shows other ones than\n{policies}"
    );
}

/// What Helm refuses in `policy` is what the agent would refuse.
#[test]
fn the_chart_knows_every_key() {
    let path = format!("{}/../agent/deploy/chart/values.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let tables = &schema["properties"]["policy"]["properties"];
    let (policy, exemption) = (&tables["policies"]["items"], &tables["exempt"]["items"]);
    for (schema, source) in [
        (policy, OF_A_POLICY),
        (exemption, OF_AN_EXEMPTION),
        (&policy["properties"]["match"], OF_A_MATCH),
        (&exemption["properties"]["match"], OF_A_MATCH),
    ] {
        let known: BTreeSet<_> =
            schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(known, keys(source).into_iter().collect());
        assert_eq!(schema["additionalProperties"], false);
    }
}

//! CONFIGURATION.md and the chart's schema against the documented configuration file.

use std::{collections::BTreeSet, fs};

use hopsight::config::DEFAULT_FILE;
use serde_json::Value;

use crate::document;

/// Every key of the file with its section in front, and what it is set to; nothing where it is
/// absent by default. A value of several lines is its first.
fn keys() -> Vec<(String, Option<&'static str>)> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let (is_absent, line) = match line.strip_prefix("# ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            keys.push((format!("{section}.{key}"), (!is_absent).then_some(value)));
        }
    }
    keys
}

#[test]
fn every_key_is_described_with_its_default() {
    let text = document("CONFIGURATION.md");
    let keys = keys();
    assert!(keys.len() >= 50, "{keys:?}");
    for (key, value) in &keys {
        let begin = format!("| `{key}` | ");
        let line = text.lines().find_map(|line| line.strip_prefix(&begin));
        let line = line.unwrap_or_else(|| panic!("{key} is not in CONFIGURATION.md"));
        match value {
            None => assert!(line.starts_with("absent |"), "{key}: {line}"),
            // The list of proxies is too long for a table.
            Some(value) if value.starts_with('[') && *value != "[]" => {}
            Some(value) => assert!(line.starts_with(&format!("`{value}` |")), "{key}: {line}"),
        }
    }
    let described = text.lines().filter(|line| line.starts_with("| `") && line.contains('.'));
    let unknown: Vec<_> = described
        .filter_map(|line| line.split('`').nth(1))
        .filter(|key| key.contains('.') && !keys.iter().any(|(known, _)| known == key))
        .collect();
    assert!(unknown.is_empty(), "CONFIGURATION.md has keys that do not exist: {unknown:?}");
}

/// What Helm refuses in `config` is what the agent would refuse.
#[test]
fn the_chart_knows_every_key() {
    let path = format!("{}/../agent/deploy/chart/values.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut known = BTreeSet::new();
    properties(&schema["properties"]["config"], "", &mut known);
    let keys: BTreeSet<_> = keys().into_iter().map(|(key, _)| key).collect();
    let different: Vec<_> = known.symmetric_difference(&keys).collect();
    assert!(different.is_empty(), "the chart or the agent alone knows {different:?}");
}

/// The keys of a schema with their sections in front.
fn properties(schema: &Value, section: &str, into: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().unwrap() {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        assert!(property["type"] != "object" || property["additionalProperties"] == false, "{key}");
        if property["type"] == "object" {
            properties(property, &key, into);
        } else {
            into.insert(key);
        }
    }
}

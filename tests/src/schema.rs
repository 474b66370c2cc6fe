//! The JSON that the agent writes, against its schemas in `agent/docs`.
//!
//! Whatever a test gets of an agent comes by one of three ways, and each validates: HTTP
//! ([`crate::http`]), the file of events ([`crate::agent::Agent`], when it is dropped), and what
//! commands print (`src/bin/agent.rs`). Here, other than in the world, nothing may be said that its
//! schema does not know.

use std::{error::Error, sync::OnceLock};

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;

/// Problems of one document that are told.
const MAX_TOLD: usize = 8;

/// What the agent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `/hops`, of an agent and of a fleet.
    Hops,
    /// A line of the file of events.
    Event,
    /// `hopsight inventory`.
    Inventory,
    /// `hopsight report`.
    Report,
    /// What `hopsight attest` states.
    Account,
    /// `/readyz`.
    Readiness,
    /// `/hop` of a fleet.
    FleetHop,
    /// `hopsight check`.
    Check,
    /// `hopsight intent`.
    Intent,
    /// `hopsight lint`.
    Lint,
    /// `hopsight verify`.
    Verify,
    /// A line of `hopsight replay`.
    Replayed,
}

impl Document {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 12] = [
        Self::Hops,
        Self::Event,
        Self::Inventory,
        Self::Report,
        Self::Account,
        Self::Readiness,
        Self::FleetHop,
        Self::Check,
        Self::Intent,
        Self::Lint,
        Self::Verify,
        Self::Replayed,
    ];

    /// The schema, as a reference.
    const fn schema(self) -> &'static str {
        match self {
            Self::Hops => "hops.schema.json",
            Self::Event => "events.schema.json",
            Self::Inventory => "inventory.schema.json",
            Self::Report => "report.schema.json",
            Self::Account => "account.schema.json",
            Self::Readiness => "commands.schema.json#/$defs/readiness",
            Self::FleetHop => "commands.schema.json#/$defs/fleet_hop",
            Self::Check => "commands.schema.json#/$defs/check",
            Self::Intent => "commands.schema.json#/$defs/intent",
            Self::Lint => "commands.schema.json#/$defs/lint",
            Self::Verify => "commands.schema.json#/$defs/verify",
            Self::Replayed => "commands.schema.json#/$defs/replayed",
        }
    }

    /// What is behind a path of an agent's or a fleet's HTTP server, if that has a schema.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path.split('?').next()? {
            "/hops" => Some(Self::Hops),
            "/hop" => Some(Self::FleetHop),
            "/readyz" => Some(Self::Readiness),
            _ => None,
        }
    }

    /// What the command line prints with these arguments, if that is JSON of ours.
    #[must_use]
    pub fn of_command(arguments: &[String]) -> Option<Self> {
        let command = arguments.iter().find(|word| !word.starts_with('-'))?;
        let names = ["-o", "--output", "--format"];
        let mut formats = arguments.iter().zip(arguments.iter().skip(1));
        let separate = formats.find(|(name, _)| names.contains(&name.as_str()));
        let joined = arguments.iter().filter_map(|word| word.split_once('='));
        let mut joined = joined.filter(|(name, _)| names.contains(name)).map(|(_, format)| format);
        let format = separate.map(|(_, format)| format.as_str()).or_else(|| joined.next_back());
        match (command.as_str(), format) {
            ("inventory", None | Some("json")) => Some(Self::Inventory),
            ("hops", Some("json")) => Some(Self::Hops),
            ("report", Some("json")) => Some(Self::Report),
            ("check", Some("json")) => Some(Self::Check),
            ("intent", Some("json")) => Some(Self::Intent),
            ("lint", Some("json")) => Some(Self::Lint),
            ("verify", Some("json")) => Some(Self::Verify),
            ("replay", Some("json")) => Some(Self::Replayed),
            _ => None,
        }
    }

    /// What is wrong with a document, each with its place; nothing if it is valid.
    #[must_use]
    pub fn problems(self, document: &Value) -> Vec<String> {
        static KNOWN: [OnceLock<Validator>; Document::ALL.len()] =
            [const { OnceLock::new() }; Document::ALL.len()];
        let validator = KNOWN[self as usize].get_or_init(|| validator(self.schema()));
        let told = validator.iter_errors(document).take(MAX_TOLD);
        told.map(|error| {
            let mut what = error.to_string();
            what.truncate(what.floor_char_boundary(500));
            format!("{self:?} at {:?}: {what}", error.instance_path().to_string())
        })
        .collect()
    }

    /// The same of text that is one document, or for [`Document::Event`] and
    /// [`Document::Replayed`] one on each line.
    #[must_use]
    pub fn problems_of_text(self, text: &str) -> Vec<String> {
        let of = |part: &str| match serde_json::from_str(part) {
            Ok(value) => self.problems(&value),
            Err(error) => vec![format!("{self:?} is no JSON: {error}: {part:.500}")],
        };
        match self {
            Self::Event | Self::Replayed => text.lines().flat_map(of).take(MAX_TOLD).collect(),
            _ => of(text),
        }
    }
}

fn validator(reference: &str) -> Validator {
    let schema = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": reference,
    });
    let built = jsonschema::options().with_retriever(Files).build(&schema);
    built.unwrap_or_else(|error| panic!("{reference} is no schema: {error}"))
}

/// Schemas by their file names. Tests also run on machines that have nothing of the project but them.
struct Files;

/// A schema of `agent/docs`, with its file's name.
macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../agent/docs/", $name)))
    };
}

const FILES: [(&str, &str); 6] = [
    file!("account.schema.json"),
    file!("commands.schema.json"),
    file!("events.schema.json"),
    file!("hops.schema.json"),
    file!("inventory.schema.json"),
    file!("report.schema.json"),
];

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let name = uri.as_str().rsplit('/').next().unwrap_or_default();
        let file = FILES.iter().find(|(known, _)| *known == name);
        let (_, text) = file.ok_or_else(|| format!("there is no schema {name}"))?;
        let mut schema = serde_json::from_str(text)?;
        close(&mut schema);
        Ok(schema)
    }
}

/// Allows no fields but those that a schema names.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            let is_object = object.get("type").is_some_and(|kind| kind == "object");
            if is_object && object.contains_key("properties") {
                object.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_schema_is_one_and_refuses_what_it_does_not_know() {
        for (number, document) in Document::ALL.into_iter().enumerate() {
            assert_eq!(document as usize, number);
            assert!(!document.problems(&json!({"nobody_knows": 1})).is_empty(), "{document:?}");
        }
        let ready = json!({"ready": true, "components": {"x": {"state": "ready", "detail": ""}}});
        assert_eq!(Document::Readiness.problems(&ready), [""; 0]);
        for (pointer, value) in [
            ("/components/x/state", json!("excellent")),
            ("/ready", json!("yes")),
            ("/components/x", json!({"state": "ready", "detail": "", "more": 1})),
        ] {
            let mut wrong = ready.clone();
            *wrong.pointer_mut(pointer).expect("a place") = value;
            assert_eq!(Document::Readiness.problems(&wrong).len(), 1, "{pointer}");
        }
    }

    #[test]
    fn commands_are_known_by_their_arguments() {
        for (line, wanted) in [
            ("hops -o json --address a:1", Some(Document::Hops)),
            ("hops --address a:1", None),
            ("--color=never hops --output=json", Some(Document::Hops)),
            ("hops -o yaml", None),
            ("inventory", Some(Document::Inventory)),
            ("inventory --format cyclonedx", None),
            ("report a.json", None),
            ("replay a.pcap -o json", Some(Document::Replayed)),
            ("run --events -", None),
            ("", None),
        ] {
            let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Document::of_command(&arguments), wanted, "{line}");
        }
    }
}

//! Documents of `agent/docs`: what they say of the code is what the code does.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]

mod attest;
mod commands;
mod configuration;
mod drift;
mod intent;
mod inventory;
mod json;
mod links;
mod picture;
mod policy;
mod report;

use std::{fs, path::Path};

/// The text of a document.
fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// What stands in the code blocks of a language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    document.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Whether a table of the document has a line about `key`.
fn describes(document: &str, key: &str) -> bool {
    let begin = format!("| `{key}` |");
    document.lines().any(|line| line.starts_with(&begin))
}

//! Snippets, put where they say.

use serde_json::Value;

/// Sets what `new` sets, at any depth; lists and values take the place of what was there.
pub(super) fn merge(into: &mut Value, new: Value) {
    match (into, new) {
        (Value::Object(into), Value::Object(new)) => {
            for (key, value) in new {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, new) => *into = new,
    }
}

/// Removes the members of this name, at any depth.
pub(super) fn remove(from: &mut Value, name: &str) {
    match from {
        Value::Object(members) => {
            members.remove(name);
            members.values_mut().for_each(|value| remove(value, name));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| remove(value, name)),
        _ => {}
    }
}

/// What a snippet says to leave out, line by line; and the others.
pub(super) fn parts(snippet: &str) -> (Vec<&str>, String) {
    let (said, written): (Vec<_>, Vec<_>) =
        snippet.lines().partition(|line| line.trim_start().starts_with('#'));
    let without = said.iter().filter_map(|line| line.trim_start().strip_prefix("# without: "));
    (without.collect(), written.join("\n"))
}

//! YAML, for scripts that read it.
//!
//! Only what JSON values need: block mappings and sequences, scalars as JSON writes them, which is
//! valid YAML 1.2. That is less than a YAML crate brings, of which none is kept up that also
//! writes.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// `value` as a YAML document.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out).expect("a String takes any text");
    out
}

/// Writes `value` as lines indented by `depth`, ending with a line break.
fn write(value: &Value, depth: usize, out: &mut String) -> fmt::Result {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                write!(out, "{indent}{}:", Value::from(key.as_str()))?;
                write_after_mark(value, depth, out)?;
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                write!(out, "{indent}-")?;
                write_after_mark(item, depth, out)?;
            }
        }
        scalar => writeln!(out, "{indent}{scalar}")?,
    }
    Ok(())
}

/// A scalar stays on the line of its key or dash, a collection begins on the next.
fn write_after_mark(value: &Value, depth: usize, out: &mut String) -> fmt::Result {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        write(value, depth + 1, out)
    } else {
        writeln!(out, " {value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        let value = serde_json::json!({
            "at": 1.5, "none": null, "empty": [], "text": "a: \"b\"\n#",
            "hops": [{"proxy": "nginx", "list": [1, true]}, {}],
        });
        let want = "\"at\": 1.5\n\"empty\": []\n\"hops\":\n  -\n    \"list\":\n      - 1\n      - true\n    \
                    \"proxy\": \"nginx\"\n  - {}\n\"none\": null\n\"text\": \"a: \\\"b\\\"\\n#\"\n";
        assert_eq!(to_yaml(&value), want);
    }
}

//! Bounds on JSON and YAML of strangers: a structure that is read of it may take many times its bytes.

use hopsight_posture::hops::labels;

/// Objects and lists in one text, and what separates their members. A mesh of 5,000 clusters stays
/// below.
const MAX_OBJECTS: usize = 300_000;
const MAX_MEMBERS: usize = 2_000_000;
/// How deep objects and lists may lie in one another: Go refuses more (`maxNestingDepth` of its
/// `encoding/json`), and protobuf takes less.
const MAX_DEPTH: usize = 10_000;
/// Bytes of a YAML text, in which those are not told apart so easily.
const MAX_YAML: usize = 2 << 20;
/// Bytes of a message about it, which may repeat parts of it.
const MAX_WORDS: usize = 512;

/// Whether a text of JSON may be read.
///
/// # Errors
/// When it has more in it than is taken.
pub(crate) fn check(json: &[u8]) -> anyhow::Result<()> {
    let count = |of: &[u8]| json.iter().filter(|byte| of.contains(byte)).count();
    let is_small = count(b"{[") <= MAX_OBJECTS && count(b",") <= MAX_MEMBERS;
    anyhow::ensure!(is_small, "it has more than {MAX_OBJECTS} objects or {MAX_MEMBERS} members");
    anyhow::ensure!(!is_deeper_than(json, MAX_DEPTH), "it is nested more than {MAX_DEPTH} deep");
    Ok(())
}

/// Whether objects and lists lie in more than `limit` others. What stands in texts is none.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if std::mem::take(&mut is_escaped) => {}
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

/// Whether a text of YAML may be read.
///
/// # Errors
/// When it is longer than is taken.
pub(crate) fn check_yaml(yaml: &[u8]) -> anyhow::Result<()> {
    anyhow::ensure!(yaml.len() <= MAX_YAML, "it is longer than {} MiB", MAX_YAML >> 20);
    Ok(())
}

/// What is wrong, in words of bounded length.
pub(crate) fn words(error: &anyhow::Error) -> String {
    labels::printable(&format!("{error:#}"), MAX_WORDS).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_many_times_its_bytes_is_not_read() {
        assert!(check(b"{\"a\": [1, 2]}").is_ok());
        assert!(check(&b"{},".repeat(MAX_OBJECTS + 1)).is_err());
        assert!(check(&b"1,".repeat(MAX_MEMBERS + 1)).is_err());
        for (of, is_read) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            let nested = "{\"a\":".repeat(of) + "1" + &"}".repeat(of);
            assert_eq!(check(nested.as_bytes()).is_ok(), is_read, "{of}");
        }
        let text = format!(r#"{{"a": "{}\"{}"}}"#, "[".repeat(MAX_DEPTH), "{".repeat(MAX_DEPTH));
        assert!(check(text.as_bytes()).is_ok(), "a text is not nested");
        assert!(check_yaml(&b"- {}\n".repeat(1_000)).is_ok());
        assert!(check_yaml(&b"- {}\n".repeat(1_000_000)).is_err());
        let long = anyhow::anyhow!("\u{1b}[31m{}", "a".repeat(10_000));
        assert!(words(&long).len() <= MAX_WORDS && !words(&long).contains('\u{1b}'));
    }
}

//! Lines and words, by the rules of Apache's `ap_varbuf_cfg_getline`, `ap_resolve_env` and
//! `ap_getword_conf` (`server/util.c`, `server/core.c`).

use std::borrow::Cow;

use crate::policy::environment::{Environment, Variable};

/// The lines of a file with their numbers: without space around, and one that ends with a backslash
/// together with the next. As in Apache's own messages such a line has the number of its last part.
pub(super) fn lines(text: &str) -> Vec<(u32, String)> {
    let mut out = Vec::new();
    let mut begun = String::new();
    let mut last = 0;
    for (number, part) in (1..).zip(text.lines()) {
        last = number;
        if let Some(continued) = part.strip_suffix('\\') {
            begun.push_str(continued);
            continue;
        }
        begun.push_str(part);
        out.push((number, std::mem::take(&mut begun)));
    }
    if !begun.is_empty() {
        out.push((last, begun));
    }
    let trimmed = |(number, line): (u32, String)| (number, line.trim().to_owned());
    out.into_iter()
        .map(trimmed)
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Replaces `${NAME}`; what is not defined, or not known, stays as it is.
pub(super) fn expand<'a>(line: &'a str, variables: &Environment) -> Cow<'a, str> {
    if !line.contains("${") {
        return Cow::Borrowed(line);
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = reference.find('}') else {
            rest = reference;
            break;
        };
        let (raw, after) = reference.split_at(end + 1);
        match variables.get(&raw[2..end]) {
            Variable::Set(value) => out.push_str(value),
            Variable::Unset | Variable::Unknown => out.push_str(raw),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The first word of a text, without its quotes, and what follows.
pub(super) fn word(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next()?;
    if !matches!(quote, '"' | '\'') {
        let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
        return Some((text[..end].to_owned(), text[end..].trim_start()));
    }
    let mut out = String::new();
    let mut rest = text[1..].char_indices();
    while let Some((at, c)) = rest.next() {
        let after = &text[1 + at + c.len_utf8()..];
        match c {
            '\\' if after.starts_with([quote, '\\']) => {
                out.extend(rest.next().map(|(_, escaped)| escaped));
            }
            c if c == quote => return Some((out, after.trim_start())),
            c => out.push(c),
        }
    }
    // A quote that is never closed reaches to the end.
    Some((out, ""))
}

/// All words of a text.
pub(super) fn words(mut text: &str) -> Vec<String> {
    let mut out = Vec::new();
    while let Some((one, rest)) = word(text) {
        out.push(one);
        text = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_apache() {
        let text = "  A b  \n# none\n\nC \\\n  d \\\n e\n#x \\\nstill a comment\nF\\";
        let expected = [(1, "A b"), (6, "C   d  e"), (9, "F")];
        let expected = expected.map(|(number, line)| (number, line.to_owned()));
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn words_are_those_of_apache() {
        for (text, expected) in [
            ("a b  c", &["a", "b", "c"][..]),
            (r#""a b" 'c "d"' e"#, &["a b", "c \"d\"", "e"]),
            (r#""a \"b\" \\ \n""#, &[r#"a "b" \ \n"#]),
            (r#"a"b c"d"#, &["a\"b", "c\"d"]),
            (r#""" x"#, &["", "x"]),
            (r#""never closed"#, &["never closed"]),
            ("  ", &[]),
            ("'\u{e4} \u{e4}' \\", &["\u{e4} \u{e4}", "\\"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_are_replaced_where_they_are_defined() {
        let known = Environment::of_process([("HOST".to_owned(), "10.0.0.1".to_owned())]);
        for (text, expected) in [
            ("https://${HOST}:443", "https://10.0.0.1:443"),
            ("${NO}/${HOST}", "${NO}/10.0.0.1"),
            ("$HOST %{HOST} ${HOST", "$HOST %{HOST} ${HOST"),
            ("a$", "a$"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
        assert_eq!(expand("${HOST}", &Environment::unknown()), "${HOST}");
    }
}

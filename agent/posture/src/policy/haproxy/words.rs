//! Splits a line into words, by the rules of section 2.2 of haproxy's configuration manual
//! ("Quoting and escaping") and 2.3 ("Environment variables").

use super::{error::Problem, reference::Reference};
use crate::policy::environment::{Environment, Variable};

/// Bytes of a line once its variables are replaced. haproxy has room for 2,048.
const MAX_LINE: usize = 16 << 10;

/// The words of a line, without its comment.
pub(super) fn split(line: &str, environment: &Environment) -> Result<Vec<String>, Problem> {
    let mut words = Words::default();
    let mut quote = None;
    let mut rest = line.chars();
    loop {
        let here = rest.as_str();
        let Some(c) = rest.next() else { break };
        if words.bytes > MAX_LINE {
            return Err(Problem::TooMuch { what: "bytes in one line", limit: MAX_LINE });
        }
        match (quote, c) {
            (None, '#') => break,
            (None, c) if c.is_ascii_whitespace() => words.end(),
            (None, '"' | '\'') => {
                words.begin();
                quote = Some(c);
            }
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                let (value, used) = escaped(&here[1..], quote.is_some());
                words.push(value);
                rest = here[1 + used..].chars();
            }
            (Some('"'), '$') => match Reference::read(here) {
                Some(reference) => {
                    words.push_value(&reference, environment);
                    rest = here[reference.raw.len()..].chars();
                }
                None if here.starts_with("${") && !here.contains('}') => {
                    return Err(Problem::Unclosed('{'));
                }
                None => words.push('$'),
            },
            (_, c) => words.push(c),
        }
    }
    if let Some(open) = quote {
        return Err(Problem::Unclosed(open));
    }
    words.end();
    Ok(words.done)
}

/// What a backslash before `text` stands for, and how many bytes of `text` belong to it.
fn escaped(text: &str, in_quotes: bool) -> (char, usize) {
    let hex = || u8::from_str_radix(text.get(1..3)?, 16).ok();
    match text.chars().next() {
        Some(c @ (' ' | '\\' | '#' | '"' | '\'')) => (c, 1),
        Some('$') if in_quotes => ('$', 1),
        Some('n') => ('\n', 1),
        Some('r') => ('\r', 1),
        Some('t') => ('\t', 1),
        Some('x') => match hex() {
            Some(byte) => (char::from(byte), 3),
            None => ('\\', 0),
        },
        _ => ('\\', 0),
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: Option<String>,
    bytes: usize,
}

impl Words {
    fn begin(&mut self) -> &mut String {
        self.word.get_or_insert_default()
    }

    fn end(&mut self) {
        self.done.extend(self.word.take());
    }

    fn push(&mut self, c: char) {
        self.bytes += c.len_utf8();
        self.begin().push(c);
    }

    fn push_value(&mut self, reference: &Reference<'_>, environment: &Environment) {
        let value = environment.value(reference);
        self.bytes += value.len();
        let is_known = environment.get(reference.name) != Variable::Unknown;
        if !(reference.is_list && is_known) {
            self.begin().push_str(&value);
            return;
        }
        for (position, part) in value.split_ascii_whitespace().enumerate() {
            if position > 0 {
                self.end();
            }
            self.begin().push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_haproxy_does() {
        let environment = Environment::of_process(
            [("HOST", "10.0.0.1"), ("LIST", "ssl verify none"), ("EMPTY", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        for (line, expected) in [
            ("  server a 10.0.0.1:80 # comment", &["server", "a", "10.0.0.1:80"][..]),
            ("a b#c d", &["a", "b"]),
            (r"a\ b 'c d' ", &["a b", "c d"]),
            (r#"a "b 'c'" 'd "e"'"#, &["a", "b 'c'", "d \"e\""]),
            (r#"x"y z"w"#, &["xy zw"]),
            (
                r#""$HOST:443" "${HOST}x" $HOST '$HOST' "\$HOST""#,
                &["10.0.0.1:443", "10.0.0.1x", "$HOST", "$HOST", "$HOST"],
            ),
            (r#"s "${LIST[*]}" e"#, &["s", "ssl", "verify", "none", "e"]),
            (r#""${LIST}""#, &["ssl verify none"]),
            (r#""${NO-fallback}" "${NO}" "$EMPTY""#, &["fallback", "", ""]),
            (r"\x41\# \q \t", &["A#", r"\q", "\t"]),
            ("# nothing", &[]),
            ("\u{e4}\\\u{e4} '\u{e4}'", &["\u{e4}\\\u{e4}", "\u{e4}"]),
        ] {
            assert_eq!(split(line, &environment).unwrap(), expected, "{line}");
        }
        for (line, problem) in [
            ("a 'b", Problem::Unclosed('\'')),
            ("a \"b", Problem::Unclosed('"')),
            ("a \"${b", Problem::Unclosed('{')),
        ] {
            assert_eq!(split(line, &environment).unwrap_err(), problem, "{line}");
        }
        let long = "\"$HOST\"".repeat(4_000);
        assert!(matches!(split(&long, &environment), Err(Problem::TooMuch { .. })));
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        let words = split(r#"crt "${DIR}/a.pem" "${OPTIONS[*]}""#, &Environment::unknown());
        assert_eq!(words.unwrap(), ["crt", "${DIR}/a.pem", "${OPTIONS[*]}"]);
    }
}

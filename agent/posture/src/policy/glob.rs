//! Shell patterns: `*`, `?` and bracket expressions, as POSIX `fnmatch` defines them.

/// Whether `text` as a whole matches `pattern`.
///
/// `*` matches any run of characters, `?` any one character, `[a-z]` one of a set and `[!a-z]`
/// (or `[^a-z]`) one outside of it; `\` takes the next character literally. A `[` that is never
/// closed stands for itself. Takes time proportional to the product of both lengths at worst.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` has to swallow one more byte.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match single(&pattern[p..], text, t) {
            Step::Star => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Step::Matched { pattern_len, text_len } => {
                p += pattern_len;
                t += text_len;
            }
            Step::Differs => {
                let Some((after_star, from)) = retry else { return false };
                let next = from + char_len(text, from);
                retry = Some((after_star, next));
                (p, t) = (after_star, next);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether `pattern` has any character with a meaning of its own.
#[must_use]
pub fn is_pattern(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

enum Step {
    Star,
    Matched { pattern_len: usize, text_len: usize },
    Differs,
}

/// Matches the first element of `pattern` against the character of `text` at `t`.
fn single(pattern: &[u8], text: &[u8], t: usize) -> Step {
    let literal = |byte: u8, pattern_len| {
        if text[t] == byte { Step::Matched { pattern_len, text_len: 1 } } else { Step::Differs }
    };
    match pattern {
        [] => Step::Differs,
        [b'*', ..] => Step::Star,
        [b'?', ..] => Step::Matched { pattern_len: 1, text_len: char_len(text, t) },
        [b'[', rest @ ..] => match set(rest, text[t]) {
            Some((true, len)) => Step::Matched { pattern_len: len + 1, text_len: 1 },
            Some((false, _)) => Step::Differs,
            None => literal(b'[', 1),
        },
        [b'\\', byte, ..] => literal(*byte, 2),
        [byte, ..] => literal(*byte, 1),
    }
}

/// Whether `byte` is in the bracket expression that begins after `[`, and how long that is up to
/// and including its `]`. `None` if it is never closed.
fn set(expression: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(expression.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut found = false;
    loop {
        let low = *expression.get(at)?;
        if low == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        let high = match expression.get(at + 1..at + 3) {
            Some(&[b'-', high]) if high != b']' => {
                at += 2;
                high
            }
            _ => low,
        };
        found |= (low..=high).contains(&byte);
        at += 1;
    }
}

/// Length of the UTF-8 character of `text` that begins at `at`.
fn char_len(text: &[u8], at: usize) -> usize {
    1 + text[at + 1..].iter().take_while(|&&byte| byte & 0xC0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("pay*", "payments", true),
            ("pay*", "repay", false),
            ("*.conf", "site.conf", true),
            ("*.conf", "site.conf.bak", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXcYYb", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("host-?", "host-1", true),
            ("host-?", "host-", false),
            ("?", "ü", true),
            ("[0-9]*.conf", "10-api.conf", true),
            ("[!0-9]*.conf", "10-api.conf", false),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[abc", "[abc", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("literal", "literal", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }
}

//! Macros (`mod_macro`): lines in which parameters are replaced where the macro is used.

use super::{
    directive::Directive,
    error::{ConfigError, Problem},
};

/// Bytes that the lines of a macro may have once its parameters are replaced.
const MAX_BYTES: usize = 1 << 20;
const MAX_PARAMETERS: usize = 100;

/// Lines with their numbers.
type Lines = Vec<(u32, String)>;

/// A macro.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) parameters: Vec<String>,
    pub(super) lines: Lines,
}

impl Macro {
    /// Its lines as they are where `Use` gives these arguments.
    pub(super) fn used(&self, at: &Directive, arguments: &[String]) -> Result<Lines, ConfigError> {
        let too_much = |what, limit| at.error(Problem::TooMuch { what, limit });
        if self.parameters.len() > MAX_PARAMETERS {
            return Err(too_much("parameters of one macro", MAX_PARAMETERS));
        }
        if arguments.len() != self.parameters.len() {
            return Err(at.arguments("as many arguments as the macro has parameters"));
        }
        let mut pairs: Vec<_> = self.parameters.iter().zip(arguments).collect();
        // Of two that fit the longer one counts.
        pairs.sort_by_key(|(parameter, _)| std::cmp::Reverse(parameter.len()));
        pairs.retain(|(parameter, _)| !parameter.is_empty());
        let mut left = MAX_BYTES;
        let mut lines = Vec::new();
        for (number, line) in &self.lines {
            let line = replaced(line, &pairs, left)
                .ok_or_else(|| too_much("bytes in one macro", MAX_BYTES))?;
            left -= line.len();
            lines.push((*number, line));
        }
        Ok(lines)
    }
}

/// A line with its parameters replaced; `None` if it gets longer than `limit`.
fn replaced(line: &str, pairs: &[(&String, &String)], limit: usize) -> Option<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let found = pairs.iter().find(|(parameter, _)| rest.starts_with(parameter.as_str()));
        if let Some((parameter, argument)) = found {
            out.push_str(argument);
            rest = &rest[parameter.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
        if out.len() > limit {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_parameter_counts() {
        let [a, ab, x, y] = ["$a", "$ab", "X", "$a"].map(str::to_owned);
        let pairs = [(&ab, &y), (&a, &x)];
        assert_eq!(replaced("$a $ab $a$c", &pairs, 100).as_deref(), Some("X $a X$c"));
        assert_eq!(replaced("$a$a$a", &pairs, 2), None);
    }
}

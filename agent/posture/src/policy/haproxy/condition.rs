//! Conditional blocks (`.if`, `.elif`, `.else`, `.endif`; section 2.4 of haproxy's configuration
//! manual). What depends on the build or version of haproxy is not decided here.

use super::error::Problem;
use crate::policy::environment::{Environment, Variable};

/// Nesting of blocks (`MAXNESTEDCONDS` of haproxy).
const MAX_DEPTH: usize = 64;

/// Whether a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Yes,
    No,
    /// It depends on what is not known.
    Perhaps,
}

/// The state of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    /// This branch counts.
    Taken,
    /// None has counted so far.
    NotYet,
    /// One has counted before, or what is around does not.
    Over,
    /// It is not known which counts; this is the branch of that number.
    Open(usize),
}

/// The blocks around a line.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    around: Vec<Branch>,
    /// Numbers that were given to branches.
    open: usize,
}

impl Conditions {
    pub(super) fn counts(&self) -> Counts {
        if self.around.iter().any(|branch| matches!(branch, Branch::NotYet | Branch::Over)) {
            Counts::No
        } else if self.open_branch().is_some() {
            Counts::Perhaps
        } else {
            Counts::Yes
        }
    }

    /// The innermost branch around a line of which it is not known whether it counts.
    pub(super) fn open_branch(&self) -> Option<usize> {
        self.around.iter().rev().find_map(|branch| match branch {
            Branch::Open(number) => Some(*number),
            _ => None,
        })
    }

    /// Whether a line stands in that branch.
    pub(super) fn is_in(&self, branch: usize) -> bool {
        self.around.contains(&Branch::Open(branch))
    }

    /// Takes in a line; says whether it belonged to a condition.
    pub(super) fn take(
        &mut self,
        words: &[String],
        environment: &Environment,
    ) -> Result<bool, Problem> {
        let Some((keyword, condition)) = words.split_first() else { return Ok(false) };
        self.open += 1;
        let open = Branch::Open(self.open);
        let branch = || match decide(&condition.join(" "), environment) {
            Some(true) => Branch::Taken,
            Some(false) => Branch::NotYet,
            None => open,
        };
        let (counts, depth) = (self.counts(), self.around.len());
        match (keyword.as_str(), self.around.last_mut()) {
            (".if", _) if depth == MAX_DEPTH => {
                return Err(Problem::TooMuch { what: "nested conditions", limit: MAX_DEPTH });
            }
            (".if", _) if counts == Counts::No => self.around.push(Branch::Over),
            (".if", _) => self.around.push(branch()),
            (".elif" | ".else", Some(last @ Branch::Taken)) => *last = Branch::Over,
            (".elif", Some(last @ Branch::NotYet)) => *last = branch(),
            (".else", Some(last @ Branch::NotYet)) => *last = Branch::Taken,
            (".elif" | ".else", Some(last @ Branch::Open(_))) => *last = open,
            (".elif" | ".else", Some(Branch::Over)) => {}
            (".endif", Some(_)) => drop(self.around.pop()),
            (".elif", None) => return Err(Problem::Condition(".elif")),
            (".else", None) => return Err(Problem::Condition(".else")),
            (".endif", None) => return Err(Problem::Condition(".endif")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The end of a file.
    pub(super) fn end(&self) -> Result<(), Problem> {
        if self.around.is_empty() { Ok(()) } else { Err(Problem::Condition(".if")) }
    }
}

/// What a condition says; `None` where it asks for what is not known.
fn decide(condition: &str, environment: &Environment) -> Option<bool> {
    any(condition.split("||").map(|part| {
        let terms = part.split("&&").map(|term| decide_term(term.trim(), environment));
        any(terms.map(|term| term.map(|value| !value))).map(|value| !value)
    }))
}

/// Whether one of them holds, as far as that is known.
fn any(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut is_known = true;
    for value in values {
        match value {
            Some(true) => return Some(true),
            Some(false) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(false)
}

fn decide_term(term: &str, environment: &Environment) -> Option<bool> {
    if let Some(negated) = term.strip_prefix('!') {
        return decide_term(negated.trim(), environment).map(|value| !value);
    }
    if let Ok(number) = term.parse::<i64>() {
        return Some(number != 0);
    }
    match term {
        "" | "false" => return Some(false),
        "true" => return Some(true),
        _ => {}
    }
    let (name, arguments) = term.strip_suffix(')')?.split_once('(')?;
    // haproxy keeps spaces, and has ways to quote: both are left open.
    let is_open = |one: char| one.is_whitespace() || matches!(one, '\\' | '"' | '\'');
    if arguments.contains(is_open) {
        return None;
    }
    let arguments: Vec<_> = arguments.split(',').collect();
    // A variable that is not known was left as it is.
    let known = || arguments.iter().all(|argument| !argument.contains('$'));
    match (name, arguments.as_slice()) {
        ("defined", [variable]) => match environment.get(variable) {
            Variable::Set(_) => Some(true),
            Variable::Unset => Some(false),
            Variable::Unknown => None,
        },
        ("streq", [one, other]) if known() => Some(one == other),
        ("strneq", [one, other]) if known() => Some(one != other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn conditions() {
        let environment = Environment::of_process([("A".to_owned(), "1".to_owned())]);
        for (condition, expected) in [
            ("", Some(false)),
            ("1", Some(true)),
            ("0", Some(false)),
            ("true && !false", Some(true)),
            ("defined(A)", Some(true)),
            ("!defined(A) || defined(B)", Some(false)),
            ("streq(a,a)", Some(true)),
            ("strneq(a,a)", Some(false)),
            ("strneq(a, a)", None),
            ("defined(A )", None),
            ("streq(${NO},a)", None),
            ("feature(OPENSSL)", None),
            ("feature(OPENSSL) && false", Some(false)),
            ("version_atleast(2.4) || true", Some(true)),
            ("something new", None),
        ] {
            assert_eq!(decide(condition, &environment), expected, "{condition}");
        }
    }

    #[test]
    fn branches() {
        let environment = Environment::of_process([]);
        for (lines, expected) in [
            (&[".if 1"][..], Counts::Yes),
            (&[".if 0"], Counts::No),
            (&[".if 0", ".else"], Counts::Yes),
            (&[".if 0", ".elif 1"], Counts::Yes),
            (&[".if 1", ".elif 1"], Counts::No),
            (&[".if 1", ".elif 1", ".else"], Counts::No),
            (&[".if feature(X)"], Counts::Perhaps),
            (&[".if feature(X)", ".else"], Counts::Perhaps),
            (&[".if 0", ".if 1"], Counts::No),
            (&[".if 0", ".if 1", ".endif", ".endif"], Counts::Yes),
        ] {
            let mut conditions = Conditions::default();
            for line in lines {
                assert!(conditions.take(&words(line), &environment).unwrap(), "{line}");
            }
            assert_eq!(conditions.counts(), expected, "{lines:?}");
        }
        let mut conditions = Conditions::default();
        assert!(!conditions.take(&words("server a"), &environment).unwrap());
        assert!(conditions.take(&words(".endif"), &environment).is_err());
        conditions.take(&words(".if 1"), &environment).unwrap();
        assert_eq!(conditions.end(), Err(Problem::Condition(".if")));
    }
}

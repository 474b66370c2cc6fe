//! Variables of which the configuration itself says every value: those of `map` and `set`, where no
//! value is made of other variables. What is set in any other way may be anything. Names count in any
//! case, as they do for nginx.

use std::collections::{BTreeSet, HashMap};

use super::{lua, tree::Directive};

/// Values of one variable that are followed; with more it may be anything.
const MAX_VALUES: usize = 64;

/// Blocks within blocks that are looked into; the reader of directives allows no more.
const MAX_DEPTH: usize = 64;

/// What each variable may be; `None` is anything.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// By their names in lower case.
    values: HashMap<String, Option<BTreeSet<String>>>,
    /// Some program may set any of them.
    all_are_open: bool,
    /// There is code that may call what other code has left behind.
    calls: bool,
    /// There is code that leaves something behind.
    is_called: bool,
}

impl Variables {
    /// Those that are set in `http` or `stream`.
    pub(super) fn read(directives: &[Directive]) -> Self {
        let mut all = Self::default();
        all.look(directives, MAX_DEPTH);
        all.all_are_open |= all.calls && all.is_called;
        all
    }

    fn look(&mut self, directives: &[Directive], depth: usize) {
        for Directive { name, args, block, .. } in directives {
            // Of `location`, `if`, `server_name` and `rewrite`.
            for variable in std::iter::once(name).chain(args).flat_map(|text| captures(text)) {
                self.may_be(&format!("${variable}"), "$");
            }
            self.calls |= lua::is_before(name);
            self.is_called |= lua::defines(name, args);
            match lua::set_by(name, args) {
                lua::Sets::Any => self.all_are_open = true,
                lua::Sets::These(names) => {
                    for name in names {
                        self.may_be(&format!("${name}"), "$");
                    }
                }
            }
            match (name.as_str(), args.as_slice(), block) {
                ("set", [variable, value], _) => self.may_be(variable, value),
                ("map", [_, variable], Some(entries)) => {
                    for entry in entries {
                        for captured in captures(&entry.name) {
                            self.may_be(&format!("${captured}"), "$");
                        }
                        match (entry.name.as_str(), entry.args.as_slice()) {
                            ("volatile" | "hostnames", []) => {}
                            (_, [value]) => self.may_be(variable, value),
                            _ => self.may_be(variable, "$"),
                        }
                    }
                }
                // Such as `geo`, `split_clients`, `auth_request_set`, `js_set` and Lua's: none of
                // these is evaluated. To name a variable elsewhere is to use it.
                (name, args, _) if sets_variables(name) => {
                    for variable in args {
                        self.may_be(variable, "$");
                    }
                }
                _ => {}
            }
            if let Some(inside) = block
                && depth > 0
                && name != "map"
            {
                self.look(inside, depth - 1);
            }
        }
    }

    fn may_be(&mut self, variable: &str, value: &str) {
        let Some(name) = variable.strip_prefix('$') else { return };
        let values =
            self.values.entry(name.to_ascii_lowercase()).or_insert_with(|| Some(BTreeSet::new()));
        if let Some(known) = values {
            known.insert(value.to_owned());
            if value.contains('$') || known.len() > MAX_VALUES {
                *values = None;
            }
        }
    }

    /// What an argument may be whose first variable has known values; `None` where it has none, or may
    /// be anything.
    pub(super) fn expand(&self, argument: &str) -> Option<Vec<String>> {
        let begin = argument.find('$')?;
        let (name, rest) = split_name(&argument[begin + 1..])?;
        let known = self.values.get(&name.to_ascii_lowercase()).filter(|_| !self.all_are_open);
        let values = known?.as_ref()?;
        let before = &argument[..begin];
        Some(values.iter().map(|value| format!("{before}{value}{rest}")).collect())
    }
}

/// The names of the groups of a regular expression, each of which sets a variable (PCRE's `(?<name>`,
/// `(?P<name>` and `(?'name'`).
fn captures(text: &str) -> impl Iterator<Item = &str> {
    text.split("(?").skip(1).filter_map(|group| {
        let name = group.strip_prefix('P').unwrap_or(group);
        let name = name.strip_prefix('<').or_else(|| name.strip_prefix('\''))?;
        let end = name.find(['>', '\''])?;
        let name = &name[..end];
        let is_name = |one: char| one.is_ascii_alphanumeric() || one == '_';
        (!name.is_empty() && name.chars().all(is_name)).then_some(name)
    })
}

/// Whether a directive gives the variables among its arguments their values.
fn sets_variables(name: &str) -> bool {
    matches!(name, "geo" | "geoip2" | "split_clients" | "keyval" | "js_var" | "map")
        || name.ends_with("_set")
        || name.starts_with("set_")
}

/// Splits what follows a `$` into the variable's name and the rest: `$name` and `${name}`.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let (name, rest) = match text.strip_prefix('{') {
        Some(inside) => inside.split_once('}')?,
        None => text.split_at(text.find(|one| !is_name(one)).unwrap_or(text.len())),
    };
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, rest))
}

/// Whether an expression may come to this: it begins and ends like it, whatever its variables are.
pub(super) fn may_become(expression: &str, text: &str) -> bool {
    let Some((before, mut rest)) = expression.split_once('$') else { return expression == text };
    let mut after = rest;
    while let Some((_, tail)) = split_name(rest) {
        after = tail;
        match tail.split_once('$') {
            Some((_, more)) => rest = more,
            None => break,
        }
    }
    let after = after.rsplit_once('$').map_or(after, |_| "");
    text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_regular_expressions_set_variables() {
        for (text, names) in [
            ("^/t/(?<be>[a-z]+)$", &["be"][..]),
            ("~^(?P<a>x)(?'b'y)", &["a", "b"]),
            ("(?:x)(?=y)(?<!z)(?<=w)", &[]),
            ("plain", &[]),
        ] {
            assert_eq!(captures(text).collect::<Vec<_>>(), names, "{text}");
        }
    }

    #[test]
    fn an_expression_may_become_what_begins_and_ends_like_it() {
        for (expression, text, may) in [
            ("$host", "app", true),
            ("app$suffix", "app-blue", true),
            ("app$suffix", "other", false),
            ("$name-blue", "app-blue", true),
            ("${name}-blue", "app-green", false),
            ("$a.$b.test", "x.y.test", true),
            ("$a.$b.test", "x", false),
            ("app", "app", true),
            ("app", "other", false),
        ] {
            assert_eq!(may_become(expression, text), may, "{expression} {text}");
        }
    }
}

//! References to environment variables (section 2.3 of haproxy's configuration manual).

use crate::policy::environment::{Environment, Variable};

impl Environment {
    /// Replaces `$NAME` and `${NAME}`; what is not known stays as it is.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let Some(reference) = Reference::read(&rest[at..]) else {
                out.push('$');
                rest = &rest[at + 1..];
                continue;
            };
            out.push_str(&self.value(&reference));
            rest = &rest[at + reference.raw.len()..];
        }
        out + rest
    }

    /// The value of a reference; itself where it is not known.
    pub(super) fn value(&self, reference: &Reference<'_>) -> String {
        match self.get(reference.name) {
            Variable::Set(value) => value.to_owned(),
            Variable::Unset => reference.default.unwrap_or_default().to_owned(),
            Variable::Unknown => reference.raw.to_owned(),
        }
    }
}

/// A reference to a variable in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// All of it.
    pub(super) raw: &'a str,
    pub(super) name: &'a str,
    /// After `-`: the value if it is not set.
    pub(super) default: Option<&'a str>,
    /// `[*]`: each word of the value is one.
    pub(super) is_list: bool,
}

impl<'a> Reference<'a> {
    /// The reference at the beginning of a text that begins with `$`; `None` if that is no reference.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let after = text.strip_prefix('$')?;
        let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (braced, raw) = if let Some(inside) = after.strip_prefix('{') {
            let end = inside.find('}')?;
            (&inside[..end], &text[..end + 3])
        } else {
            let end = after.find(|c| !is_in_name(c)).unwrap_or(after.len());
            (&after[..end], &text[..=end])
        };
        let (braced, is_list) = match braced.strip_suffix("[*]") {
            Some(name) => (name, true),
            None => (braced, false),
        };
        let (name, default) = match braced.split_once('-') {
            Some((name, default)) => (name, Some(default)),
            None => (braced, None),
        };
        // `${.LINE}` and its kin are haproxy's own; what they say is not known here.
        let is_name = name
            .strip_prefix('.')
            .unwrap_or(name)
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.strip_prefix('.').unwrap_or(name).chars().all(is_in_name);
        is_name.then_some(Self { raw, name, default, is_list })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_where_they_are_known() {
        let of = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<Vec<_>>()
        };
        let known = Environment::of_process(of(&[("HOST", "10.0.0.1"), ("A", "x y")]));
        let mut unknown = Environment::unknown();
        unknown.set("HOST", "10.0.0.2", false);
        for (text, in_known, in_unknown) in [
            ("$HOST:443", "10.0.0.1:443", "10.0.0.2:443"),
            ("${HOST}x", "10.0.0.1x", "10.0.0.2x"),
            ("$A", "x y", "$A"),
            ("${NO}/${NO-default}", "/default", "${NO}/${NO-default}"),
            ("a$", "a$", "a$"),
            ("$1 ${", "$1 ${", "$1 ${"),
        ] {
            assert_eq!(known.expand(text), in_known, "{text}");
            assert_eq!(unknown.expand(text), in_unknown, "{text}");
        }
    }
}

//! The environment variables that a configuration may use.

use std::collections::BTreeMap;

/// The environment of the process that reads a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, Held>,
    /// Whether a variable that is not among them is not set; else nothing is known of it.
    is_complete: bool,
    /// How the names begin of which only what the configuration sets is known.
    own: Option<&'static str>,
}

/// What a variable holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Value(String),
    Nothing,
    Unknown,
}

/// What is known of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable<'a> {
    Set(&'a str),
    Unset,
    Unknown,
}

impl Environment {
    /// The environment of a process, which is known.
    #[must_use]
    pub fn of_process(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name, Held::Value(value)));
        Self { values: values.collect(), is_complete: true, own: None }
    }

    /// That of whoever will start with a file that was only found: nothing is known of it.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Forgets what is known of the variables whose names begin so: the proxy sets them for itself, in
    /// some of its processes and before or after it reads, so that what one holds says nothing.
    pub(super) fn forget_own(&mut self, begin: &'static str) {
        self.values.retain(|name, _| !name.starts_with(begin));
        self.own = Some(begin);
    }

    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.values.get(name) {
            Some(Held::Value(value)) => Variable::Set(value),
            Some(Held::Nothing) => Variable::Unset,
            None if self.is_complete && !self.is_own(name) => Variable::Unset,
            Some(Held::Unknown) | None => Variable::Unknown,
        }
    }

    fn is_own(&self, name: &str) -> bool {
        self.own.is_some_and(|begin| name.starts_with(begin))
    }

    /// Gives a variable a value, or only if it has none.
    pub(super) fn set(&mut self, name: &str, value: &str, only_if_unset: bool) {
        let value = match self.get(name) {
            Variable::Set(_) if only_if_unset => return,
            Variable::Unknown if only_if_unset => Held::Unknown,
            _ => Held::Value(value.to_owned()),
        };
        self.values.insert(name.to_owned(), value);
    }

    /// Forgets what is known of a variable.
    pub(super) fn forget(&mut self, name: &str) {
        self.values.insert(name.to_owned(), Held::Unknown);
    }

    /// Forgets what is known of all variables but these.
    pub(super) fn forget_all_but(&mut self, names: &[String]) {
        self.values.retain(|name, _| names.contains(name));
        self.is_complete = false;
    }

    /// Takes a variable away.
    pub(super) fn unset(&mut self, name: &str) {
        self.values.insert(name.to_owned(), Held::Nothing);
    }

    /// Takes all but these away.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.values.retain(|name, _| names.contains(name));
        if !self.is_complete {
            for name in names {
                self.values.entry(name.clone()).or_insert(Held::Unknown);
            }
            self.is_complete = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preset_is_known_only_where_it_was_unset() {
        let mut known = Environment::of_process([("A".to_owned(), "1".to_owned())]);
        let mut unknown = Environment::unknown();
        for environment in [&mut known, &mut unknown] {
            environment.set("A", "2", true);
            environment.set("B", "2", true);
            environment.set("C", "3", false);
            environment.unset("C");
        }
        assert_eq!([known.get("A"), known.get("B")], [Variable::Set("1"), Variable::Set("2")]);
        assert_eq!([unknown.get("A"), unknown.get("B")], [Variable::Unknown; 2]);
        assert_eq!([known.get("C"), unknown.get("C")], [Variable::Unset; 2]);
        let names = ["A".to_owned(), "D".to_owned()];
        known.forget_all_but(&names);
        unknown.keep(&names);
        assert_eq!([known.get("A"), known.get("B")], [Variable::Set("1"), Variable::Unknown]);
        assert_eq!(["A", "D"].map(|name| unknown.get(name)), [Variable::Unknown; 2]);
        assert_eq!(["B", "E"].map(|name| unknown.get(name)), [Variable::Unset; 2]);
    }

    #[test]
    fn what_a_proxy_sets_for_itself_is_not_known() {
        let of = |name: &str| [(name.to_owned(), "1".to_owned())];
        let mut environment = Environment::of_process(of("HAPROXY_MWORKER"));
        environment.forget_own("HAPROXY_");
        for name in ["HAPROXY_MWORKER", "HAPROXY_LOCALPEER"] {
            assert_eq!(environment.get(name), Variable::Unknown, "{name}");
        }
        environment.set("HAPROXY_MWORKER", "2", false);
        assert_eq!(environment.get("HAPROXY_MWORKER"), Variable::Set("2"));
    }
}

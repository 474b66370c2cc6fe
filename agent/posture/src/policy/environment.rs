//! The environment variables that a configuration may use.

use std::collections::BTreeMap;

/// The environment of the process that reads a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `None` is a variable of which the value is not known.
    values: BTreeMap<String, Option<String>>,
    /// Whether a variable that is not among them is not set; else nothing is known of it.
    is_complete: bool,
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
        let values = values.into_iter().map(|(name, value)| (name, Some(value)));
        Self { values: values.collect(), is_complete: true }
    }

    /// That of whoever will start with a file that was only found: nothing is known of it.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.values.get(name) {
            Some(Some(value)) => Variable::Set(value),
            None if self.is_complete => Variable::Unset,
            Some(None) | None => Variable::Unknown,
        }
    }

    /// Gives a variable a value, or only if it has none.
    pub(super) fn set(&mut self, name: &str, value: &str, only_if_unset: bool) {
        let value = match self.get(name) {
            Variable::Set(_) if only_if_unset => return,
            Variable::Unknown if only_if_unset => None,
            _ => Some(value.to_owned()),
        };
        self.values.insert(name.to_owned(), value);
    }

    /// Forgets what is known of a variable.
    pub(super) fn forget(&mut self, name: &str) {
        self.values.insert(name.to_owned(), None);
    }

    /// Takes a variable away.
    pub(super) fn unset(&mut self, name: &str) {
        if self.is_complete {
            self.values.remove(name);
        } else {
            // That it is not set looks like an empty one, but to `defined()` of haproxy, which then says
            // yes.
            self.values.insert(name.to_owned(), Some(String::new()));
        }
    }

    /// Takes all but these away.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.values.retain(|name, _| names.contains(name));
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
        assert_eq!([known.get("C"), unknown.get("C")], [Variable::Unset, Variable::Set("")]);
    }
}

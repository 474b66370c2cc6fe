//! Selectors of pods by their labels. Pure.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What an expression of a selector asks of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// It has one of these values.
    In(Vec<String>),
    /// It has none of these values, or is absent.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
    /// Something that is not known.
    Other,
}

/// A label selector: everything that it asks for has to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels with their values.
    pub labels: Labels,
    /// What is asked of single labels.
    pub expressions: Vec<(String, Requirement)>,
}

impl Selector {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }

    /// Whether it selects an object with these labels; `None` where it asks for something that is not
    /// known.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> Option<bool> {
        if !includes(labels, &self.labels) {
            return Some(false);
        }
        let mut is_known = true;
        for (key, requirement) in &self.expressions {
            let value = labels.get(key);
            let is_met = match requirement {
                Requirement::In(values) => value.is_some_and(|value| values.contains(value)),
                Requirement::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
                Requirement::Exists => value.is_some(),
                Requirement::DoesNotExist => value.is_none(),
                Requirement::Other => {
                    is_known = false;
                    continue;
                }
            };
            if !is_met {
                return Some(false);
            }
        }
        is_known.then_some(true)
    }
}

/// Whether all of `wanted` are among `labels`.
#[must_use]
pub fn includes(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_asked_for_has_to_be_met() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let values = || vec!["a".to_owned(), "b".to_owned()];
        let pod = labels(&[("app", "a"), ("tier", "web")]);
        for (name, wanted, expressions, expected) in [
            ("nothing", &[][..], vec![], Some(true)),
            ("a label", &[("app", "a")], vec![], Some(true)),
            ("another value", &[("app", "b")], vec![], Some(false)),
            ("in", &[], vec![("app", Requirement::In(values()))], Some(true)),
            ("in, absent", &[], vec![("zone", Requirement::In(values()))], Some(false)),
            ("not in", &[], vec![("app", Requirement::NotIn(values()))], Some(false)),
            ("not in, absent", &[], vec![("zone", Requirement::NotIn(values()))], Some(true)),
            ("exists", &[], vec![("tier", Requirement::Exists)], Some(true)),
            ("does not exist", &[], vec![("tier", Requirement::DoesNotExist)], Some(false)),
            ("something else", &[], vec![("tier", Requirement::Other)], None),
            (
                "something else, and no",
                &[("app", "b")],
                vec![("a", Requirement::Other)],
                Some(false),
            ),
        ] {
            let expressions =
                expressions.into_iter().map(|(key, one)| (key.to_owned(), one)).collect();
            let selector = Selector { labels: labels(wanted), expressions };
            assert_eq!(selector.selects(&pod), expected, "{name}");
        }
    }
}

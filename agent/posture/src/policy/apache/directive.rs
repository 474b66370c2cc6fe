//! Directives, and what is around them.

use std::sync::Arc;

use super::error::{ConfigError, Problem};
use crate::policy::intent::Place;

/// The undecided conditions around a directive, from the outermost on, by number.
pub(super) type Conditions = Arc<[u32]>;

/// A directive, or a section with what is inside.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    /// In lower case; that of a section begins with `<`.
    pub(super) name: String,
    /// The same as it is written.
    pub(super) written: String,
    pub(super) words: Vec<String>,
    pub(super) at: Place,
    pub(super) conditions: Conditions,
    pub(super) inside: Vec<Directive>,
}

impl Directive {
    /// Whether it counts where these undecided conditions hold.
    pub(super) fn holds(&self, given: &[u32]) -> bool {
        self.conditions.iter().all(|condition| given.contains(condition))
    }

    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError { place: self.at.clone(), problem }
    }

    /// The only word.
    pub(super) fn argument(&self, expected: &'static str) -> Result<&str, ConfigError> {
        match self.words.as_slice() {
            [word] => Ok(word),
            _ => Err(self.arguments(expected)),
        }
    }

    pub(super) fn arguments(&self, expected: &'static str) -> ConfigError {
        self.error(Problem::Arguments { directive: self.written.clone(), expected })
    }

    pub(super) fn invalid(&self, value: &str, expected: &'static str) -> ConfigError {
        let (directive, value) = (self.written.clone(), value.to_owned());
        self.error(Problem::InvalidValue { directive, value, expected })
    }
}

/// Whether a directive, in lower case, says something about who is spoken to, and how.
pub(super) fn is_about_upstreams(name: &str) -> bool {
    const OTHERS: [&str; 3] = ["balancermember", "sethandler", "addhandler"];
    const BEGINNINGS: [&str; 3] = ["sslproxy", "proxy", "rewrite"];
    OTHERS.contains(&name) || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

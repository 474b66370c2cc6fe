//! What people should know of a configuration, and what is wrong with it.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Place;

/// Something in a configuration that is no mistake and that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Where it is.
    pub at: Place,
    /// What it is, for people.
    pub text: String,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{at}: {text}")]
pub struct Fault {
    /// Where it is.
    pub at: Place,
    /// What it is, for people.
    pub text: String,
}

/// What a reader of one proxy's files finds wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct ConfigError<P> {
    /// File and line.
    pub place: Place,
    /// What is wrong there.
    pub problem: P,
}

impl<P: fmt::Display> From<ConfigError<P>> for Fault {
    fn from(error: ConfigError<P>) -> Self {
        Self { text: error.problem.to_string(), at: error.place }
    }
}

/// Remarks on one configuration that are kept; what they say of the others is that there are more.
const MAX_REMARKS: usize = 64;

/// Adds a remark to a list that is bounded.
pub(in crate::policy) fn remark(
    remarks: &mut Vec<Remark>,
    at: &Place,
    text: impl FnOnce() -> String,
) {
    let text = match remarks.len() {
        MAX_REMARKS.. => return,
        len if len + 1 == MAX_REMARKS => "from here on there is more to know".to_owned(),
        _ => text(),
    };
    remarks.push(Remark { at: at.clone(), text });
}

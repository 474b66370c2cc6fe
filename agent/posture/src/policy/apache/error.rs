//! What can be wrong with a configuration, and where.

use thiserror::Error;

use crate::policy::intent;

/// A configuration that Apache would not start with either, or that passes a limit of this reader.
pub type ConfigError = intent::ConfigError<Problem>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A file could not be read, or a directory not be listed.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The path as Apache would open it.
        path: String,
        /// The operating system's words.
        error: String,
    },
    /// More input than this reader takes.
    #[error("the configuration has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        limit: usize,
    },
    /// `Include` with a pattern that no file matches.
    #[error("no file matches {0}; IncludeOptional would let that pass")]
    NoMatch(String),
    /// A section that nothing ends.
    #[error("<{0}> is not closed")]
    NotClosed(String),
    /// The end of a section that is not the innermost one.
    #[error("</{found}> stands where {}", expected.as_ref().map_or_else(
        || "no section is open".to_owned(),
        |expected| format!("</{expected}> is expected")
    ))]
    Closes {
        /// The section that is open.
        expected: Option<String>,
        /// The one that would be closed.
        found: String,
    },
    /// A directive without what has to follow it, or with more.
    #[error("{directive} needs {expected}")]
    Arguments {
        /// The directive.
        directive: String,
        /// What it needs.
        expected: &'static str,
    },
    /// A setting of a server in a section that is for some of its requests.
    #[error("{directive} is not allowed in {section}>, only in a server and in <Proxy>")]
    NotAllowed {
        /// The setting.
        directive: String,
        /// The section.
        section: String,
    },
    /// A value Apache does not accept.
    #[error("invalid value \"{value}\" for {directive}, it must be {expected}")]
    InvalidValue {
        /// The directive.
        directive: String,
        /// The value found.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `Use` of a macro that is not defined before.
    #[error("there is no macro \"{0}\" before this line")]
    NoMacro(String),
}

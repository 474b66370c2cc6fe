//! What can be wrong with a configuration, and where.

use thiserror::Error;

use crate::policy::intent;

/// A configuration that haproxy would not start with either, or that passes a limit of this reader.
pub type ConfigError = intent::ConfigError<Problem>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A file could not be read, or a directory not be listed.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The path as haproxy would open it.
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
    /// A quote that is never closed, or a `${` without `}`.
    #[error("a {0:?} in this line is never closed")]
    Unclosed(char),
    /// `.elif`, `.else` or `.endif` without `.if`, or the other way round.
    #[error("\"{0}\" has no counterpart")]
    Condition(&'static str),
    /// A keyword without what has to follow it.
    #[error("\"{keyword}\" needs {expected}")]
    Arguments {
        /// The keyword.
        keyword: String,
        /// What it needs.
        expected: &'static str,
    },
    /// A value haproxy does not accept.
    #[error("invalid value \"{value}\" for \"{keyword}\", it must be {expected}")]
    InvalidValue {
        /// The keyword.
        keyword: String,
        /// The value found.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `from` names a section that is not there.
    #[error("there is no section \"defaults {0}\" before this one")]
    NoDefaults(String),
    /// Verification without something to verify against.
    #[error(
        "the certificate of server \"{server}\" is to be verified and no \"ca-file\" says against what; \
         without an explicit \"verify none\" haproxy does not start"
    )]
    NoCaFile {
        /// The server.
        server: String,
    },
}

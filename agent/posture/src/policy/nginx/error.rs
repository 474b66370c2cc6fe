//! What can be wrong with a configuration, and where.

use thiserror::Error;

use crate::policy::intent;

/// A configuration that nginx would not load either, or that passes a limit of this reader.
pub type ConfigError = intent::ConfigError<Problem>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A character that cannot stand there.
    #[error("unexpected {found:?}; a `;` or a brace is missing or too many before it")]
    Unexpected {
        /// The character.
        found: char,
    },
    /// The file ends inside a directive or block.
    #[error("unexpected end of file, expecting ';' or '}}'{}", OpenQuote(*open_quote))]
    EndOfFile {
        /// Line of the quote that was never closed, if that is the cause.
        open_quote: Option<u32>,
    },
    /// A file could not be read, or a directory not be listed.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The path as nginx would open it.
        path: String,
        /// The operating system's words.
        error: String,
    },
    /// More input than this reader takes.
    #[error("the configuration has more than {limit} {what}; does a file include itself?")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        limit: usize,
    },
    /// A word that nginx has no room for.
    #[error("a parameter is too long, or its closing quote is missing")]
    TooLong,
    /// A directive with the wrong number of arguments, or a missing block.
    #[error("invalid number of arguments in \"{directive}\", or its block is missing")]
    Arguments {
        /// Its name.
        directive: String,
    },
    /// A directive that may be said once was said twice at one level.
    #[error("\"{directive}\" is duplicate: it was already said at this level")]
    Duplicate {
        /// Its name.
        directive: String,
    },
    /// A directive outside of the blocks it belongs to.
    #[error("\"{directive}\" is not allowed here")]
    NotAllowedHere {
        /// Its name.
        directive: String,
    },
    /// A value nginx does not accept.
    #[error("invalid value \"{value}\" in \"{directive}\", it must be {expected}")]
    InvalidValue {
        /// Directive.
        directive: String,
        /// The value found.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The same upstream block name twice.
    #[error("duplicate upstream \"{name}\"")]
    DuplicateUpstream {
        /// Its name.
        name: String,
    },
    /// An upstream block without servers.
    #[error("no servers are inside upstream \"{name}\"")]
    NoServers {
        /// Its name.
        name: String,
    },
    /// A server of an upstream block that is asked to speak TLS, which is not said there.
    #[error(
        "invalid parameter \"{parameter}\" in \"server\": that TLS is spoken to an upstream is said \
         where it is used, such as \"proxy_pass https://NAME\" (in stream: \"proxy_ssl on\"), with \
         \"proxy_ssl_certificate\" for a client certificate and \"proxy_ssl_verify on\""
    )]
    TlsAtServer {
        /// The parameter.
        parameter: String,
    },
    /// An upstream block was addressed with a port.
    #[error("upstream \"{name}\" may not have port {port}: the ports are those of its servers")]
    UpstreamPort {
        /// Its name.
        name: String,
        /// The port.
        port: u16,
    },
    /// An address without port where nginx assumes none.
    #[error("no port in upstream \"{address}\", and no upstream block has that name")]
    NoPort {
        /// The address as written.
        address: String,
    },
    /// A client certificate without its key.
    #[error("no \"{directive}_key\" is defined for certificate \"{certificate}\"")]
    NoKey {
        /// The certificate's directive.
        directive: String,
        /// Its value.
        certificate: String,
    },
    /// Verification without something to verify against.
    #[error("no \"{prefix}trusted_certificate\" for \"{prefix}verify on\"")]
    NoTrustedCertificate {
        /// `proxy_ssl_`, `grpc_ssl_` or `uwsgi_ssl_`.
        prefix: &'static str,
    },
}

struct OpenQuote(Option<u32>);

impl std::fmt::Display for OpenQuote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(line) => write!(f, "; the quote opened in line {line} is never closed"),
            None => Ok(()),
        }
    }
}

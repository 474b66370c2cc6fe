//! The configuration of Apache's HTTP server, read as it reads it, for what `mod_proxy` and `mod_ssl`
//! are told about upstreams.
//!
//! Covered: includes, variables, conditions, macros; virtual hosts with what they inherit; `ProxyPass`,
//! `ProxyPassMatch`, `RewriteRule` with `[P]`, `SetHandler proxy:`, balancers with their members, and
//! `<Proxy>` sections. Not evaluated: expressions, `.htaccess` files, Lua, and what the balancer
//! manager changes. A condition that depends on what is not known (`<IfVersion>`, a module that may be
//! built in) leaves open what it decides.

mod balancers;
mod directive;
mod error;
mod macros;
mod modules;
mod sections;
mod settings;
mod source;
mod tree;
mod url;
mod walk;
mod ways;
mod words;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use error::{ConfigError, Problem};
pub use modules::BuiltIn;

use super::{environment::Environment, files::ConfigFiles, intent::Intent};

/// How an Apache is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The main file.
    pub file: PathBuf,
    /// Where relative names begin until `ServerRoot` says otherwise.
    pub root: PathBuf,
    /// Variables that `${NAME}` stands for.
    pub environment: Environment,
    /// What `-D` defines; `None` where the command line is not known.
    pub defines: Option<Vec<String>>,
    /// Modules that the program may have built in.
    pub built_in: BuiltIn,
    /// Directives of `-C`, which come before the main file.
    pub before: Vec<String>,
    /// Directives of `-c`, which come after it.
    pub after: Vec<String>,
}

impl Start {
    /// Nothing is known but the main file: relative names begin in its directory.
    #[must_use]
    pub fn of_file(file: PathBuf) -> Self {
        let root = file.parent().map_or_else(PathBuf::new, ToOwned::to_owned);
        Self {
            file,
            root,
            environment: Environment::unknown(),
            defines: None,
            built_in: BuiltIn::Unknown,
            before: Vec::new(),
            after: Vec::new(),
        }
    }
}

/// Reads the configuration that begins there.
///
/// # Errors
/// Where Apache would refuse the files too: with the place and what is wrong there. The caller keeps
/// the last good intent.
pub fn read(files: &dyn ConfigFiles, start: &Start) -> Result<Intent, ConfigError> {
    let mut reader = tree::TreeReader::new(files, start);
    let tree = reader.all(start)?;
    let (upstreams, remarks) = walk::upstreams(&tree, reader.root(), reader.remarks)?;
    Ok(Intent { upstreams, files: reader.read, remarks })
}

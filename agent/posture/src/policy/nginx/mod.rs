//! nginx's configuration, read as nginx reads it, for what it says about upstreams.
//!
//! Covered: `http` (`proxy_pass`, `grpc_pass`, `uwsgi_pass`, `fastcgi_pass`, `scgi_pass`,
//! `memcached_pass`) and `stream` (`proxy_pass`), `upstream` blocks, includes, inheritance, and
//! variables of which `map` and `set` say every value. A route that any other variable decides may
//! lead to every upstream block that its expression leaves open. Not evaluated: Lua and njs code, and
//! the `mail` module. Directives this reader does not know are skipped, since any module may bring
//! some.
//!
//! What is on disk need not be what the running nginx has loaded.

mod error;
mod lua;
mod settings;
mod target;
mod token;
mod tree;
mod upstream;
mod variables;
mod walk;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
pub(super) mod tests;

use std::path::Path;

pub use error::{ConfigError, Problem};

use super::{
    files::ConfigFiles,
    intent::{Intent, Place},
};

/// Reads the configuration whose main file is `main` (absolute: nginx's `-c`, or its built-in
/// default), with everything it includes.
///
/// Relative names in it begin at the directory of `main`, whatever `-p` says: `-p` only decides
/// where a relative `-c` is looked for.
///
/// # Errors
/// Where nginx would refuse the file too: with the place and what is wrong there. The caller
/// keeps the last good intent.
pub fn read(files: &dyn ConfigFiles, main: &Path) -> Result<Intent, ConfigError> {
    let conf_prefix = main.parent().unwrap_or(Path::new("/"));
    let start = Place { file: main.to_string_lossy().into(), line: 1 };
    let mut reader = tree::TreeReader::new(files, conf_prefix);
    let directives = reader.file(main, &start, 0)?;
    let mut remarks = reader.remarks;
    let upstreams = walk::upstreams(&directives, conf_prefix, &mut remarks)?;
    Ok(Intent { upstreams, files: reader.read, remarks })
}

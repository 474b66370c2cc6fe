//! haproxy's configuration, read as haproxy reads it, for what it says about servers.
//!
//! Covered: several files and directories, quotes, environment variables, conditions, `global`,
//! `defaults` (by `from` as well), `default-server`, `server`, `server-template`, health checks that
//! speak otherwise than traffic, the servers of `peers` and `ring`. Not evaluated: sample expressions,
//! Lua, what other sections connect to, and what the runtime API changes. A keyword of a server that
//! this reader does not know leaves open how it is spoken to.

mod address;
mod checks;
mod condition;
mod defaults;
mod error;
mod keywords;
mod reference;
mod sections;
mod server;
mod upstream;
mod versions;
mod walk;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use error::{ConfigError, Problem};

use super::{environment::Environment, files::ConfigFiles, intent::Intent};

/// Reads the configuration that consists of these `sources` (absolute: what `-f` names, files or
/// directories), in their order. Relative names in it begin at `directory`, where haproxy was
/// started.
///
/// # Errors
/// Where haproxy would refuse the files too: with the place and what is wrong there. The caller
/// keeps the last good intent.
pub fn read(
    files: &dyn ConfigFiles,
    sources: &[PathBuf],
    directory: &Path,
    environment: Environment,
) -> Result<Intent, ConfigError> {
    let mut reader = sections::SectionReader::new(files, environment);
    for source in sources {
        reader.argument(source)?;
    }
    let mut walk = walk::Walk::new(reader.environment(), directory);
    walk.sections(&reader.sections)?;
    let upstreams = upstream::upstreams(&walk)?;
    Ok(Intent { upstreams, files: reader.read, remarks: reader.remarks })
}

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

use std::path::PathBuf;

pub use error::{ConfigError, Problem};

use super::{
    environment::Environment,
    files::ConfigFiles,
    intent::{Intent, Place, remark},
};

/// How haproxy is started, as far as that decides what its configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What `-f` names: files or directories, absolute, in their order.
    pub sources: Vec<PathBuf>,
    /// Where relative names in them begin.
    pub directory: PathBuf,
    /// The environment it finds.
    pub environment: Environment,
    /// Whether servers that say nothing of it are verified, unless `ssl-server-verify` says so: `-dV`
    /// switches that off.
    pub verifies: bool,
}

impl Start {
    /// That of files of which nothing else is known.
    #[must_use]
    pub fn of_files(sources: Vec<PathBuf>, directory: PathBuf) -> Self {
        Self { sources, directory, environment: Environment::unknown(), verifies: true }
    }
}

/// Reads the configuration of a haproxy that is started like this.
///
/// # Errors
/// Where haproxy would refuse the files too: with the place and what is wrong there. The caller
/// keeps the last good intent.
pub fn read(files: &dyn ConfigFiles, start: &Start) -> Result<Intent, ConfigError> {
    let mut reader = sections::SectionReader::new(files, start.environment.clone());
    for source in &start.sources {
        reader.argument(source)?;
    }
    let mut walk = walk::Walk::new(reader.environment(), start);
    walk.sections(&reader.sections)?;
    let upstreams = upstream::upstreams(&walk)?;
    if !start.verifies {
        let file =
            start.sources.first().map_or_else(String::new, |file| file.display().to_string());
        let text = || "started with -dV: servers without \"verify\" are not verified".to_owned();
        remark(&mut reader.remarks, &Place { file: file.into(), line: 0 }, text);
    }
    Ok(Intent { upstreams, files: reader.read, remarks: reader.remarks })
}

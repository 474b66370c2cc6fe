//! Where the proxies' programs are, and how they are started.

use std::{env, fs, path::PathBuf};

use anyhow::Context as _;

use super::site::{Hop, Site};
use crate::{
    envoy,
    nginx::utf8,
    process::{self, Daemon},
};

/// Where a program is.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// On the path.
    Installed(&'static str),
    /// Envoy, which a variable may name.
    Envoy,
    /// A variable names it.
    Named(&'static str),
}

impl Program {
    /// Where it is, if it is there.
    #[must_use]
    pub fn find(self) -> Option<PathBuf> {
        match self {
            Self::Installed(name) => process::find(name),
            Self::Envoy => envoy::binary(),
            Self::Named(variable) => env::var_os(variable).map(PathBuf::from),
        }
    }
}

/// Names the newer of two releases of Node.
pub const NEWER_NODE: &str = "HOPSIGHT_NEWER_NODE";

/// Names Traefik.
pub const TRAEFIK: &str = "HOPSIGHT_TRAEFIK";

/// Writes a configuration, starts the program and waits until it listens everywhere.
pub(super) fn launch(
    site: &Site,
    hops: &[Hop],
    program: &str,
    args: &[&str],
) -> anyhow::Result<Daemon> {
    let log = site.dir().join("proxy.log");
    let mut daemon = Daemon::spawn_at(&site.place(), program, args, &log)?;
    for hop in hops {
        daemon.wait_listening(hop.front).with_context(|| daemon.log())?;
    }
    Ok(daemon)
}

/// Writes a file of the proxy's; answers its path.
pub(super) fn write(site: &Site, name: &str, text: &str) -> anyhow::Result<String> {
    let path = site.dir().join(name);
    fs::write(&path, text).with_context(|| format!("write {name}"))?;
    Ok(utf8(&path)?.to_owned())
}

//! The proxies whose configuration can be read, whatever they are.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{
    apache::{self, ApacheInstance},
    caddy::{self, CaddyInstance},
    envoy::{self, EnvoyInstance},
    foreign_root::ForeignRoot,
    haproxy::{self, HaproxyInstance},
    nginx::{self, NginxInstance},
    reading::Reading,
    traefik::{self, TraefikInstance},
};
use hopsight_posture::policy::{
    apache as core_apache,
    files::ConfigFiles,
    haproxy as core_haproxy,
    intent::{Fault, Intent},
    kind::ProxyKind,
    nginx as core_nginx,
    time::UnixTime,
};
use hopsight_system::process::{ProcessFacts, ProcessKey};

/// The kind of proxy that a process belongs to, and its main process; `None` if its configuration
/// cannot be read.
///
/// # Errors
/// When the main process is gone or may not be inspected.
pub fn main_of(process: &ProcessFacts) -> anyhow::Result<Option<(ProxyKind, ProcessFacts)>> {
    if let Some(master) = nginx::master_of(process)? {
        return Ok(Some((ProxyKind::Nginx, master)));
    }
    let alone = [
        (envoy::is_envoy(process), ProxyKind::Envoy),
        (caddy::is_caddy(process), ProxyKind::Caddy),
        (traefik::is_traefik(process), ProxyKind::Traefik),
    ];
    if let Some((_, kind)) = alone.into_iter().find(|(is_one, _)| *is_one) {
        return Ok(Some((kind, process.clone())));
    }
    let haproxy = || haproxy::main_of(process).map(|main| (ProxyKind::Haproxy, main));
    let apache = || apache::master_of(process).map(|master| (ProxyKind::Apache, master));
    Ok(haproxy().or_else(apache))
}

/// Reads a configuration that nothing needs to run, from the files where it begins. Relative names in
/// one of haproxy's begin in the directory of the first.
///
/// # Errors
/// Where the proxy would refuse the files too.
pub fn read_files(
    kind: ProxyKind,
    files: &dyn ConfigFiles,
    sources: &[PathBuf],
) -> anyhow::Result<Result<Intent, Fault>> {
    let first = sources.first().context("name a file")?;
    Ok(match kind {
        ProxyKind::Nginx => {
            anyhow::ensure!(
                sources.len() == 1,
                "nginx has one main file, which includes the others"
            );
            core_nginx::read(files, first).map_err(Fault::from)
        }
        ProxyKind::Haproxy => {
            let directory = first.parent().unwrap_or(first).to_owned();
            let start = core_haproxy::Start::of_files(sources.to_vec(), directory);
            core_haproxy::read(files, &start).map_err(Fault::from)
        }
        ProxyKind::Apache => {
            anyhow::ensure!(
                sources.len() == 1,
                "Apache has one main file, which includes the others"
            );
            let start = core_apache::Start::of_file(first.clone());
            core_apache::read(files, &start).map_err(Fault::from)
        }
        ProxyKind::Traefik => {
            anyhow::ensure!(sources.len() == 1, "Traefik has one file, which names the others");
            traefik::read_file(files, first)
        }
        ProxyKind::Envoy | ProxyKind::Caddy => {
            anyhow::ensure!(sources.len() == 1, "{kind} has one file");
            let name = first.display().to_string();
            let content = files.read(first).with_context(|| format!("read {name}"))?;
            let intent = match kind {
                ProxyKind::Envoy => envoy::read_file(&content, &name),
                _ => caddy::read_file(&content, &name),
            };
            intent.map(|intent| Intent { files: sources.to_vec(), ..intent })
        }
    })
}

/// A running proxy whose configuration can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// An nginx.
    Nginx(NginxInstance),
    /// A haproxy.
    Haproxy(HaproxyInstance),
    /// An Envoy.
    Envoy(EnvoyInstance),
    /// A Caddy.
    Caddy(CaddyInstance),
    /// An Apache.
    Apache(ApacheInstance),
    /// A Traefik.
    Traefik(TraefikInstance),
}

impl Configured {
    /// The proxy of this main process.
    ///
    /// # Errors
    /// When it is gone or may not be inspected.
    pub fn of_main(kind: ProxyKind, main: &ProcessFacts) -> anyhow::Result<Self> {
        Ok(match kind {
            ProxyKind::Nginx => Self::Nginx(NginxInstance::of_master(main)?),
            ProxyKind::Haproxy => Self::Haproxy(HaproxyInstance::of_main(main)?),
            ProxyKind::Envoy => Self::Envoy(EnvoyInstance::of_process(main)?),
            ProxyKind::Caddy => Self::Caddy(CaddyInstance::of_process(main)?),
            ProxyKind::Apache => Self::Apache(ApacheInstance::of_master(main)?),
            ProxyKind::Traefik => Self::Traefik(TraefikInstance::of_process(main)?),
        })
    }

    /// Reads its configuration.
    ///
    /// # Errors
    /// When the main process is gone. A faulty configuration is part of the reading: the caller keeps
    /// the last good intent.
    pub fn read(&self) -> anyhow::Result<Reading> {
        match self {
            Self::Nginx(nginx) => nginx.read(),
            Self::Haproxy(haproxy) => haproxy.read(),
            Self::Envoy(envoy) => envoy.read(),
            Self::Caddy(caddy) => caddy.read(),
            Self::Apache(apache) => apache.read(),
            Self::Traefik(traefik) => traefik.read(),
        }
    }

    /// Where its configuration begins.
    #[must_use]
    pub fn sources(&self) -> Vec<PathBuf> {
        match self {
            Self::Nginx(nginx) => vec![nginx.main_file.clone()],
            Self::Haproxy(haproxy) => haproxy.start.sources.clone(),
            Self::Envoy(envoy) => envoy.sources(),
            Self::Caddy(caddy) => caddy.sources(),
            Self::Apache(apache) => vec![apache.start.file.clone()],
            Self::Traefik(traefik) => traefik.sources(),
        }
    }

    /// When the newest of what it was read from, and of these files, was changed, not counting removed
    /// ones; `None` if there is none.
    ///
    /// # Errors
    /// When the main process is gone.
    pub fn changed_at(&self, files: &[PathBuf]) -> anyhow::Result<Option<UnixTime>> {
        let root = ForeignRoot::of_process(self.main().pid)?;
        let sources = self.sources();
        let all = files.iter().chain(&sources);
        Ok(all.filter_map(|file| root.changed_at(file).ok()).max())
    }

    /// Its main process.
    #[must_use]
    pub const fn main(&self) -> ProcessKey {
        match self {
            Self::Nginx(nginx) => nginx.master,
            Self::Haproxy(haproxy) => haproxy.main,
            Self::Envoy(envoy) => envoy.process,
            Self::Caddy(caddy) => caddy.process,
            Self::Apache(apache) => apache.master,
            Self::Traefik(traefik) => traefik.process,
        }
    }
}

//! Which configuration a command is about: files, or those of a running proxy.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use hopsight_identity::{admin, configured, envoy, foreign_root::ForeignRoot};
use hopsight_posture::policy::{
    files::ConfigFiles as _,
    intent::{Fault, Intent},
    kind::ProxyKind,
};

/// The files of a configuration that nothing needs to run.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigurationFiles {
    /// The configuration: nginx's main file, each file and directory that haproxy is given, Envoy's
    /// bootstrap or a saved answer to /config_dump, Caddy's JSON, Apache's main file, Traefik's static or dynamic
    /// one; or http://HOST:PORT, where Envoy's
    /// admin interface is.
    #[arg(value_name = "FILE|URL")]
    pub files: Vec<PathBuf>,

    /// What proxy it is for (nginx, haproxy, envoy, caddy, apache, traefik); without it, as the file looks.
    #[arg(long = "for", value_name = "PROXY", value_parser = kind)]
    kind: Option<ProxyKind>,

    /// Take every name of a file to be inside of this directory, such as the unpacked image in which
    /// the proxy will run.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Read {
    /// What it is for.
    pub kind: ProxyKind,
    /// What it says, or what the proxy would refuse.
    pub intent: Result<Intent, Fault>,
}

/// What the admin interface of an Envoy says.
fn ask(host: &str) -> anyhow::Result<Read> {
    let answer = admin::get(host, envoy::QUESTION).with_context(|| format!("ask {host}"))?;
    let running = envoy::read_dump(&answer).with_context(|| format!("ask {host}"))?;
    Ok(Read { kind: ProxyKind::Envoy, intent: running.map(|running| running.intent) })
}

fn kind(word: &str) -> Result<ProxyKind, String> {
    let words: Vec<_> = ProxyKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let known = ProxyKind::ALL.iter().copied().find(|kind| kind.as_str() == word);
    known.ok_or_else(|| format!("say one of {}", words.join(", ")))
}

impl ConfigurationFiles {
    /// Reads them.
    ///
    /// # Errors
    /// When the first cannot be read, or it is not known what proxy it is for.
    pub fn read(&self) -> anyhow::Result<Read> {
        if let [url] = self.files.as_slice()
            && let Some(host) = url.to_str().and_then(|url| url.strip_prefix("http://"))
        {
            return ask(host.trim_end_matches('/'));
        }
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        let root = ForeignRoot::at(root).with_context(|| format!("open {}", root.display()))?;
        let sources = self.files.iter().map(|file| self.within_root(file));
        let sources = sources.collect::<anyhow::Result<Vec<_>>>()?;
        let first = sources.first().context("name a file")?;
        let content = root.read(first);
        let kind = match (self.kind, &content) {
            (Some(kind), _) => kind,
            // haproxy alone reads directories.
            (None, Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => {
                ProxyKind::Haproxy
            }
            (None, Err(_)) => ProxyKind::Nginx,
            (None, Ok(content)) => ProxyKind::of_file(&String::from_utf8_lossy(content))
                .with_context(|| {
                    format!("see what proxy {} is for: say --for PROXY", first.display())
                })?,
        };
        if let Err(error) = content
            && kind != ProxyKind::Haproxy
        {
            return Err(error).with_context(|| format!("read {}", first.display()));
        }
        let intent = configured::read_files(kind, &root, &sources)?;
        Ok(Read { kind, intent })
    }

    fn within_root(&self, file: &Path) -> anyhow::Result<PathBuf> {
        match &self.root {
            Some(_) => Ok(Path::new("/").join(file)),
            None => std::path::absolute(file)
                .with_context(|| format!("find the directory of {}", file.display())),
        }
    }
}

//! Running Traefiks: their static configuration, the files of their file provider, and what their API
//! says is loaded of these.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    admin::{self, Door},
    bounded,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading, is_newer},
};
use hopsight_posture::policy::{
    files::ConfigFiles,
    intent::{Fault, Intent, Place},
    time::UnixTime,
    traefik::{self, Dynamic, Static},
};
use hopsight_system::{
    foreign,
    process::{ProcessFacts, ProcessKey, Stat, since_boot},
};

/// What the API is asked for.
const QUESTION: &str = "/api/rawdata";
/// Where it listens unless something else is said.
const DEFAULT_PORT: u16 = 8080;
/// What the names of its files end with.
const ENDINGS: [&str; 3] = ["toml", "yaml", "yml"];
/// Where files begin with a template.
const TEMPLATE: &[u8] = b"{{";
/// Nesting of directories of the file provider, files in them, and all names there.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 1_000;
const MAX_NAMES: usize = 20_000;

/// A running Traefik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraefikInstance {
    /// The process.
    pub process: ProcessKey,
    /// Where its static configuration may be, as paths in its root: the first that is there counts.
    files: Vec<PathBuf>,
    /// What counts if none is.
    given: Box<Static>,
    /// Where relative names begin.
    directory: PathBuf,
}

/// Whether a process is a Traefik, by the name of its program.
#[must_use]
pub fn is_traefik(process: &ProcessFacts) -> bool {
    process.executable.file_name().and_then(OsStr::to_str) == Some("traefik")
}

/// Options with their values: `--a=b`, `--a b`, `--a`.
fn options(arguments: &[String]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut words = arguments.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            continue;
        };
        let (name, value) = if let Some((name, value)) = option.split_once('=') {
            (name.to_owned(), value.to_owned())
        } else {
            let value = words.next_if(|next| !next.starts_with('-'));
            (option.to_owned(), value.cloned().unwrap_or_default())
        };
        out.push((name, value));
    }
    out
}

impl TraefikInstance {
    /// The Traefik that this process is.
    ///
    /// # Errors
    /// When it is gone or may not be inspected.
    pub fn of_process(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let pid = facts.key.pid;
        let link = format!("/proc/{pid}/cwd");
        let directory = fs::read_link(&link).with_context(|| format!("read {link}"))?;
        let environment = foreign::fact(pid, "environ").unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables: Vec<(&str, &str)> =
            environment.split('\0').filter_map(|pair| pair.split_once('=')).collect();
        let (files, given) = found_by(&options(&facts.arguments), &variables);
        let files = files.iter().map(|file| directory.join(file)).collect();
        Ok(Self { process: facts.key, files, given: given.into(), directory })
    }

    /// Where its configuration begins.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// Reads its files, as far as its API does not say that others are loaded.
    ///
    /// # Errors
    /// When the process is gone. A configuration that cannot be used, or an API that does not answer, is
    /// part of the reading.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let pid = self.process.pid;
        let stat = Stat::read(pid)?;
        anyhow::ensure!(stat.start_ticks == self.process.start_ticks, "Traefik {pid} is gone");
        let root = ForeignRoot::of_process(pid)?;
        let started_at = since_boot(stat.start_ticks);
        let files = match self.files(&root) {
            Ok(files) => files,
            Err(fault) => return Ok(reading(Err(fault), None, started_at)),
        };
        let changed = |path: &PathBuf| root.changed_at(path).ok();
        let changed_at = files.read.iter().filter_map(changed).max();
        let is_started_anew = files.read.first().filter(|path| self.files.contains(path));
        let is_older = is_started_anew.and_then(changed).is_some_and(|at| is_newer(at, started_at));
        let is_watched =
            files.started.providers.file.as_ref().is_some_and(|file| file.watch != Some(false));
        let is_loaded = match self.asked(&files.started) {
            Ok(None) => true,
            Ok(Some(running)) => running == traefik::server_urls(&files.parts),
            Err(fault) => return Ok(reading(Err(fault), changed_at, started_at)),
        };
        // What is written is loaded at once, unless something is wrong with it.
        let is_in_force = is_watched && is_loaded && !is_older;
        let loaded_at =
            changed_at.filter(|at| is_in_force && *at > started_at).unwrap_or(started_at);
        let intent = traefik::read(&files.started, &files.parts);
        let intent = intent.map(|intent| Intent { files: files.read, ..intent });
        Ok(reading(intent, changed_at, loaded_at))
    }

    fn files(&self, root: &ForeignRoot) -> Result<Files, Fault> {
        let mut found = self.files.iter().filter_map(|path| Some((path, root.read(path).ok()?)));
        let (started, read) = match found.next() {
            Some((path, content)) => (parse(path, &content)?, vec![path.clone()]),
            None => (Static::clone(&self.given), Vec::new()),
        };
        Files::of(root, started, &self.directory, read)
    }

    /// The URLs of servers that are loaded of files, as its API says; `None` if it has none that can be
    /// asked.
    fn asked(&self, started: &Static) -> Result<Option<BTreeMap<String, Vec<String>>>, Fault> {
        let pid = self.process.pid;
        let Some(door) = door(started) else { return Ok(None) };
        if !admin::is_in_our_network(pid).unwrap_or(false) {
            return Ok(None);
        }
        let answer = admin::ask(pid, &door, QUESTION).and_then(|body| {
            bounded::check(&body)?;
            serde_json::from_slice::<RawData>(&body).context("understand the answer")
        });
        let raw = answer.map_err(|error| Fault {
            at: Place { file: format!("{door}{QUESTION}").into(), line: 0 },
            text: bounded::words(&error),
        })?;
        let of_files = raw.services.into_iter().filter(|(name, _)| name.ends_with("@file"));
        let urls = |service: RawService| {
            let balancer = service.load_balancer?;
            Some(balancer.servers.into_iter().map(|server| server.url).collect())
        };
        Ok(Some(of_files.filter_map(|(name, service)| Some((name, urls(service)?))).collect()))
    }
}

fn reading(
    intent: Result<Intent, Fault>,
    changed_at: Option<UnixTime>,
    loaded_at: UnixTime,
) -> Reading {
    Reading { intent, changed_at, loaded_at, newest: None, from: ReadFrom::Files }
}

/// Files where the static configuration may be, and what the command line and the environment say
/// where there is none.
fn found_by(options: &[(String, String)], variables: &[(&str, &str)]) -> (Vec<PathBuf>, Static) {
    let variable =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let named = options.iter().find(|(name, _)| name.eq_ignore_ascii_case("configfile"));
    let named = named.map(|(_, file)| file.as_str()).or_else(|| variable("TRAEFIK_CONFIGFILE"));
    let home = variable("HOME").map(|home| format!("{home}/.config/traefik"));
    let config = variable("XDG_CONFIG_HOME").map(|home| format!("{home}/traefik"));
    let usual = [Some("/etc/traefik/traefik".to_owned()), config, home, Some("traefik".to_owned())];
    let mut files: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
    for beginning in usual.into_iter().flatten() {
        files.extend(ENDINGS.iter().map(|ending| format!("{beginning}.{ending}").into()));
    }
    let mut given = Static::default();
    let is_option = options.iter().any(|(name, _)| !name.eq_ignore_ascii_case("configfile"));
    if is_option {
        for (name, value) in options {
            given.set(name, value);
        }
    } else {
        for (name, value) in variables {
            if let Some(path) = name.strip_prefix("TRAEFIK_") {
                given.set(&path.replace('_', "."), value);
            }
        }
    }
    (files, given)
}

/// Where its API is; `None` if it listens nowhere without a router.
fn door(started: &Static) -> Option<Door> {
    started.api.as_ref().filter(|api| api.insecure)?;
    let address = started.entry_points.get("traefik").map(|entry| entry.address.as_str());
    let Some(address) = address else {
        return Some(Door::Tcp((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()));
    };
    let (host, port) = address.rsplit_once(':')?;
    // The protocol may follow.
    let port = port.split('/').next()?.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = match host {
        "" | "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().ok()?,
    };
    Some(Door::Tcp(SocketAddr::new(ip, port)))
}

/// The files of a configuration.
struct Files {
    started: Static,
    parts: Vec<(Arc<str>, Dynamic)>,
    /// All of them, the static one first.
    read: Vec<PathBuf>,
}

impl Files {
    /// Those that a static configuration names; relative names begin at `directory`.
    fn of(
        files: &dyn ConfigFiles,
        started: Static,
        directory: &Path,
        mut read: Vec<PathBuf>,
    ) -> Result<Self, Fault> {
        let provider = started.providers.file.clone().unwrap_or_default();
        let paths = if provider.directory.is_empty() {
            let named = Some(&provider.filename).filter(|name| !name.is_empty());
            named.map(|name| directory.join(name)).into_iter().collect()
        } else {
            let (mut found, mut names) = (Vec::new(), 0);
            below(files, &directory.join(&provider.directory), 0, &mut names, &mut found)?;
            found
        };
        let mut parts = Vec::new();
        for path in paths {
            let content = files.read(&path).map_err(|error| fault(&path, 0, error.to_string()))?;
            parts.push((path.to_string_lossy().into(), dynamic(&path, &content)?));
            read.push(path);
        }
        Ok(Self { started, parts, read })
    }
}

/// The files of the file provider in a directory and below it.
fn below(
    files: &dyn ConfigFiles,
    directory: &Path,
    depth: usize,
    names: &mut usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), Fault> {
    let mut listed = Vec::new();
    for pattern in ["*", ".*"] {
        let matched = files.glob(&directory.join(pattern));
        listed.extend(matched.map_err(|error| fault(directory, 0, error.to_string()))?);
    }
    // Of two files that say the same the first counts.
    listed.sort();
    *names += listed.len();
    if *names > MAX_NAMES {
        return Err(fault(directory, 0, format!("more than {MAX_NAMES} files and directories")));
    }
    for path in listed {
        if ENDINGS.iter().any(|ending| has_ending(&path, ending)) {
            found.push(path);
        } else if depth < MAX_DEPTH {
            below(files, &path, depth + 1, names, found)?;
        }
        if found.len() > MAX_FILES {
            return Err(fault(directory, 0, format!("more than {MAX_FILES} files")));
        }
    }
    Ok(())
}

/// Whether a file is of a kind, in whatever case its name says so.
fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// What a file says: a dynamic configuration, or a static one with the files that it names.
///
/// # Errors
/// When it is neither.
pub fn read_file(files: &dyn ConfigFiles, path: &Path) -> Result<Intent, Fault> {
    let content = files.read(path).map_err(|error| fault(path, 0, error.to_string()))?;
    let started: Static = parse(path, &content)?;
    let found = if started.providers.file.is_some() {
        let directory = path.parent().unwrap_or(path).to_owned();
        Files::of(files, started, &directory, vec![path.to_owned()])?
    } else {
        let parts = vec![(path.to_string_lossy().into(), dynamic(path, &content)?)];
        Files { started: Static::default(), parts, read: vec![path.to_owned()] }
    };
    let intent = traefik::read(&found.started, &found.parts)?;
    Ok(Intent { files: found.read, ..intent })
}

fn dynamic(path: &Path, content: &[u8]) -> Result<Dynamic, Fault> {
    if let Some(at) = content.windows(TEMPLATE.len()).position(|two| two == TEMPLATE) {
        let line = content[..at].split(|byte| *byte == b'\n').count();
        return Err(fault(path, line, "templates are not evaluated".to_owned()));
    }
    parse(path, content)
}

fn fault(path: &Path, line: usize, text: String) -> Fault {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Fault { at: Place { file: path.to_string_lossy().into(), line }, text }
}

/// TOML or, by any other ending of its name, YAML.
fn parse<T: DeserializeOwned + Default>(path: &Path, content: &[u8]) -> Result<T, Fault> {
    let failed = |line, error: anyhow::Error| fault(path, line, bounded::words(&error));
    bounded::check_yaml(content).map_err(|error| failed(0, error))?;
    let text = std::str::from_utf8(content)
        .map_err(|error| failed(0, anyhow::Error::new(error).context("read it as text")))?;
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    if has_ending(path, "toml") {
        return toml::from_str(text).map_err(|error| {
            let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
            let line = before.matches('\n').count() + 1;
            failed(line, anyhow::anyhow!("{}", error.message()))
        });
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        failed(line, anyhow::Error::new(error).context("understand it as YAML"))
    })
}

/// What is read of an answer of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawData {
    services: BTreeMap<String, RawService>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawService {
    load_balancer: Option<RawBalancer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBalancer {
    servers: Vec<RawServer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawServer {
    url: String,
}

#[cfg(test)]
mod tests;

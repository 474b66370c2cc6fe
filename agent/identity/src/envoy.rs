//! Running Envoys: their bootstrap, their admin interface, and what that says is in force.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    admin::{self, Door},
    bounded,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading, is_newer},
};
use hopsight_posture::policy::{
    envoy::{self, Bootstrap, ConfigDump},
    files::ConfigFiles as _,
    intent::{Fault, Intent, Place, Remark},
    time::UnixTime,
};
use hopsight_system::process::{ProcessFacts, ProcessKey, Stat, since_boot};

/// What the admin interface is asked for.
pub const QUESTION: &str = "/config_dump?include_eds";
/// Why only the bootstrap is known.
const ELSEWHERE: &str = "its admin interface listens by TCP in another network namespace and is not \
    asked: a socket in the file system (pipe) would be";
/// What only an answer has.
const DUMPED: &[u8] = b"envoy.admin.v3.ClustersConfigDump";

/// The command line options that decide about the configuration (`envoy --help`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-c`, `--config-path`.
    pub path: Option<String>,
    /// `--config-yaml`: merged over the file.
    pub yaml: Option<String>,
    /// `--admin-address-path`: where Envoy writes the address of its admin interface.
    pub admin_address_path: Option<String>,
}

impl CommandLine {
    /// Reads arguments.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let mut out = Self::default();
        let mut words = arguments.iter().skip(1).map(String::as_str);
        while let Some(word) = words.next() {
            let (option, glued) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, Some(value)),
                _ => (word, None),
            };
            let place = match option {
                "-c" | "--config-path" => &mut out.path,
                "--config-yaml" => &mut out.yaml,
                "--admin-address-path" => &mut out.admin_address_path,
                _ => continue,
            };
            *place = glued.or_else(|| words.next()).map(str::to_owned);
        }
        out
    }
}

/// A running Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyInstance {
    /// The process.
    pub process: ProcessKey,
    /// Its bootstrap file, as a path in its root.
    file: Option<PathBuf>,
    /// What its command line says beside the file.
    yaml: Option<String>,
    /// Where it writes the address of its admin interface.
    admin_address: Option<PathBuf>,
}

/// Whether a process is an Envoy, by the name of its program (`envoy`, `envoy-static`, ...).
#[must_use]
pub fn is_envoy(process: &ProcessFacts) -> bool {
    let name = process.executable.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name == "envoy" || name.starts_with("envoy-")
}

impl EnvoyInstance {
    /// The Envoy that this process is.
    ///
    /// # Errors
    /// When it is gone or may not be inspected, or was started with no configuration.
    pub fn of_process(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let pid = facts.key.pid;
        let link = format!("/proc/{pid}/cwd");
        let directory = fs::read_link(&link).with_context(|| format!("read {link}"))?;
        let CommandLine { path, yaml, admin_address_path } = CommandLine::parse(&facts.arguments);
        anyhow::ensure!(path.is_some() || yaml.is_some(), "process {pid} was started with no -c");
        let within = |path: String| directory.join(path);
        let (file, admin_address) = (path.map(within), admin_address_path.map(within));
        Ok(Self { process: facts.key, file, yaml, admin_address })
    }

    /// Where its configuration begins.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().collect()
    }

    /// Asks its admin interface what is in force; without one, what its bootstrap file says is.
    ///
    /// # Errors
    /// When the process is gone. A configuration that cannot be used, or an admin interface that does
    /// not answer, is part of the reading.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let pid = self.process.pid;
        let stat = Stat::read(pid)?;
        anyhow::ensure!(stat.start_ticks == self.process.start_ticks, "Envoy {pid} is gone");
        let root = ForeignRoot::of_process(pid)?;
        let started_at = since_boot(stat.start_ticks);
        let bootstrap = match self.bootstrap(&root) {
            Ok(bootstrap) => bootstrap,
            Err(fault) => {
                let (intent, loaded_at) = (Err(fault), started_at);
                return Ok(Reading {
                    intent,
                    changed_at: None,
                    loaded_at,
                    newest: None,
                    from: ReadFrom::Files,
                });
            }
        };
        let changed_at = self.file.as_ref().and_then(|file| root.changed_at(file).ok());
        let door = self.door(&root, &bootstrap);
        let is_elsewhere = matches!(door, Some(Door::Tcp(_))) && !admin::is_in_our_network(pid)?;
        if let Some(door) = door
            && !is_elsewhere
        {
            return Ok(self.ask(&door, started_at, changed_at));
        }
        let mut intent = envoy::bootstrap(&bootstrap, &self.name());
        if let Ok(intent) = &mut intent {
            intent.files = self.sources();
            if is_elsewhere {
                let at = Place { file: self.name().into(), line: 0 };
                intent.remarks.push(Remark { at, text: ELSEWHERE.to_owned() });
            }
        }
        Ok(Reading {
            intent,
            changed_at,
            loaded_at: started_at,
            newest: Some(stat.start_ticks),
            from: ReadFrom::Files,
        })
    }

    fn name(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => "--config-yaml".to_owned(),
        }
    }

    fn fault(&self, text: String) -> Fault {
        Fault { at: Place { file: self.name().into(), line: 0 }, text }
    }

    fn bootstrap(&self, root: &ForeignRoot) -> Result<Bootstrap, Fault> {
        let mut merged = Bootstrap::default();
        if let Some(file) = &self.file {
            let content =
                root.read(file).map_err(|error| self.fault(format!("cannot read it: {error}")))?;
            merged = parse(&content, is_yaml(&self.name()))
                .map_err(|error| self.fault(bounded::words(&error)))?;
        }
        if let Some(yaml) = &self.yaml {
            let over =
                parse(yaml.as_bytes(), true).map_err(|error| self.fault(bounded::words(&error)))?;
            merged.merge(over);
        }
        Ok(merged)
    }

    /// How its admin interface is reached; `None` if there is none.
    fn door(&self, root: &ForeignRoot, bootstrap: &Bootstrap) -> Option<Door> {
        let address = bootstrap.admin.as_ref()?.address.as_ref()?;
        let written = self.admin_address.as_ref().and_then(|path| root.read(path).ok());
        let written = written.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        match (&address.pipe, &address.socket_address) {
            (Some(pipe), _) => Some(Door::Socket(pipe.path.clone().into())),
            (None, Some(_)) if written.is_some() => written.map(Door::Tcp),
            (None, Some(socket)) => {
                let ip: IpAddr = socket.address.parse().ok()?;
                Some(Door::Tcp(SocketAddr::new(ip, socket.port_value)))
            }
            (None, None) => None,
        }
    }

    /// What its admin interface says; the bootstrap of which the file changed at `changed_at` is read
    /// when it is started, and never again.
    fn ask(&self, door: &Door, started_at: UnixTime, changed_at: Option<UnixTime>) -> Reading {
        let failed = |error: anyhow::Error| {
            let at = Place { file: format!("{door}{QUESTION}").into(), line: 0 };
            Fault { at, text: bounded::words(&error) }
        };
        let answer = admin::ask(self.process.pid, door, QUESTION);
        let running = answer.and_then(|body| read_dump(&body)).map_err(failed).flatten();
        match running {
            Ok(running) => {
                let updated = running.updated.as_deref().and_then(parse_time);
                let loaded_at = updated.unwrap_or(started_at);
                let files = vec![PathBuf::from(format!("{door}{QUESTION}"))];
                let intent = Ok(Intent { files, ..running.intent });
                let is_changed = changed_at.is_some_and(|at| is_newer(at, started_at));
                let from = ReadFrom::Proxy { is_pending: is_changed || running.warming > 0 };
                Reading { intent, changed_at: None, loaded_at, newest: None, from }
            }
            Err(fault) => {
                let from = ReadFrom::Proxy { is_pending: false };
                Reading {
                    intent: Err(fault),
                    changed_at: None,
                    loaded_at: started_at,
                    newest: None,
                    from,
                }
            }
        }
    }
}

/// A bootstrap in YAML, or in JSON. Envoy tells them apart by the file's name; one of
/// another name that does not begin as JSON does is read as YAML too.
///
/// # Errors
/// When it is neither.
pub fn parse(content: &[u8], is_yaml: bool) -> anyhow::Result<Bootstrap> {
    let text = std::str::from_utf8(content).context("read it as text")?;
    if !is_yaml && text.trim_start().starts_with('{') {
        bounded::check(content)?;
        return serde_json::from_str(text).context("understand it as JSON");
    }
    bounded::check_yaml(content)?;
    envoy::read_yaml(text).context("understand it as YAML")
}

/// Whether Envoy takes a file of this name for YAML (`MessageUtil::loadFromFile`).
fn is_yaml(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    ["yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What a file says: a bootstrap, or a saved answer to `/config_dump?include_eds`.
///
/// # Errors
/// When it is neither.
pub fn read_file(content: &[u8], name: &str) -> Result<Intent, Fault> {
    let fault = |error: anyhow::Error| Fault {
        at: Place { file: name.into(), line: 0 },
        text: bounded::words(&error),
    };
    let is_dump = content.windows(DUMPED.len()).any(|window| window == DUMPED);
    if is_dump {
        return read_dump(content).map_err(fault).flatten().map(|running| running.intent);
    }
    envoy::bootstrap(&parse(content, is_yaml(name)).map_err(fault)?, name)
}

/// What is in force by an answer of the admin interface.
///
/// # Errors
/// When it is none; what is in it may be too much.
pub fn read_dump(content: &[u8]) -> anyhow::Result<Result<envoy::Running, Fault>> {
    bounded::check(content)?;
    let dump: ConfigDump = serde_json::from_slice(content).context("understand the answer")?;
    Ok(envoy::running(&dump))
}

/// A moment as Envoy writes it (RFC 3339, UTC).
fn parse_time(text: &str) -> Option<UnixTime> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_microsecond()).ok().map(UnixTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let some = |text: &str| Some(text.to_owned());
        for (arguments, path, yaml) in [
            ("envoy -c /etc/envoy/envoy.yaml", some("/etc/envoy/envoy.yaml"), None),
            ("envoy --config-path=a.json --base-id 7", some("a.json"), None),
            ("envoy --config-path a.json --config-yaml {}", some("a.json"), some("{}")),
            ("envoy --log-level debug", None, None),
            ("envoy -c", None, None),
        ] {
            let words: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            let command = CommandLine::parse(&words);
            assert_eq!((command.path, command.yaml), (path, yaml), "{arguments}");
        }
    }

    #[test]
    fn bootstraps_are_json_or_yaml() {
        let yaml =
            "admin:\n  address:\n    socket_address: { address: 127.0.0.1, port_value: 9901 }\n";
        let json =
            r#"{"admin":{"address":{"socketAddress":{"address":"127.0.0.1","portValue":9901}}}}"#;
        for (text, is_yaml) in [(yaml, true), (json, true), (yaml, false), (json, false)] {
            let admin = parse(text.as_bytes(), is_yaml).unwrap().admin.unwrap();
            assert_eq!(admin.address.unwrap().socket_address.unwrap().port_value, 9901, "{text}");
        }
        for bad in ["{", "a: [", "\u{0}"] {
            assert!(parse(bad.as_bytes(), true).is_err(), "{bad:?}");
        }
        assert!(is_yaml("/etc/envoy.yaml") && is_yaml("a.YML") && !is_yaml("envoy.json"));
        assert_eq!(parse_time("2026-11-29T18:00:00.5Z"), Some(UnixTime(1_795_975_200_500_000)));
        assert_eq!(parse_time("soon"), None);
    }
}

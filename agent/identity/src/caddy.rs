//! Running Caddys: their admin interface, what it says is in force, and what Caddy saved of it.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

use super::{
    admin::{self, Door},
    bounded,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading, is_newer},
};
use hopsight_posture::policy::{
    caddy::{self, Config},
    files::ConfigFiles as _,
    intent::{Fault, Intent, Place},
    time::UnixTime,
};
use hopsight_system::{
    foreign,
    process::{ProcessFacts, ProcessKey, Stat, since_boot},
};

/// What the admin interface is asked for.
const QUESTION: &str = "/config/";
/// Where it listens unless something else is said.
const DEFAULT_PORT: u16 = 2019;

/// A running Caddy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaddyInstance {
    /// The process.
    pub process: ProcessKey,
    /// The configuration file that it was started with, as a path in its root.
    file: Option<PathBuf>,
    /// Where it saves what it has loaded.
    saved: Option<PathBuf>,
    /// Where its admin interface listens, if its environment says so.
    admin: Option<String>,
}

/// Whether a process is a Caddy, by the name of its program.
#[must_use]
pub fn is_caddy(process: &ProcessFacts) -> bool {
    process.executable.file_name().and_then(OsStr::to_str) == Some("caddy")
}

/// The value of `--config` or `-c`.
fn file_of(arguments: &[String]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).map(String::as_str);
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix("--config=") {
            return Some(value);
        }
        if matches!(word, "--config" | "-c") {
            return words.next();
        }
    }
    None
}

impl CaddyInstance {
    /// The Caddy that this process is.
    ///
    /// # Errors
    /// When it is gone or may not be inspected.
    pub fn of_process(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let pid = facts.key.pid;
        let link = format!("/proc/{pid}/cwd");
        let directory = fs::read_link(&link).with_context(|| format!("read {link}"))?;
        let environment = foreign::fact(pid, "environ").unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variable = |name: &str| {
            let pairs = environment.split('\0').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next_back()
        };
        // As `os.UserConfigDir` of Go finds it.
        let home = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
        Ok(Self {
            process: facts.key,
            file: file_of(&facts.arguments).map(|file| directory.join(file)),
            saved: home.map(|home| directory.join(home).join("caddy/autosave.json")),
            admin: variable("CADDY_ADMIN"),
        })
    }

    /// Where its configuration begins.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().collect()
    }

    /// Asks its admin interface what is in force; without one, what it saved or was started with is.
    ///
    /// # Errors
    /// When the process is gone. A configuration that cannot be used, or an admin interface that does
    /// not answer, is part of the reading.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let pid = self.process.pid;
        let stat = Stat::read(pid)?;
        anyhow::ensure!(stat.start_ticks == self.process.start_ticks, "Caddy {pid} is gone");
        let root = ForeignRoot::of_process(pid)?;
        let started_at = since_boot(stat.start_ticks);
        // An older one is of somebody who ran before.
        let saved_at = self.saved.as_ref().and_then(|saved| root.changed_at(saved).ok());
        let saved_at = saved_at.filter(|at| *at >= started_at);
        let saved = self.saved.as_ref().filter(|_| saved_at.is_some());
        let written = [saved, self.file.as_ref()].into_iter().flatten().find_map(|path| {
            let config = parse(&root.read(path).ok()?).ok()?;
            Some((path.clone(), config))
        });
        let loaded_at = saved_at.unwrap_or_else(|| UnixTime::from(SystemTime::now()));
        let running = |intent: Result<Intent, Fault>| {
            let since = saved_at.unwrap_or(started_at);
            let runs = intent.as_ref().ok();
            let is_pending = runs.is_some_and(|runs| self.waits(&root, since, runs));
            let from = ReadFrom::Proxy { is_pending };
            Reading { intent, changed_at: None, loaded_at, newest: None, from }
        };
        // What is written need not be what runs: it counts only where nobody can be asked.
        let door = self.door(written.as_ref().map(|(_, config)| config));
        if let Some(door) = door.filter(|door| admin::is_open(pid, door)) {
            let place = format!("{door}{QUESTION}");
            let answer = admin::ask(pid, &door, QUESTION).and_then(|body| parse(&body));
            let intent = answer.map_err(|error| fault(&place, &error));
            let intent = intent.and_then(|config| with_files(caddy::read(&config), place.into()));
            return Ok(running(intent));
        }
        let Some((path, config)) = written else {
            let text = "its admin interface cannot be asked, and it saved nothing".to_owned();
            let at = Place { file: format!("process {pid}").into(), line: 0 };
            let intent = Err(Fault { at, text });
            return Ok(Reading { loaded_at: started_at, ..running(intent) });
        };
        let changed_at = root.changed_at(&path).ok();
        let is_saved = saved == Some(&path);
        let reading = Reading { changed_at, ..running(with_files(caddy::read(&config), path)) };
        Ok(if is_saved {
            reading
        } else {
            Reading { loaded_at: started_at, from: ReadFrom::Files, ..reading }
        })
    }

    /// Whether the file that it was started with changed after the last load and says something else
    /// than `runs`. Of a Caddyfile that does not show.
    fn waits(&self, root: &ForeignRoot, loaded_at: UnixTime, runs: &Intent) -> bool {
        let Some(file) = &self.file else { return false };
        if !root.changed_at(file).is_ok_and(|changed_at| is_newer(changed_at, loaded_at)) {
            return false;
        }
        let config = root.read(file).ok().and_then(|content| parse(&content).ok());
        let says = config.and_then(|config| caddy::read(&config).ok());
        says.is_some_and(|says| says.upstreams != runs.upstreams)
    }

    /// Where its admin interface is; `None` if it is switched off.
    fn door(&self, written: Option<&Config>) -> Option<Door> {
        let admin = written.and_then(|config| config.admin.as_ref());
        if admin.is_some_and(|admin| admin.disabled) {
            return None;
        }
        let listen = admin.map(|admin| admin.listen.as_str()).filter(|listen| !listen.is_empty());
        match listen.or(self.admin.as_deref()) {
            Some(listen) => door_at(listen),
            None => Some(Door::Tcp((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into())),
        }
    }
}

/// An address as Caddy writes it.
fn door_at(listen: &str) -> Option<Door> {
    if let Some(path) = listen.strip_prefix("unix/") {
        // Permissions may follow.
        let path = path.split('|').next().unwrap_or(path);
        return Some(Door::Socket(path.into()));
    }
    let address = listen.strip_prefix("tcp/").unwrap_or(listen);
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = match host {
        "" | "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().ok()?,
    };
    Some(Door::Tcp(SocketAddr::new(ip, port.parse().ok()?)))
}

fn with_files(intent: Result<Intent, Fault>, file: PathBuf) -> Result<Intent, Fault> {
    intent.map(|intent| Intent { files: vec![file], ..intent })
}

fn fault(file: &str, error: &anyhow::Error) -> Fault {
    Fault { at: Place { file: file.into(), line: 0 }, text: bounded::words(error) }
}

fn parse(content: &[u8]) -> anyhow::Result<Config> {
    bounded::check(content)?;
    serde_json::from_slice(content)
        .context("understand it as Caddy's JSON (`caddy adapt` makes it of a Caddyfile)")
}

/// What a file says.
///
/// # Errors
/// When it is no JSON of Caddy's: of a Caddyfile, `caddy adapt` makes one.
pub fn read_file(content: &[u8], name: &str) -> Result<Intent, Fault> {
    caddy::read(&parse(content).map_err(|error| fault(name, &error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_found() {
        for (arguments, expected) in [
            ("caddy run --config /etc/caddy/caddy.json", Some("/etc/caddy/caddy.json")),
            ("caddy run --config=a.json --adapter caddyfile", Some("a.json")),
            ("caddy run --environ -c b", Some("b")),
            ("caddy run", None),
        ] {
            let words: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            assert_eq!(file_of(&words), expected, "{arguments}");
        }
        for (listen, expected) in [
            ("localhost:2019", Some("http://127.0.0.1:2019")),
            (":2019", Some("http://127.0.0.1:2019")),
            ("tcp/[::1]:2020", Some("http://[::1]:2020")),
            ("unix//run/caddy.sock|0600", Some("unix:/run/caddy.sock:")),
            ("caddy.internal:2019", None),
            ("2019", None),
        ] {
            let door = door_at(listen).as_ref().map(ToString::to_string);
            assert_eq!(door.as_deref(), expected, "{listen}");
        }
    }
}

//! Running haproxy instances: their main process, the files they were started with, and whether what
//! is on disk is what they are running.

use std::{ffi::OsStr, fs, path::Path};

use anyhow::Context as _;

use super::{
    environment,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading},
    workers,
};
use hopsight_posture::policy::{
    haproxy::{self, Start},
    intent::Fault,
};
use hopsight_system::process::{ProcessFacts, ProcessKey, since_boot};

/// The command line options that decide about the configuration (`haproxy(1)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-f`, and what comes after `--`.
    pub files: Vec<String>,
    /// `-C`: where relative names begin.
    pub directory: Option<String>,
    /// `-dV`: servers that say nothing of it are not verified.
    pub verifies_nobody: bool,
}

impl CommandLine {
    /// Reads arguments.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let mut out = Self::default();
        let mut words = arguments.iter().skip(1).map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--" => {
                    out.files.extend(words.by_ref().map(str::to_owned));
                }
                "-f" => out.files.extend(words.next().map(str::to_owned)),
                "-C" => out.directory = words.next().map(str::to_owned),
                // What follows these two letters haproxy passes over.
                debug if debug.starts_with("-dV") => out.verifies_nobody = true,
                // Options that take the next word; process numbers after `-sf` begin with no dash.
                "-p" | "-n" | "-N" | "-m" | "-L" | "-S" | "-x" => drop(words.next()),
                _ => {}
            }
        }
        out
    }
}

/// A running haproxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaproxyInstance {
    /// Its master process, or the only one.
    pub main: ProcessKey,
    /// What it was told, with paths in its root.
    pub start: Start,
}

/// Whether a process runs haproxy.
fn is_haproxy(executable: &Path) -> bool {
    executable.file_name() == Some(OsStr::new("haproxy"))
}

/// The main process of the haproxy that a process belongs to: itself, or the master that started it
/// (`-W`). `None` if it is no haproxy.
#[must_use]
pub fn main_of(process: &ProcessFacts) -> Option<ProcessFacts> {
    if !is_haproxy(&process.executable) {
        return None;
    }
    let parent = ProcessFacts::read(process.parent).ok();
    let master = parent.filter(|parent| is_haproxy(&parent.executable));
    Some(master.unwrap_or_else(|| process.clone()))
}

impl HaproxyInstance {
    /// The instance of this main process.
    ///
    /// # Errors
    /// When it is gone or may not be inspected, or was started with no file.
    pub fn of_main(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let pid = facts.key.pid;
        let link = format!("/proc/{pid}/cwd");
        let started_in = fs::read_link(&link).with_context(|| format!("read {link}"))?;
        let command = CommandLine::parse(&facts.arguments);
        let directory = match &command.directory {
            Some(directory) => started_in.join(directory),
            None => started_in,
        };
        let sources: Vec<_> = command.files.iter().map(|file| directory.join(file)).collect();
        anyhow::ensure!(!sources.is_empty(), "process {pid} was started with no -f");
        let (environment, verifies) = (environment::of_process(pid), !command.verifies_nobody);
        let start = Start { sources, directory, environment, verifies };
        Ok(Self { main: facts.key, start })
    }

    /// Reads the configuration as haproxy would.
    ///
    /// # Errors
    /// When the process is gone. A faulty configuration is part of the reading.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let files = ForeignRoot::of_process(self.main.pid)?;
        let newest = self.newest_start()?;
        let intent = haproxy::read(&files, &self.start);
        let changed_at = match &intent {
            Ok(intent) => {
                let read = intent.files.iter().chain(&self.start.sources);
                read.filter_map(|file| files.changed_at(file).ok()).max()
            }
            Err(_) => None,
        };
        let intent = intent.map_err(Fault::from);
        let loaded_at = since_boot(newest);
        Ok(Reading { intent, changed_at, loaded_at, newest: Some(newest), from: ReadFrom::Files })
    }

    /// When the newest worker started, in clock ticks after boot; if there is none, the process itself.
    fn newest_start(&self) -> anyhow::Result<u64> {
        workers::newest_start("haproxy", self.main, |pid| {
            // A master may have started other programs as well.
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|file| is_haproxy(&file))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        for (arguments, files, directory) in [
            ("haproxy -f /etc/haproxy/haproxy.cfg", &["/etc/haproxy/haproxy.cfg"][..], None),
            (
                "/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -S /run/x.sock",
                &["/etc/haproxy/haproxy.cfg"],
                None,
            ),
            (
                "haproxy -sf 12 13 -x sockpair@4 -W -C /etc/haproxy -f a.cfg -f conf.d -L peer",
                &["a.cfg", "conf.d"],
                Some("/etc/haproxy"),
            ),
            ("haproxy -db -- a.cfg b.cfg", &["a.cfg", "b.cfg"], None),
            ("haproxy -p -f x.cfg", &[], None),
            ("haproxy -f", &[], None),
            ("haproxy", &[], None),
        ] {
            let words: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            let command = CommandLine::parse(&words);
            assert_eq!(command.files, files, "{arguments}");
            assert_eq!(command.directory.as_deref(), directory, "{arguments}");
        }
        for (arguments, expected) in [
            ("haproxy -W -dV -f a.cfg", true),
            ("haproxy -dVb -f a.cfg", true),
            ("haproxy -dbV -f a.cfg", false),
            ("haproxy -V -d -p -dV -f a.cfg", false),
        ] {
            let words: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            assert_eq!(CommandLine::parse(&words).verifies_nobody, expected, "{arguments}");
        }
    }
}

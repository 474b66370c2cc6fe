//! Running nginx instances: their master, their main configuration file, and whether what is on
//! disk is what they are running.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use memchr::memmem;

use super::foreign_root::ForeignRoot;
use hopsight_core::policy::{
    intent::Intent,
    nginx::{self, ConfigError},
    time::UnixTime,
};
use hopsight_system::{
    foreign,
    process::{ProcessFacts, ProcessKey, Stat, since_boot},
};

/// The largest nginx executable that is searched for its built-in paths.
const MAX_EXECUTABLE_BYTES: u64 = 256 << 20;
/// How much of it is looked at once, and how much of that again with the next piece.
const WINDOW: u64 = 1 << 20;
const LONGEST_ARGUMENT: usize = 4096 + 16;
/// By how much the start of a process and the change of a file may differ and still mean the same
/// moment: both clocks advance in ticks.
const TICKS: Duration = Duration::from_millis(20);

const MASTER_TITLE: &str = "nginx: master process ";
const WORKER_TITLE: &str = "nginx: worker process";

/// The command line options that decide about the configuration file (`nginx -h`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-c`.
    pub configuration: Option<String>,
    /// `-p`.
    pub prefix: Option<String>,
}

impl CommandLine {
    /// Reads arguments, or the title of a master process, which has them joined by spaces.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let words: Vec<&str> = match arguments {
            [title, ..] if title.starts_with(MASTER_TITLE) => {
                title[MASTER_TITLE.len()..].split_ascii_whitespace().collect()
            }
            arguments => arguments.iter().map(String::as_str).collect(),
        };
        let mut out = Self::default();
        let mut words = words.into_iter().skip(1);
        while let Some(word) = words.next() {
            let Some(options) = word.strip_prefix('-') else { continue };
            // Options without a value can stand together; one with a value takes the rest of the
            // word or the next one.
            let Some(at) = options.find(['c', 'p', 'g', 'e', 's']) else { continue };
            let (option, rest) = (&options[at..=at], &options[at + 1..]);
            let value = if rest.is_empty() { words.next() } else { Some(rest) };
            match option {
                "c" => out.configuration = value.map(str::to_owned),
                "p" => out.prefix = value.map(str::to_owned),
                _ => {}
            }
        }
        out
    }
}

/// The paths built into an nginx executable (`nginx -V`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// `--prefix`.
    pub prefix: PathBuf,
    /// `--conf-path`; relative to the prefix that is in force, unless absolute.
    pub configuration: PathBuf,
}

impl BuiltIn {
    /// Finds the arguments of nginx's `configure` in its executable, where `nginx -V` takes them from.
    /// An option that was not given has its default. The file is read in windows.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn find(mut executable: impl io::Read) -> io::Result<Self> {
        let (mut prefix, mut configuration) = (None, None);
        let mut window = Vec::new();
        loop {
            let kept = window.len();
            let read = executable.by_ref().take(WINDOW).read_to_end(&mut window)?;
            prefix = prefix.or_else(|| configure_argument(&window, b"--prefix="));
            configuration = configuration.or_else(|| configure_argument(&window, b"--conf-path="));
            if read == 0 || (prefix.is_some() && configuration.is_some()) {
                break;
            }
            // An argument may lie across the border of two windows.
            window.drain(..(kept + read).saturating_sub(LONGEST_ARGUMENT));
        }
        let or = |found: Option<String>, default: &str| found.unwrap_or_else(|| default.to_owned());
        Ok(Self {
            prefix: or(prefix, "/usr/local/nginx").into(),
            configuration: or(configuration, "conf/nginx.conf").into(),
        })
    }

    /// The main configuration file of a process with this command line and working directory.
    #[must_use]
    pub fn main_file(&self, command: &CommandLine, directory: &Path) -> PathBuf {
        let prefix = match &command.prefix {
            Some(prefix) => directory.join(prefix),
            None => self.prefix.clone(),
        };
        match &command.configuration {
            Some(configuration) => prefix.join(configuration),
            None => prefix.join(&self.configuration),
        }
    }
}

/// The value of an option that begins a word in the configure arguments.
fn configure_argument(executable: &[u8], option: &[u8]) -> Option<String> {
    let mut from = 0;
    while let Some(found) = memmem::find(&executable[from..], option) {
        let at = from + found;
        let begins_word = at == 0 || matches!(executable[at - 1], 0 | b' ' | b'\'');
        let value = &executable[at + option.len()..];
        let value = &value[..value.len().min(LONGEST_ARGUMENT)];
        let end = value.iter().position(|byte| matches!(byte, 0 | b' ' | b'\'' | b'\n'));
        match str::from_utf8(&value[..end.unwrap_or(0)]) {
            // Elsewhere in the file it is a format or a help text.
            Ok(value) if begins_word && !value.is_empty() && !value.contains('%') => {
                return Some(value.to_owned());
            }
            _ => from = at + option.len(),
        }
    }
    None
}

/// A running nginx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NginxInstance {
    /// Its master process (the only one with `master_process off`).
    pub master: ProcessKey,
    /// Its main configuration file, as a path in the master's root.
    pub main_file: PathBuf,
}

/// What an instance's configuration says, and whether the instance is running it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the files say.
    pub intent: Result<Intent, ConfigError>,
    /// When the newest of the files was changed; `None` where they could not be read.
    pub changed_at: Option<UnixTime>,
    /// When the newest worker started: the last (re)load, unless a worker had crashed since.
    pub loaded_at: UnixTime,
}

impl Reading {
    /// Whether the files were changed after they were loaded, so that what they say is not yet what
    /// nginx does. That a file was removed from an included directory does not show.
    #[must_use]
    pub fn pending_reload(&self) -> bool {
        self.changed_at.is_some_and(|changed| is_newer(changed, self.loaded_at))
    }
}

/// Whether a file changed after a configuration was loaded, as far as both clocks can tell.
#[must_use]
pub fn is_newer(changed_at: UnixTime, loaded_at: UnixTime) -> bool {
    changed_at > loaded_at + TICKS
}

/// The master process of the nginx that a process belongs to: itself, or its parent. `None` if it
/// is no nginx.
///
/// # Errors
/// When the parent is gone or may not be inspected.
pub fn master_of(process: &ProcessFacts) -> anyhow::Result<Option<ProcessFacts>> {
    let title = process.arguments.first().map_or("", String::as_str);
    let runs_nginx = || process.executable.file_name().is_some_and(|name| name == "nginx");
    if title.starts_with(MASTER_TITLE) || (!title.starts_with("nginx: ") && runs_nginx()) {
        return Ok(Some(process.clone()));
    }
    if !title.starts_with("nginx: ") {
        return Ok(None);
    }
    let parent = ProcessFacts::read(process.parent)
        .with_context(|| format!("find the master of nginx process {}", process.key.pid))?;
    let title = parent.arguments.first().map_or("", String::as_str);
    let is_master = title.starts_with(MASTER_TITLE) || !title.starts_with("nginx: ");
    anyhow::ensure!(is_master, "process {} is no nginx master", parent.key.pid);
    Ok(Some(parent))
}

impl NginxInstance {
    /// The instance that `pid`, a master or worker process of nginx, belongs to.
    ///
    /// # Errors
    /// When the process or its master is gone or may not be inspected.
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let master = master_of(&ProcessFacts::read(pid)?)?;
        Self::of_master(&master.with_context(|| format!("process {pid} is no nginx"))?)
    }

    /// The instance of this master process.
    ///
    /// # Errors
    /// When it is gone or may not be inspected.
    pub fn of_master(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let master = facts.key;
        let executable = format!("/proc/{}/exe", master.pid);
        let file = fs::File::open(&executable).with_context(|| format!("open {executable}"))?;
        let size = file.metadata().with_context(|| format!("look at {executable}"))?.len();
        anyhow::ensure!(size <= MAX_EXECUTABLE_BYTES, "{executable} is too large to be nginx");
        let built_in = BuiltIn::find(file).with_context(|| format!("read {executable}"))?;
        let directory = format!("/proc/{}/cwd", master.pid);
        let directory = fs::read_link(&directory).with_context(|| format!("read {directory}"))?;
        let command = CommandLine::parse(&facts.arguments);
        let main_file = built_in.main_file(&command, &directory);
        Ok(Self { master, main_file })
    }

    /// Reads the configuration as the master would.
    ///
    /// # Errors
    /// When the master is gone. A faulty configuration is part of the reading: the caller keeps
    /// the last good intent.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let files = ForeignRoot::of_process(self.master.pid)?;
        let loaded_at = self.loaded_at()?;
        let intent = nginx::read(&files, &self.main_file);
        let changed_at = match &intent {
            Ok(intent) => intent.files.iter().filter_map(|file| files.changed_at(file).ok()).max(),
            Err(_) => None,
        };
        Ok(Reading { intent, changed_at, loaded_at })
    }

    /// When the newest of these files of the instance was changed, not counting removed ones;
    /// `None` if there is none.
    ///
    /// # Errors
    /// When the master is gone.
    pub fn changed_at(&self, files: &[PathBuf]) -> anyhow::Result<Option<UnixTime>> {
        let root = ForeignRoot::of_process(self.master.pid)?;
        Ok(files.iter().filter_map(|file| root.changed_at(file).ok()).max())
    }

    /// When the newest worker started; if there is none, the master itself.
    ///
    /// # Errors
    /// When the master is gone.
    pub fn loaded_at(&self) -> anyhow::Result<UnixTime> {
        let stat = Stat::read(self.master.pid)?;
        anyhow::ensure!(
            stat.start_ticks == self.master.start_ticks,
            "nginx master {} is gone",
            self.master.pid
        );
        let workers = fs::read_dir("/proc").context("list processes")?.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = Stat::read(pid).ok().filter(|stat| stat.parent == self.master.pid)?;
            let title = foreign::fact(pid, "cmdline").ok()?;
            title.starts_with(WORKER_TITLE.as_bytes()).then_some(stat.start_ticks)
        });
        Ok(since_boot(workers.max().unwrap_or(stat.start_ticks)))
    }
}

#[cfg(test)]
mod tests;

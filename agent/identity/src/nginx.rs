//! Running nginx instances: their master, their main configuration file, and whether what is on
//! disk is what they are running.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use memchr::memmem;

use super::{
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading},
    workers,
};
use hopsight_posture::policy::{intent::Fault, nginx};
use hopsight_system::{
    foreign,
    process::{ProcessFacts, ProcessKey, since_boot},
};

/// The largest nginx executable that is searched for its built-in paths.
const MAX_EXECUTABLE_BYTES: u64 = 256 << 20;
/// How much of it is looked at once, and how much of that again with the next piece.
const WINDOW: u64 = 1 << 20;
const LONGEST_ARGUMENT: usize = 4096 + 16;

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
                words_of_title(&title[MASTER_TITLE.len()..])
            }
            arguments => arguments.iter().skip(1).map(String::as_str).collect(),
        };
        let mut out = Self::default();
        let mut words = words.into_iter();
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

/// The arguments in a title, which has them joined by spaces. One that has spaces itself ends where the
/// next option begins.
fn words_of_title(title: &str) -> Vec<&str> {
    let begins_option = |at: &usize| {
        let mut after = title[*at..].bytes();
        after.next() == Some(b'-')
            && after.next().is_some_and(|byte| b"?hvVtTqspceg".contains(&byte))
    };
    let starts = title.match_indices(' ').map(|(at, _)| at + 1).filter(begins_option);
    let starts: Vec<_> = starts.collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([title.len()]);
    let options = starts.iter().zip(ends).map(|(&start, end)| &title[start..end]);
    options
        .flat_map(|option| {
            option.split_once(' ').map_or(vec![option], |(name, value)| {
                if value.is_empty() { vec![name] } else { vec![name, value] }
            })
        })
        .collect()
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
        // `configure` puts quotes around a value with spaces.
        let (value, is_quoted) = match value.strip_prefix(b"'") {
            Some(quoted) => (quoted, true),
            None => (value, false),
        };
        let ends = |byte: &u8| match byte {
            0 | b'\'' | b'\n' => true,
            byte => *byte == b' ' && !is_quoted,
        };
        let end = value.iter().position(ends);
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
        let newest = self.newest_start()?;
        let intent = nginx::read(&files, &self.main_file);
        let changed_at = match &intent {
            Ok(intent) => intent.files.iter().filter_map(|file| files.changed_at(file).ok()).max(),
            Err(_) => None,
        };
        let intent = intent.map_err(Fault::from);
        let loaded_at = since_boot(newest);
        Ok(Reading { intent, changed_at, loaded_at, newest: Some(newest), from: ReadFrom::Files })
    }

    /// When the newest worker started, in clock ticks after boot; if there is none, the master itself.
    ///
    /// # Errors
    /// When the master is gone.
    fn newest_start(&self) -> anyhow::Result<u64> {
        workers::newest_start("nginx master", self.master, |pid| {
            let title = foreign::fact(pid, "cmdline");
            title.is_ok_and(|title| title.starts_with(WORKER_TITLE.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests;

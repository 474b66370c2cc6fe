//! Running Apaches: their master, how they were started, and whether what is on disk is what they are
//! running.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use memchr::memmem;

use super::{
    environment,
    foreign_root::ForeignRoot,
    reading::{ReadFrom, Reading},
    workers,
};
use hopsight_posture::policy::{
    apache::{self, BuiltIn, Start},
    intent::Fault,
};
use hopsight_system::process::{ProcessFacts, ProcessKey, since_boot};

/// The largest program that is searched.
const MAX_EXECUTABLE_BYTES: u64 = 64 << 20;
/// How much of it is looked at once, and how much of that again with the next piece.
const WINDOW: u64 = 1 << 20;
const OVERLAP: usize = 4096 + 32;
/// Names of modules that are kept.
const MAX_MODULES: usize = 1_000;
/// The longest name of a module's file.
const LONGEST_MODULE: usize = 64;

/// The command line options that decide about the configuration (`httpd -h`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-f`.
    pub file: Option<String>,
    /// `-d`.
    pub root: Option<String>,
    /// `-D`.
    pub defines: Vec<String>,
    /// `-C`.
    pub before: Vec<String>,
    /// `-c`.
    pub after: Vec<String>,
}

impl CommandLine {
    /// Reads arguments.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let mut out = Self::default();
        let mut words = arguments.iter().skip(1).map(String::as_str);
        while let Some(word) = words.next() {
            let Some(options) = word.strip_prefix('-') else { continue };
            // Options without a value can stand together; one with a value takes the rest of the word
            // or the next one.
            let Some(at) = options.find(['D', 'C', 'c', 'd', 'f', 'k', 'e', 'E', 'R']) else {
                continue;
            };
            let (option, rest) = (&options[at..=at], &options[at + 1..]);
            let value = if rest.is_empty() { words.next() } else { Some(rest) };
            let Some(value) = value.map(str::to_owned) else { continue };
            match option {
                "f" => out.file = Some(value),
                "d" => out.root = Some(value),
                "D" => out.defines.push(value),
                "C" => out.before.push(value),
                "c" => out.after.push(value),
                _ => {}
            }
        }
        out
    }
}

/// What is built into a program (`httpd -V` and `httpd -l`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `HTTPD_ROOT`.
    pub root: PathBuf,
    /// `SERVER_CONFIG_FILE`; relative to the root that is in force, unless absolute.
    pub file: PathBuf,
    /// Files of modules that are named in it: those that are built in, and others.
    pub modules: BTreeSet<String>,
}

impl Program {
    /// Finds it in the program, where `httpd -V` and `httpd -l` take it from. It is read in windows.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn find(mut executable: impl io::Read) -> io::Result<Self> {
        let (mut root, mut file) = (None, None);
        let mut modules = BTreeSet::new();
        let mut window = Vec::new();
        loop {
            let kept = window.len();
            let read = executable.by_ref().take(WINDOW).read_to_end(&mut window)?;
            root = root.or_else(|| setting(&window, b"-D HTTPD_ROOT=\""));
            file = file.or_else(|| setting(&window, b"-D SERVER_CONFIG_FILE=\""));
            for name in modules_in(&window) {
                if modules.len() < MAX_MODULES {
                    modules.insert(name);
                }
            }
            if read == 0 {
                break;
            }
            // A text may lie across the border of two windows.
            window.drain(..(kept + read).saturating_sub(OVERLAP));
        }
        let or = |found: Option<String>, default: &str| found.unwrap_or_else(|| default.to_owned());
        Ok(Self {
            root: or(root, "/usr/local/apache2").into(),
            file: or(file, "conf/httpd.conf").into(),
            modules,
        })
    }
}

/// What stands between a text and the next quotation mark.
fn setting(program: &[u8], name: &[u8]) -> Option<String> {
    let at = memmem::find(program, name)? + name.len();
    let value = &program[at..program.len().min(at + OVERLAP)];
    let end = value.iter().position(|byte| matches!(byte, b'"' | 0))?;
    let value = std::str::from_utf8(&value[..end]).ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// The names `mod_….c` in a program that end a text.
fn modules_in(program: &[u8]) -> impl Iterator<Item = String> {
    let is_in_name =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    memmem::find_iter(program, b"mod_").filter_map(move |at| {
        let rest = &program[at..program.len().min(at + LONGEST_MODULE)];
        let end = rest.iter().position(|byte| !is_in_name(byte))?;
        let is_file = rest[end..].starts_with(b".c\0");
        is_file.then(|| String::from_utf8_lossy(&rest[..end + 2]).into_owned())
    })
}

/// A running Apache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApacheInstance {
    /// Its master process.
    pub master: ProcessKey,
    /// How it was started, with paths in its root.
    pub start: Start,
    /// The program that it runs.
    program: PathBuf,
}

/// Whether a program is an Apache, by its name: `httpd`, Debian's `apache2`, or one with the name of
/// its model of processes behind it.
fn is_apache(program: &Path) -> bool {
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let rest = name.strip_prefix("apache2").or_else(|| name.strip_prefix("httpd"));
    rest.is_some_and(|rest| {
        ["", "-prefork", "-worker", "-event", ".worker", ".event"].contains(&rest)
    })
}

/// The master process of the Apache that a process belongs to: itself, or its parent. `None` if it is
/// no Apache.
#[must_use]
pub fn master_of(process: &ProcessFacts) -> Option<ProcessFacts> {
    if !is_apache(&process.executable) {
        return None;
    }
    let parent = ProcessFacts::read(process.parent).ok();
    let master = parent.filter(|parent| parent.executable == process.executable);
    Some(master.unwrap_or_else(|| process.clone()))
}

impl ApacheInstance {
    /// The instance of this master process.
    ///
    /// # Errors
    /// When it is gone or may not be inspected.
    pub fn of_master(facts: &ProcessFacts) -> anyhow::Result<Self> {
        let pid = facts.key.pid;
        let executable = format!("/proc/{pid}/exe");
        let file = fs::File::open(&executable).with_context(|| format!("open {executable}"))?;
        let size = file.metadata().with_context(|| format!("look at {executable}"))?.len();
        anyhow::ensure!(size <= MAX_EXECUTABLE_BYTES, "{executable} is too large to be Apache");
        let program = Program::find(file).with_context(|| format!("read {executable}"))?;
        let link = format!("/proc/{pid}/cwd");
        let directory = fs::read_link(&link).with_context(|| format!("read {link}"))?;
        let start = start(&CommandLine::parse(&facts.arguments), program, &directory);
        let start = Start { environment: environment::of_process(pid), ..start };
        Ok(Self { master: facts.key, start, program: facts.executable.clone() })
    }

    /// Reads the configuration as the master would.
    ///
    /// # Errors
    /// When the master is gone. A faulty configuration is part of the reading: the caller keeps the
    /// last good intent.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let files = ForeignRoot::of_process(self.master.pid)?;
        let newest = self.newest_start()?;
        let intent = apache::read(&files, &self.start);
        let changed_at = match &intent {
            Ok(intent) => intent.files.iter().filter_map(|file| files.changed_at(file).ok()).max(),
            Err(_) => None,
        };
        let intent = intent.map_err(Fault::from);
        let loaded_at = since_boot(newest);
        Ok(Reading { intent, changed_at, loaded_at, newest: Some(newest), from: ReadFrom::Files })
    }

    /// When the newest process of it started, in clock ticks after boot; if there is none, the master
    /// itself.
    fn newest_start(&self) -> anyhow::Result<u64> {
        workers::newest_start("Apache's master", self.master, |pid| {
            // It starts other programs as well, such as those that write its logs.
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|file| file == self.program)
        })
    }
}

/// How a program is started by a command line in a directory; its environment is not looked at.
fn start(command: &CommandLine, program: Program, directory: &Path) -> Start {
    let root = match &command.root {
        Some(root) => directory.join(root),
        None => program.root,
    };
    let file = command.file.as_ref().map_or(program.file, PathBuf::from);
    Start {
        root: root.clone(),
        defines: Some(command.defines.clone()),
        built_in: BuiltIn::Among(program.modules),
        before: command.before.clone(),
        after: command.after.clone(),
        ..Start::of_file(root.join(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn command_lines() {
        let some = |text: &str| Some(text.to_owned());
        for (arguments, file, root, defines) in [
            ("/usr/sbin/apache2 -k start", None, None, &[][..]),
            ("httpd -DFOREGROUND", None, None, &["FOREGROUND"]),
            ("httpd -D A -DB -f conf/a.conf", some("conf/a.conf"), None, &["A", "B"]),
            ("httpd -X -d /srv -f/etc/a.conf", some("/etc/a.conf"), some("/srv"), &[]),
            ("httpd -k -f x", None, None, &[]),
            ("httpd -f", None, None, &[]),
        ] {
            let command = CommandLine::parse(&words(arguments));
            assert_eq!((command.file, command.root), (file, root), "{arguments}");
            assert_eq!(command.defines, defines, "{arguments}");
        }
        let lines = ["httpd", "-C", "Define A 1", "-c", "ProxyPass / http://a/"].map(str::to_owned);
        let command = CommandLine::parse(&lines);
        assert_eq!(
            (command.before, command.after),
            (vec![lines[2].clone()], vec![lines[4].clone()])
        );
    }

    #[test]
    fn what_is_built_in_is_found_in_the_program() {
        let mut program = vec![b'x'; 3 << 20];
        let mut put = |at: usize, text: &[u8]| program[at..at + text.len()].copy_from_slice(text);
        put((1 << 20) - 10, b" -D HTTPD_ROOT=\"/etc/httpd\"\n\0");
        put((2 << 20) + 100, b" -D SERVER_CONFIG_FILE=\"conf/a.conf\"\n\0");
        put((2 << 20) - 3, b"mod_so.c\0mod_ssl.c:\0mod_\0");
        let found = Program::find(&*program).unwrap();
        assert_eq!(found.root, Path::new("/etc/httpd"));
        assert_eq!(found.modules.iter().map(String::as_str).collect::<Vec<_>>(), ["mod_so.c"]);
        let start_of = |line: &str| {
            let command = CommandLine::parse(&words(line));
            let start = start(&command, found.clone(), Path::new("/tmp"));
            (start.file.display().to_string(), start.root.display().to_string())
        };
        for (line, file, root) in [
            ("httpd", "/etc/httpd/conf/a.conf", "/etc/httpd"),
            ("httpd -d srv", "/tmp/srv/conf/a.conf", "/tmp/srv"),
            ("httpd -f /a.conf", "/a.conf", "/etc/httpd"),
        ] {
            assert_eq!(start_of(line), (file.to_owned(), root.to_owned()), "{line}");
        }
        let nothing = Program::find(&b"nothing"[..]).unwrap();
        assert_eq!(
            nothing.root.join(nothing.file),
            Path::new("/usr/local/apache2/conf/httpd.conf")
        );
    }

    #[test]
    fn programs_are_told_by_their_names() {
        for (program, expected) in [
            ("/usr/sbin/apache2", true),
            ("/usr/sbin/httpd", true),
            ("/usr/sbin/httpd-prefork", true),
            ("/usr/sbin/lighttpd", false),
            ("/usr/bin/httpd_exporter", false),
            ("/", false),
        ] {
            assert_eq!(is_apache(Path::new(program)), expected, "{program}");
        }
    }
}

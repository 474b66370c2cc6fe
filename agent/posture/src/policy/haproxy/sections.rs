//! The sections of all files of a configuration, in their order.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    condition::{Conditions, Counts},
    error::{ConfigError, Problem},
    words,
};
use crate::policy::{
    environment::Environment,
    files::ConfigFiles,
    intent::{Place, Remark, remark},
};

/// Files, bytes, lines and words taken at most. Real configurations stay far below.
const MAX_FILES: usize = 1_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_LINES: usize = 200_000;
const MAX_WORDS: usize = 1_000_000;

/// What begins a section.
const KINDS: [&str; 19] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "userlist",
    "mailers",
    "cache",
    "program",
    "ring",
    "http-errors",
    "fcgi-app",
    "log-forward",
    "log-profile",
    "traces",
    "crt-store",
    "acme",
];

/// One line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// At least one.
    pub(super) words: Vec<String>,
    pub(super) at: Place,
    /// It stands in a condition that is not decided here.
    pub(super) is_open: bool,
}

impl Line {
    pub(super) fn keyword(&self) -> &str {
        &self.words[0]
    }

    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError { place: self.at.clone(), problem }
    }

    /// The word after the keyword.
    pub(super) fn argument(&self, expected: &'static str) -> Result<&str, ConfigError> {
        let missing = || Problem::Arguments { keyword: self.keyword().to_owned(), expected };
        self.words.get(1).map(String::as_str).ok_or_else(|| self.error(missing()))
    }
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its first line: what it is and how it is called.
    pub(super) head: Line,
    pub(super) lines: Vec<Line>,
    /// The branch of a condition that it begins in, if that is not decided.
    branch: Option<usize>,
}

impl Section {
    pub(super) fn name(&self) -> Option<&str> {
        // `defaults from other` has none.
        self.head.words.get(1).map(String::as_str).filter(|&word| word != "from")
    }

    /// The `defaults` section that it names.
    pub(super) fn from(&self) -> Option<&str> {
        let from = self.head.words.iter().position(|word| word == "from")?;
        self.head.words.get(from + 1).map(String::as_str)
    }
}

/// Reads files into sections.
pub(super) struct SectionReader<'a> {
    files: &'a dyn ConfigFiles,
    environment: Environment,
    pub(super) sections: Vec<Section>,
    pub(super) read: Vec<PathBuf>,
    pub(super) remarks: Vec<Remark>,
    bytes: usize,
    lines: usize,
    words: usize,
}

impl<'a> SectionReader<'a> {
    pub(super) fn new(files: &'a dyn ConfigFiles, mut environment: Environment) -> Self {
        environment.forget_own("HAPROXY_");
        Self {
            files,
            environment,
            sections: Vec::new(),
            read: Vec::new(),
            remarks: Vec::new(),
            bytes: 0,
            lines: 0,
            words: 0,
        }
    }

    /// The environment as it is after the last line.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Reads what `-f` names: a file, or the `*.cfg` in a directory.
    pub(super) fn argument(&mut self, path: &Path) -> Result<(), ConfigError> {
        let place = Place { file: path.to_string_lossy().into(), line: 0 };
        let unreadable = |error: &io::Error| ConfigError {
            place: place.clone(),
            problem: Problem::Unreadable {
                path: path.display().to_string(),
                error: error.to_string(),
            },
        };
        let error = match self.files.read(path) {
            Ok(content) => return self.file(path, &content),
            Err(error) => error,
        };
        let may_be_a_directory =
            matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput);
        if !may_be_a_directory {
            return Err(unreadable(&error));
        }
        let found = self.files.glob(&path.join("*.cfg")).map_err(|error| unreadable(&error))?;
        if found.is_empty() {
            remark(&mut self.remarks, &place, || "no file here ends with .cfg".to_owned());
        }
        for path in found {
            let content = self.files.read(&path).map_err(|error| unreadable(&error))?;
            self.file(&path, &content)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &[u8]) -> Result<(), ConfigError> {
        let file: Arc<str> = path.to_string_lossy().into();
        let at = |line: usize| Place {
            file: Arc::clone(&file),
            line: u32::try_from(line).unwrap_or(u32::MAX),
        };
        let too_much = |line, what, limit| ConfigError {
            place: at(line),
            problem: Problem::TooMuch { what, limit },
        };
        self.bytes += content.len();
        if self.bytes > MAX_BYTES {
            return Err(too_much(0, "bytes", MAX_BYTES));
        }
        if self.read.len() == MAX_FILES {
            return Err(too_much(0, "files", MAX_FILES));
        }
        self.read.push(path.to_owned());
        let mut conditions = Conditions::default();
        let text = String::from_utf8_lossy(content);
        let mut last = 0;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            let faulty = |problem| ConfigError { place: at(number), problem };
            let words = words::split(line, &self.environment).map_err(faulty)?;
            self.count(&words).map_err(faulty)?;
            if words.is_empty() || conditions.take(&words, &self.environment).map_err(faulty)? {
                continue;
            }
            let is_open = match conditions.counts() {
                Counts::Yes => false,
                Counts::Perhaps => true,
                Counts::No => continue,
            };
            self.line(Line { words, at: at(number), is_open }, &conditions).map_err(faulty)?;
        }
        conditions.end().map_err(|problem| ConfigError { place: at(last), problem })
    }

    fn count(&mut self, words: &[String]) -> Result<(), Problem> {
        self.lines += 1;
        self.words += words.len();
        let counts = [("lines", self.lines, MAX_LINES), ("words", self.words, MAX_WORDS)];
        match counts.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, _, limit)) => Err(Problem::TooMuch { what, limit }),
            None => Ok(()),
        }
    }

    fn line(&mut self, mut line: Line, conditions: &Conditions) -> Result<(), Problem> {
        if KINDS.contains(&line.keyword()) {
            let branch = conditions.open_branch();
            self.sections.push(Section { head: line, lines: Vec::new(), branch });
            return Ok(());
        }
        self.set_environment(&line);
        // A section that begins in a branch that has ended may not be there: then the line is of one
        // before it. What stands before the first section haproxy refuses; nothing here depends on it.
        for position in (0..self.sections.len()).rev() {
            let branch = self.sections[position].branch;
            let is_sure = branch.is_none_or(|branch| conditions.is_in(branch));
            if is_sure {
                self.sections[position].lines.push(line);
                break;
            }
            line.is_open = true;
            self.count(&line.words)?;
            self.sections[position].lines.push(line.clone());
        }
        Ok(())
    }

    fn set_environment(&mut self, line: &Line) {
        let environment = &mut self.environment;
        match (line.keyword(), &line.words[1..]) {
            ("setenv" | "presetenv", [name, ..]) if line.is_open => environment.forget(name),
            ("unsetenv", names) if line.is_open => {
                for name in names {
                    environment.forget(name);
                }
            }
            ("resetenv", names) if line.is_open => environment.forget_all_but(names),
            ("setenv", [name, value, ..]) => environment.set(name, value, false),
            ("presetenv", [name, value, ..]) => environment.set(name, value, true),
            ("unsetenv", names) => names.iter().for_each(|name| environment.unset(name)),
            ("resetenv", names) => environment.keep(names),
            _ => {}
        }
    }
}

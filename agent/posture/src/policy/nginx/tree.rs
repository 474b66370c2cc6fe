//! The directive tree of a configuration, includes expanded in place.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{ConfigError, Problem},
    token::{End, Tokenizer},
};
use crate::policy::{
    files::ConfigFiles,
    glob,
    intent::{Place, Remark, remark},
};

/// Files read, and files and bytes taken at most. Real configurations stay far below.
const MAX_FILES: usize = 10_000;
const MAX_BYTES: usize = 32 << 20;
/// Directives in all, each of which takes many times the bytes of its text, and their words.
const MAX_DIRECTIVES: usize = 200_000;
const MAX_WORDS: usize = 1_000_000;
/// Nesting of includes and of blocks, each.
const MAX_DEPTH: usize = 48;

/// One directive with its arguments and, for a block directive, what is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    /// The last one of a block of Lua is its code.
    pub(super) args: Vec<String>,
    pub(super) at: Place,
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError { place: self.at.clone(), problem }
    }

    /// The only argument.
    pub(super) fn argument(&self) -> Result<&str, ConfigError> {
        match self.args.as_slice() {
            [argument] => Ok(argument),
            _ => Err(self.error(Problem::Arguments { directive: self.name.clone() })),
        }
    }

    /// `on` or `off`, in any case (`ngx_conf_set_flag_slot`).
    pub(super) fn flag(&self) -> Result<bool, ConfigError> {
        let value = self.argument()?;
        match value {
            _ if value.eq_ignore_ascii_case("on") => Ok(true),
            _ if value.eq_ignore_ascii_case("off") => Ok(false),
            _ => Err(self.invalid(value, "\"on\" or \"off\"")),
        }
    }

    pub(super) fn invalid(&self, value: &str, expected: &'static str) -> ConfigError {
        self.error(Problem::InvalidValue {
            directive: self.name.clone(),
            value: value.to_owned(),
            expected,
        })
    }

    /// What is inside of a block directive.
    pub(super) fn inside(&self) -> Result<&[Self], ConfigError> {
        self.block
            .as_deref()
            .ok_or_else(|| self.error(Problem::Arguments { directive: self.name.clone() }))
    }
}

/// Blocks whose content is data that nobody asks for. Files they include must exist all the same.
const DATA_BLOCKS: [&str; 5] = ["geo", "types", "split_clients", "charset_map", "match"];

/// Reads a main configuration file and everything it includes.
pub(super) struct TreeReader<'a> {
    files: &'a dyn ConfigFiles,
    /// Relative paths begin here: the directory of the main configuration file.
    conf_prefix: &'a Path,
    pub(super) read: Vec<PathBuf>,
    pub(super) remarks: Vec<Remark>,
    bytes: usize,
    directives: usize,
    words: usize,
}

impl<'a> TreeReader<'a> {
    pub(super) fn new(files: &'a dyn ConfigFiles, conf_prefix: &'a Path) -> Self {
        Self {
            files,
            conf_prefix,
            read: Vec::new(),
            remarks: Vec::new(),
            bytes: 0,
            directives: 0,
            words: 0,
        }
    }

    /// `included_at` is the place of the `include`, the main file itself for the first.
    pub(super) fn file(
        &mut self,
        path: &Path,
        included_at: &Place,
        depth: usize,
    ) -> Result<Vec<Directive>, ConfigError> {
        let at_include = |problem| ConfigError { place: included_at.clone(), problem };
        if depth > MAX_DEPTH {
            return Err(at_include(Problem::TooMuch { what: "nested includes", limit: MAX_DEPTH }));
        }
        if self.read.len() >= MAX_FILES {
            return Err(at_include(Problem::TooMuch { what: "files", limit: MAX_FILES }));
        }
        let content =
            self.files.read(path).map_err(|error| at_include(unreadable(path, &error)))?;
        self.bytes += content.len();
        if self.bytes > MAX_BYTES {
            return Err(at_include(Problem::TooMuch { what: "bytes", limit: MAX_BYTES }));
        }
        self.read.push(path.to_owned());
        let mut file = OpenFile {
            tokenizer: Tokenizer::new(&content),
            name: Arc::from(path.to_string_lossy()),
            depth,
        };
        self.block(&mut file, 0)
    }

    /// The directives up to the end of the block (of the file at `nesting` 0).
    fn block(
        &mut self,
        file: &mut OpenFile<'_>,
        nesting: usize,
    ) -> Result<Vec<Directive>, ConfigError> {
        if nesting > MAX_DEPTH {
            return Err(file.error(Problem::TooMuch { what: "nested blocks", limit: MAX_DEPTH }));
        }
        let mut out = Vec::new();
        loop {
            let statement = file.tokenizer.statement().map_err(|problem| file.error(problem))?;
            let at = Place { file: Arc::clone(&file.name), line: statement.line };
            self.directives += 1;
            self.words += statement.words.len();
            for (what, count, limit) in
                [("directives", self.directives, MAX_DIRECTIVES), ("words", self.words, MAX_WORDS)]
            {
                if count > limit {
                    let problem = Problem::TooMuch { what, limit };
                    return Err(ConfigError { place: at, problem });
                }
            }
            let mut words = statement.words;
            let block = match statement.end {
                End::File if nesting == 0 => return Ok(out),
                End::File => return Err(file.error(Problem::EndOfFile { open_quote: None })),
                End::CloseBrace if nesting > 0 => return Ok(out),
                End::CloseBrace => return Err(file.error(Problem::Unexpected { found: '}' })),
                End::Semicolon => None,
                End::OpenBrace if is_lua(&words) => {
                    let code = file.tokenizer.lua().map(String::from_utf8_lossy);
                    match code.map(Cow::into_owned) {
                        Ok(code) => words.push(code),
                        Err(problem) => return Err(file.error(problem)),
                    }
                    Some(Vec::new())
                }
                End::OpenBrace => Some(self.block(file, nesting + 1)?),
            };
            let mut words = words.into_iter();
            let name = words.next().unwrap_or_default();
            let mut directive = Directive { name, args: words.collect(), at, block };
            match directive.name.as_str() {
                "include" => out.append(&mut self.include(&directive, file.depth)?),
                name if DATA_BLOCKS.contains(&name) => {
                    directive.block = directive.block.map(|_| Vec::new());
                    out.push(directive);
                }
                _ => out.push(directive),
            }
        }
    }

    fn include(
        &mut self,
        directive: &Directive,
        depth: usize,
    ) -> Result<Vec<Directive>, ConfigError> {
        let argument = directive.argument()?;
        let path = self.conf_prefix.join(argument);
        if !glob::is_pattern(argument) {
            return self.file(&path, &directive.at, depth + 1);
        }
        let matches =
            self.files.glob(&path).map_err(|error| directive.error(unreadable(&path, &error)))?;
        if matches.is_empty() {
            let text = || format!("no file matches include \"{argument}\"");
            remark(&mut self.remarks, &directive.at, text);
        }
        let mut out = Vec::new();
        for path in matches {
            out.append(&mut self.file(&path, &directive.at, depth + 1)?);
        }
        Ok(out)
    }
}

struct OpenFile<'a> {
    tokenizer: Tokenizer<'a>,
    name: Arc<str>,
    depth: usize,
}

impl OpenFile<'_> {
    fn error(&self, problem: Problem) -> ConfigError {
        let place = Place { file: Arc::clone(&self.name), line: self.tokenizer.line() };
        ConfigError { place, problem }
    }
}

fn is_lua(words: &[String]) -> bool {
    words.first().is_some_and(|name| name.ends_with("_by_lua_block"))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::Unreadable { path: path.display().to_string(), error: error.to_string() }
}

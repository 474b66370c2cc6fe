//! The sections and directives that say something about upstreams, with everything in place that Apache
//! does while it reads: includes, variables, conditions, macros.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    Start,
    directive::{Conditions, Directive, is_about_upstreams},
    error::{ConfigError, Problem},
    macros::Macro,
    modules::Modules,
    source::{Open, Source, skip},
    words::{self, expand, word},
};
use crate::policy::{
    environment::Environment,
    files::ConfigFiles,
    glob,
    intent::{Place, Remark, remark},
};

/// What is taken at most. Real configurations stay far below.
const MAX_FILES: usize = 10_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_LINES: usize = 400_000;
const MAX_DIRECTIVES: usize = 100_000;
const MAX_OPEN: usize = 256;
/// Bytes of a line once its variables are replaced.
const MAX_LINE: usize = 64 << 10;
/// Nesting of includes, uses of macros and sections together.
const MAX_DEPTH: usize = 48;

/// Reads files into directives.
pub(super) struct TreeReader<'a> {
    files: &'a dyn ConfigFiles,
    /// Relative names begin here.
    root: PathBuf,
    variables: Environment,
    /// What `<IfDefine>` asks for, and whether that is all there is.
    defined: BTreeSet<String>,
    perhaps_defined: BTreeSet<String>,
    all_are_defined: bool,
    modules: Modules,
    macros: BTreeMap<String, Macro>,
    /// Undecided conditions so far.
    open: u32,
    pub(super) read: Vec<PathBuf>,
    pub(super) remarks: Vec<Remark>,
    bytes: usize,
    lines: usize,
    directives: usize,
}

impl<'a> TreeReader<'a> {
    pub(super) fn new(files: &'a dyn ConfigFiles, start: &Start) -> Self {
        Self {
            files,
            root: start.root.clone(),
            variables: start.environment.clone(),
            defined: start.defines.iter().flatten().cloned().collect(),
            perhaps_defined: BTreeSet::new(),
            all_are_defined: start.defines.is_some(),
            modules: Modules::new(&start.built_in),
            macros: BTreeMap::new(),
            open: 0,
            read: Vec::new(),
            remarks: Vec::new(),
            bytes: 0,
            lines: 0,
            directives: 0,
        }
    }

    /// Where relative names begin by now.
    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// What the main file says, between the directives of the command line.
    pub(super) fn all(&mut self, start: &Start) -> Result<Vec<Directive>, ConfigError> {
        let mut out = Vec::new();
        let given = |option: &str, lines: &[String]| {
            Source::new(lines.iter().map(|line| (0, line.clone())).collect(), option.into())
        };
        let none = Conditions::default();
        self.block(&mut given("-C", &start.before), None, &mut out, &none, 0)?;
        let main = Place { file: start.file.to_string_lossy().into(), line: 0 };
        let content = self.files.read(&start.file).map_err(|error| ConfigError {
            place: main.clone(),
            problem: unreadable(&start.file, &error),
        })?;
        self.file(&start.file, &content, &main, &mut out, &none, 0)?;
        self.block(&mut given("-c", &start.after), None, &mut out, &none, 0)?;
        Ok(out)
    }

    fn file(
        &mut self,
        path: &Path,
        content: &[u8],
        included_at: &Place,
        out: &mut Vec<Directive>,
        conditions: &Conditions,
        depth: usize,
    ) -> Result<(), ConfigError> {
        self.take_bytes(content.len(), included_at)?;
        if self.read.len() >= MAX_FILES {
            let problem = Problem::TooMuch { what: "files", limit: MAX_FILES };
            return Err(ConfigError { place: included_at.clone(), problem });
        }
        self.read.push(path.to_owned());
        let lines = words::lines(&String::from_utf8_lossy(content));
        let mut source = Source::new(lines, path.to_string_lossy().into());
        self.block(&mut source, None, out, conditions, depth)
    }

    fn take_bytes(&mut self, count: usize, at: &Place) -> Result<(), ConfigError> {
        self.bytes += count;
        if self.bytes <= MAX_BYTES {
            return Ok(());
        }
        let problem = Problem::TooMuch { what: "bytes", limit: MAX_BYTES };
        Err(ConfigError { place: at.clone(), problem })
    }

    /// What follows up to the end of the section, or of the source where there is none.
    fn block(
        &mut self,
        source: &mut Source,
        section: Option<Open<'_>>,
        out: &mut Vec<Directive>,
        conditions: &Conditions,
        depth: usize,
    ) -> Result<(), ConfigError> {
        while let Some((at, raw)) = source.next() {
            let failed = |problem| ConfigError { place: at.clone(), problem };
            let line = expand(&raw, &self.variables);
            self.lines += 1;
            for (what, count, limit) in [
                ("lines", self.lines, MAX_LINES),
                ("directives about upstreams", self.directives, MAX_DIRECTIVES),
                ("nested includes and sections", depth, MAX_DEPTH),
                ("bytes in one line", line.len(), MAX_LINE),
            ] {
                if count > limit {
                    return Err(failed(Problem::TooMuch { what, limit }));
                }
            }
            let Some((name, rest)) = word(&line) else { continue };
            if let Some(closed) = name.strip_prefix("</") {
                let found = closed.trim_end_matches('>');
                if section.is_some_and(|open| open.name.eq_ignore_ascii_case(found)) {
                    return Ok(());
                }
                let expected = section.map(|open| open.name.to_owned());
                return Err(failed(Problem::Closes { expected, found: found.to_owned() }));
            }
            match name.strip_prefix('<') {
                Some(name) => {
                    let rest = rest.rsplit_once('>').map_or(rest, |(inside, _)| inside);
                    let open = Open { name: name.trim_end_matches('>'), at: &at };
                    self.section(source, open, rest, out, conditions, depth)?;
                }
                None => self.directive(&at, &name, rest, out, conditions, depth)?,
            }
        }
        match section {
            Some(Open { name, at }) => {
                let problem = Problem::NotClosed(name.to_owned());
                Err(ConfigError { place: at.clone(), problem })
            }
            None => Ok(()),
        }
    }

    fn section(
        &mut self,
        source: &mut Source,
        open: Open<'_>,
        rest: &str,
        out: &mut Vec<Directive>,
        conditions: &Conditions,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let name = open.name.to_ascii_lowercase();
        let asked = words::words(rest);
        let counts = match name.as_str() {
            "ifmodule" | "ifdefine" => self.decide(&name, asked.first().map_or("", |word| word)),
            "ifversion" | "iffile" | "ifdirective" | "ifsection" => None,
            "macro" => {
                let mut raw = Vec::new();
                skip(source, open, &mut |line| raw.push(line))?;
                if let Some((name, parameters)) = asked.split_first() {
                    let parameters = parameters.to_vec();
                    self.macros.insert(name.to_ascii_lowercase(), Macro { parameters, lines: raw });
                }
                return Ok(());
            }
            _ => {
                let mut inside = Vec::new();
                self.block(source, Some(open), &mut inside, conditions, depth + 1)?;
                self.directives += 1;
                let (at, conditions) = (open.at.clone(), conditions.clone());
                let [name, written] = [&*name, open.name].map(|name| format!("<{name}"));
                out.push(Directive { name, written, words: asked, at, conditions, inside });
                return Ok(());
            }
        };
        match counts {
            Some(true) => self.block(source, Some(open), out, conditions, depth + 1),
            Some(false) => skip(source, open, &mut |_| ()),
            None => {
                self.open += 1;
                if self.open as usize > MAX_OPEN {
                    let problem =
                        Problem::TooMuch { what: "undecided conditions", limit: MAX_OPEN };
                    return Err(ConfigError { place: open.at.clone(), problem });
                }
                let conditions = conditions.iter().copied().chain([self.open]).collect();
                self.block(source, Some(open), out, &conditions, depth + 1)
            }
        }
    }

    /// Whether what `<IfModule>` or `<IfDefine>` asks for is there; `None` where that is not known.
    fn decide(&self, condition: &str, asked: &str) -> Option<bool> {
        let (name, is_negated) = match asked.strip_prefix('!') {
            Some(name) => (name, true),
            None => (asked, false),
        };
        let is_there = match condition {
            "ifmodule" => self.modules.has(name),
            _ if self.perhaps_defined.contains(name) => None,
            _ if self.defined.contains(name) => Some(true),
            _ => self.all_are_defined.then_some(false),
        };
        is_there.map(|is_there| is_there != is_negated)
    }

    fn directive(
        &mut self,
        at: &Place,
        name: &str,
        rest: &str,
        out: &mut Vec<Directive>,
        conditions: &Conditions,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let (written, name) = (name, name.to_ascii_lowercase());
        let is_open = !conditions.is_empty();
        let directive = || Directive {
            name: name.clone(),
            written: written.to_owned(),
            words: words::words(rest),
            at: at.clone(),
            conditions: conditions.clone(),
            inside: Vec::new(),
        };
        match name.as_str() {
            "include" | "includeoptional" => {
                let directive = directive();
                let path = directive.argument("a file, a directory or a pattern")?;
                self.include(&directive, path, out, depth + 1)?;
            }
            "define" | "undefine" => self.define(&directive()),
            "loadmodule" => {
                if let Some(identifier) = directive().words.first() {
                    self.modules.load(identifier, is_open);
                }
            }
            "serverroot" => {
                self.root = self.root.join(directive().argument("a directory")?);
            }
            "use" => {
                let directive = directive();
                let (name, arguments) =
                    directive.words.split_first().ok_or_else(|| directive.arguments("a macro"))?;
                let known = self.macros.get(&name.to_ascii_lowercase());
                let known = known.ok_or_else(|| directive.error(Problem::NoMacro(name.clone())))?;
                let lines = known.used(&directive, arguments)?;
                self.take_bytes(lines.iter().map(|(_, line)| line.len() + 1).sum(), at)?;
                let mut source = Source::of_macro(lines, at.clone());
                self.block(&mut source, None, out, conditions, depth + 1)?;
            }
            name if is_about_upstreams(name) => {
                self.directives += 1;
                out.push(directive());
            }
            _ => {}
        }
        Ok(())
    }

    fn define(&mut self, directive: &Directive) {
        let is_open = !directive.conditions.is_empty();
        let (name, value) = match directive.words.as_slice() {
            [name] => (name, None),
            [name, value] => (name, Some(value)),
            _ => return,
        };
        if is_open {
            self.perhaps_defined.insert(name.clone());
            self.variables.forget(name);
            return;
        }
        self.perhaps_defined.remove(name);
        if directive.name == "undefine" {
            self.defined.remove(name);
            self.variables.forget(name);
        } else {
            self.defined.insert(name.clone());
            if let Some(value) = value {
                self.variables.set(name, value, false);
            }
        }
    }

    fn include(
        &mut self,
        directive: &Directive,
        named: &str,
        out: &mut Vec<Directive>,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let (at, conditions) = (&directive.at, &directive.conditions);
        let is_optional = directive.name == "includeoptional";
        let path = self.root.join(named);
        let is_there = || {
            let found = self.files.read(&path);
            !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if !glob::is_pattern(named) && (!is_optional || is_there()) {
            return self.included(&path, at, out, conditions, depth);
        }
        let matches =
            self.files.glob(&path).map_err(|error| directive.error(unreadable(&path, &error)))?;
        if matches.is_empty() {
            if !is_optional {
                return Err(directive.error(Problem::NoMatch(named.to_owned())));
            }
            let text = || format!("no file matches IncludeOptional \"{named}\"");
            remark(&mut self.remarks, at, text);
        }
        matches.iter().try_for_each(|path| self.included(path, at, out, conditions, depth))
    }

    /// A file, or everything in a directory.
    fn included(
        &mut self,
        path: &Path,
        at: &Place,
        out: &mut Vec<Directive>,
        conditions: &Conditions,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let failed = |problem| ConfigError { place: at.clone(), problem };
        if depth > MAX_DEPTH {
            let what = "nested includes and sections";
            return Err(failed(Problem::TooMuch { what, limit: MAX_DEPTH }));
        }
        let is_directory = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput)
        };
        match self.files.read(path) {
            Ok(content) => return self.file(path, &content, at, out, conditions, depth),
            Err(error) if !is_directory(&error) => return Err(failed(unreadable(path, &error))),
            Err(_) => {}
        }
        let found = self.files.glob(&path.join("*"));
        let found = found.map_err(|error| failed(unreadable(path, &error)))?;
        found.iter().try_for_each(|path| self.included(path, at, out, conditions, depth + 1))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::Unreadable { path: path.display().to_string(), error: error.to_string() }
}

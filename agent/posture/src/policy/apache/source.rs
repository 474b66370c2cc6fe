//! Lines in their order, and the sections that they open and close.

use std::sync::Arc;

use super::error::{ConfigError, Problem};
use crate::policy::intent::Place;

/// Lines that are read one after the other.
pub(super) struct Source {
    lines: std::vec::IntoIter<(u32, String)>,
    file: Arc<str>,
    /// Where all of them count as written: where a macro is used.
    at: Option<Place>,
}

impl Source {
    /// The lines of a file, or of the command line.
    pub(super) fn new(lines: Vec<(u32, String)>, file: Arc<str>) -> Self {
        Self { lines: lines.into_iter(), file, at: None }
    }

    /// The lines of a macro that is used there.
    pub(super) fn of_macro(lines: Vec<(u32, String)>, at: Place) -> Self {
        Self { lines: lines.into_iter(), file: at.file.clone(), at: Some(at) }
    }

    pub(super) fn next(&mut self) -> Option<(Place, String)> {
        let (line, text) = self.lines.next()?;
        let at = self.at.clone().unwrap_or_else(|| Place { file: self.file.clone(), line });
        Some((at, text))
    }
}

/// A section that is open.
#[derive(Clone, Copy)]
pub(super) struct Open<'a> {
    pub(super) name: &'a str,
    pub(super) at: &'a Place,
}

/// Passes over a section, with what is nested in it; each line inside goes to `line`.
pub(super) fn skip(
    source: &mut Source,
    open: Open<'_>,
    line: &mut dyn FnMut((u32, String)),
) -> Result<(), ConfigError> {
    let mut nested: Vec<String> = Vec::new();
    while let Some((at, text)) = source.next() {
        let first = text.split_ascii_whitespace().next().unwrap_or_default();
        if let Some(found) = first.strip_prefix("</") {
            let found = found.trim_end_matches('>');
            let innermost = nested.last().map_or(open.name, String::as_str);
            if !innermost.eq_ignore_ascii_case(found) {
                let expected = Some(innermost.to_owned());
                let problem = Problem::Closes { expected, found: found.to_owned() };
                return Err(ConfigError { place: at, problem });
            }
            if nested.pop().is_none() {
                return Ok(());
            }
        } else if let Some(name) = first.strip_prefix('<') {
            nested.push(name.trim_end_matches('>').to_owned());
        }
        line((at.line, text));
    }
    let problem = Problem::NotClosed(open.name.to_owned());
    Err(ConfigError { place: open.at.clone(), problem })
}

//! YAML as Envoy reads it (`ValueUtil::loadFromYaml`, with yaml-cpp), which is not how others do: what
//! is no boolean and no whole number is text, such as `1.0`, also where values are compared by type.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::api::Bootstrap;

/// The tag of members that Envoy passes over, whatever is in them.
const PASSED_OVER: (&str, &str) = ("!", "ignore");
/// Most bytes that what is read may take, by a rough count: aliases repeat what they stand for.
const MAX_BYTES: usize = 64 << 20;
/// What a value takes beside its text.
const VALUE: usize = 64;
/// How deep lists and objects may lie in one another; protobuf takes less.
const MAX_DEPTH: usize = 128;

/// Why a text is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error("line {line}: {text}")]
    Syntax {
        /// Where, from 1 on.
        line: usize,
        /// What is wrong there.
        text: String,
    },
    /// A list or an object names a member.
    #[error("line {line}: the name of a member is no text")]
    Name {
        /// Where, from 1 on.
        line: usize,
    },
    /// It is nested deeper than is taken, or its aliases repeat too much.
    #[error("line {line}: it is nested too deep, or its aliases repeat too much")]
    TooMuch {
        /// Where, from 1 on.
        line: usize,
    },
    /// There is no object in it.
    #[error("it is no object")]
    NoObject,
    /// It is YAML, and no bootstrap.
    #[error("line {line}: {path}: {text}")]
    Shape {
        /// Where, from 1 on.
        line: usize,
        /// The member that is wrong.
        path: String,
        /// What is wrong with it.
        text: String,
    },
}

/// A bootstrap that is written in YAML. Only the first document counts.
///
/// # Errors
/// When Envoy would not take it, or it is more than is read.
pub fn read_yaml(text: &str) -> Result<Bootstrap, YamlError> {
    let mut reader = Reader::default();
    let value = reader.read(text)?;
    if !value.is_object() {
        return Err(YamlError::NoObject);
    }
    serde_path_to_error::deserialize(value).map_err(|error| YamlError::Shape {
        line: line_of(text, error.path()),
        path: error.path().to_string(),
        text: error.inner().to_string(),
    })
}

/// The line in which the value at this path begins.
fn line_of(text: &str, path: &Path) -> usize {
    let wanted: Vec<Step> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let mut reader = Reader { wanted: Some(wanted), ..Reader::default() };
    // It was read before.
    let _ = reader.read(text);
    reader.found
}

/// A step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Index(usize),
    Member(String),
    /// A member that Envoy passes over.
    PassedOver,
}

/// A list or an object that has not ended.
struct Open {
    anchor: usize,
    size: usize,
    value: Value,
    /// Of an object, what the next value is for; `None` before its name.
    member: Option<Step>,
}

impl Open {
    fn step(&self) -> Option<Step> {
        match &self.value {
            Value::Array(list) => Some(Step::Index(list.len())),
            _ => self.member.clone(),
        }
    }

    /// Whether what comes next is the name of a member.
    fn wants_name(&self) -> bool {
        self.value.is_object() && self.member.is_none()
    }
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    /// What aliases stand for, with its size, by the anchor's number.
    anchors: HashMap<usize, (Value, usize)>,
    size: usize,
    root: Option<Value>,
    /// The value whose line is asked for, and that line, or that of the last one that it lies in.
    wanted: Option<Vec<Step>>,
    found: usize,
}

impl Reader {
    fn read(&mut self, text: &str) -> Result<Value, YamlError> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| YamlError::Syntax {
                line: error.marker().line(),
                text: error.info(),
            })?;
            let line = span.start.line();
            self.event(event, line)?;
            if let Some(root) = self.root.take() {
                return Ok(root);
            }
        }
        Err(YamlError::NoObject)
    }

    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style == ScalarStyle::Plain, tag.as_deref());
                let size = VALUE + text.len();
                self.grow(size, line)?;
                let Some(open) = self.open.last_mut().filter(|open| open.wants_name()) else {
                    return self.add(value, anchor, size, line);
                };
                let is_passed_over =
                    tag.as_deref().is_some_and(|tag| (tag.handle(), tag.suffix()) == PASSED_OVER);
                open.member = Some(match (is_passed_over, value.is_null()) {
                    (true, _) => Step::PassedOver,
                    (false, true) => Step::Member("null".to_owned()),
                    (false, false) => Step::Member(text.into_owned()),
                });
                if anchor > 0 {
                    self.remember(anchor, &value, size, line)?;
                }
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Value::Array(vec![]), anchor, line)?,
            Event::MappingStart(_, anchor, _) => {
                self.begin(Value::Object(Map::new()), anchor, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { anchor, size, value, .. }) = self.open.pop() {
                    self.add(value, anchor, size, line)?;
                }
            }
            Event::Alias(anchor) => {
                // One that stands in what it names.
                let value = self.anchors.get(&anchor).cloned();
                let (value, size) = value.ok_or(YamlError::TooMuch { line })?;
                match (self.open.last_mut().filter(|open| open.wants_name()), value) {
                    (Some(open), Value::String(text)) => open.member = Some(Step::Member(text)),
                    (Some(_), _) => return Err(YamlError::Name { line }),
                    (None, value) => {
                        self.grow(size, line)?;
                        self.add(value, 0, size, line)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), YamlError> {
        if self.open.last().is_some_and(Open::wants_name) {
            return Err(YamlError::Name { line });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::TooMuch { line });
        }
        self.grow(VALUE, line)?;
        self.look(line);
        self.open.push(Open { anchor, size: VALUE, value, member: None });
        Ok(())
    }

    /// Takes a value, which has been counted, to where it belongs.
    fn add(
        &mut self,
        value: Value,
        anchor: usize,
        size: usize,
        line: usize,
    ) -> Result<(), YamlError> {
        if anchor > 0 {
            self.remember(anchor, &value, size, line)?;
        }
        if !value.is_array() && !value.is_object() {
            self.look(line);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.size += size;
        match (&mut open.value, open.member.take()) {
            (Value::Array(list), _) => list.push(value),
            // The last of several counts.
            (Value::Object(members), Some(Step::Member(name))) => drop(members.insert(name, value)),
            _ => {}
        }
        Ok(())
    }

    fn remember(
        &mut self,
        anchor: usize,
        value: &Value,
        size: usize,
        line: usize,
    ) -> Result<(), YamlError> {
        self.grow(size, line)?;
        self.anchors.insert(anchor, (value.clone(), size));
        Ok(())
    }

    fn grow(&mut self, by: usize, line: usize) -> Result<(), YamlError> {
        self.size += by;
        if self.size > MAX_BYTES { Err(YamlError::TooMuch { line }) } else { Ok(()) }
    }

    /// Whether the value that begins here is the one that is asked for, or has it in it.
    fn look(&mut self, line: usize) {
        let Some(wanted) = &self.wanted else { return };
        let here: Vec<Step> = self.open.iter().filter_map(Open::step).collect();
        if wanted.starts_with(&here) {
            self.found = line;
        }
    }
}

/// What a scalar is. Only what is in quotes, and tags that are `!` and nothing more, are text whatever
/// they say; other tags change nothing (`parseYamlNode`).
fn scalar(text: &str, is_plain: bool, tag: Option<&Tag>) -> Value {
    let is_text = match tag {
        None => !is_plain,
        Some(tag) => tag.handle().is_empty() && tag.suffix() == "!",
    };
    if is_text {
        return text.into();
    }
    if tag.is_none() && is_null(text) {
        return Value::Null;
    }
    let whole = || {
        whole_number(text).map(|number| match i32::try_from(number) {
            Ok(small) => small.into(),
            Err(_) => number.to_string().into(),
        })
    };
    boolean(text).map(Value::from).or_else(whole).unwrap_or_else(|| text.into())
}

/// `IsNullString` of yaml-cpp.
fn is_null(text: &str) -> bool {
    ["", "~", "null", "Null", "NULL"].contains(&text)
}

/// `convert<bool>` of yaml-cpp: in small letters, in capitals, or with one in front.
fn boolean(text: &str) -> Option<bool> {
    let small = text.to_ascii_lowercase();
    let is_tail_small = text.chars().skip(1).all(|one| one.is_ascii_lowercase());
    let is_flexible = is_tail_small || text.chars().all(|one| one.is_ascii_uppercase());
    match small.as_str() {
        _ if !is_flexible => None,
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// As `strtoll` reads it with base 0: hexadecimal after `0x`, octal after `0`.
fn whole_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

#[cfg(test)]
mod tests;

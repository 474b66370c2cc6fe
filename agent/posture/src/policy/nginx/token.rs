//! nginx's tokenizer: the rules of `ngx_conf_read_token` in `src/core/ngx_conf_file.c`.
//!
//! nginx reads bytes and knows no grammar but this one, so the file need not be UTF-8 and every
//! directive name is fine.

use super::error::Problem;

/// The longest word: nginx has no more room for one (`NGX_CONF_BUFFER`), Lua blocks aside.
const MAX_WORD: usize = 4096;
/// Words of one statement.
const MAX_WORDS: usize = 50_000;

/// What ended a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `;` after at least one word.
    Semicolon,
    /// `{` after at least one word.
    OpenBrace,
    /// `}` with no word before it.
    CloseBrace,
    /// The file ended with no word before it.
    File,
}

/// The words up to a terminator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The words, quotes removed and `\"`, `\'`, `\\`, `\t`, `\r`, `\n` replaced, as nginx does.
    pub(super) words: Vec<String>,
    /// Line of the first word, from 1; of the terminator if there is no word.
    pub(super) line: u32,
    pub(super) end: End,
}

/// Splits a configuration file into statements.
pub(super) struct Tokenizer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Tokenizer<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// Line the reader has reached; nginx reports syntax errors with it.
    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// Reads up to and including the next terminator.
    pub(super) fn statement(&mut self) -> Result<Statement, Problem> {
        let mut words = Vec::new();
        let mut line = None;
        loop {
            let Some(byte) = self.skip_space_and_comments() else {
                let at = self.line;
                return match line {
                    None => Ok(Statement { words, line: at, end: End::File }),
                    Some(_) => Err(Problem::EndOfFile { open_quote: None }),
                };
            };
            let first_line = *line.get_or_insert(self.line);
            let end = match byte {
                b';' => End::Semicolon,
                b'{' => End::OpenBrace,
                b'}' => End::CloseBrace,
                _ => {
                    if words.len() == MAX_WORDS {
                        let what = "words in one statement";
                        return Err(Problem::TooMuch { what, limit: MAX_WORDS });
                    }
                    words.push(self.word(byte)?);
                    continue;
                }
            };
            self.next();
            // A word needs `;` or `{`; those need a word.
            if words.is_empty() != (end == End::CloseBrace) {
                return Err(Problem::Unexpected { found: char::from(byte) });
            }
            return Ok(Statement { words, line: first_line, end });
        }
    }

    /// The body of a block of Lua code, whose `{` was just read; its `}` is read along.
    ///
    /// The module that brings `*_by_lua_block` reads the body with a lexer of its own: braces
    /// count, except inside Lua strings and comments.
    pub(super) fn lua(&mut self) -> Result<&[u8], Problem> {
        let begin = self.at;
        let mut depth = 1_u32;
        while let Some(byte) = self.next() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(&self.bytes[begin..self.at - 1]);
                    }
                }
                b'"' | b'\'' => self.skip_lua_string(byte),
                b'[' => self.skip_lua_long_bracket(),
                b'-' if self.peek() == Some(b'-') => {
                    self.next();
                    let before = self.at;
                    if self.peek() == Some(b'[') {
                        self.next();
                        self.skip_lua_long_bracket();
                    }
                    // Not a long bracket after all: a comment to the end of the line.
                    if self.at <= before + 1 {
                        while self.peek().is_some_and(|next| next != b'\n') {
                            self.next();
                        }
                    }
                }
                _ => {}
            }
        }
        Err(Problem::EndOfFile { open_quote: None })
    }

    fn skip_lua_string(&mut self, quote: u8) {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    self.next();
                }
                b'\n' => return,
                _ if byte == quote => return,
                _ => {}
            }
        }
    }

    /// After a `[`: skips `[[ ... ]]`, `[=[ ... ]=]` and so on; stays put if it is a plain bracket.
    fn skip_lua_long_bracket(&mut self) {
        let level = self.bytes[self.at..].iter().take_while(|&&byte| byte == b'=').count();
        if self.bytes.get(self.at + level) != Some(&b'[') {
            return;
        }
        let close: Vec<u8> = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
        while self.at < self.bytes.len() && !self.bytes[self.at..].starts_with(&close) {
            self.next();
        }
        for _ in 0..close.len() {
            self.next();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    /// The next byte that begins a word or is a terminator. It is not consumed.
    fn skip_space_and_comments(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b'#' => while self.next()? != b'\n' {},
                byte if is_space(byte) => {
                    self.next();
                }
                byte => return Some(byte),
            }
        }
    }

    /// Reads one word that begins with `first`; its terminator, if not a space, stays unread.
    fn word(&mut self, first: u8) -> Result<String, Problem> {
        if matches!(first, b'"' | b'\'') {
            return self.quoted_word(first);
        }
        let start = self.at;
        // `${name}` in a word does not open a block.
        let mut variable = false;
        loop {
            match self.peek() {
                None => return Err(Problem::EndOfFile { open_quote: None }),
                Some(b'{') if variable => {}
                Some(b';' | b'{') => break,
                Some(byte) if is_space(byte) => break,
                Some(b'\\') => {
                    self.next();
                    variable = false;
                }
                Some(byte) => variable = byte == b'$',
            }
            self.next();
        }
        short(&self.bytes[start..self.at])
    }

    fn quoted_word(&mut self, quote: u8) -> Result<String, Problem> {
        let open_quote = Some(self.line);
        self.next();
        let start = self.at;
        loop {
            match self.next() {
                None => return Err(Problem::EndOfFile { open_quote }),
                Some(b'\\') => {
                    self.next();
                }
                Some(byte) if byte == quote => break,
                Some(_) => {}
            }
        }
        let word = short(&self.bytes[start..self.at - 1])?;
        match self.peek() {
            Some(b')') => {
                // nginx allows `if ($a = "b")`: the parenthesis becomes a word of its own.
                Ok(word)
            }
            Some(byte) if is_space(byte) || matches!(byte, b';' | b'{') => Ok(word),
            Some(byte) => Err(Problem::Unexpected { found: char::from(byte) }),
            None => Err(Problem::EndOfFile { open_quote: None }),
        }
    }
}

/// A word that nginx has room for.
fn short(raw: &[u8]) -> Result<String, Problem> {
    if raw.len() > MAX_WORD { Err(Problem::TooLong) } else { Ok(unescape(raw)) }
}

/// Replaces the escapes nginx knows; any other backslash stays.
fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        let (value, used) = match (*byte, tail.first()) {
            (b'\\', Some(&escaped @ (b'"' | b'\'' | b'\\'))) => (escaped, 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            _ => (*byte, 1),
        };
        out.push(value);
        rest = &rest[used..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Result<Vec<Vec<String>>, (Problem, u32)> {
        let mut tokenizer = Tokenizer::new(source.as_bytes());
        let mut out = Vec::new();
        loop {
            let statement = tokenizer.statement().map_err(|problem| (problem, tokenizer.line()))?;
            match statement.end {
                End::File => return Ok(out),
                End::CloseBrace => out.push(vec!["}".to_owned()]),
                End::Semicolon | End::OpenBrace => out.push(statement.words),
            }
        }
    }

    #[test]
    fn words_as_nginx_splits_them() {
        for (source, expected) in [
            ("a b;", vec![vec!["a", "b"]]),
            ("a \"b c\" 'd;e';", vec![vec!["a", "b c", "d;e"]]),
            ("a b\"c;", vec![vec!["a", "b\"c"]]),
            (r#"a "x\"y" z\ w \t;"#, vec![vec!["a", "x\"y", r"z\ w", "\t"]]),
            ("a https://$be.local:${port}/x;", vec![vec!["a", "https://$be.local:${port}/x"]]),
            ("a b#c; # d;\ne;", vec![vec!["a", "b#c"], vec!["e"]]),
            ("a{b c;}", vec![vec!["a"], vec!["b", "c"], vec!["}"]]),
            (
                "if ($a = \"b\") { c; }",
                vec![vec!["if", "($a", "=", "b", ")"], vec!["c"], vec!["}"]],
            ),
            (r"~ ^/(\d+)/$ x;", vec![vec!["~", r"^/(\d+)/$", "x"]]),
            ("# only a comment", vec![]),
        ] {
            assert_eq!(words(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn broken_statements_name_the_line_nginx_names() {
        for (source, problem, line) in [
            ("a;\n;", Problem::Unexpected { found: ';' }, 2),
            ("{ a; }", Problem::Unexpected { found: '{' }, 1),
            ("a {\n b 5\n}", Problem::Unexpected { found: '}' }, 3),
            ("a\n\"b\"c;", Problem::Unexpected { found: 'c' }, 2),
            ("a\n \"b;\nc;\n", Problem::EndOfFile { open_quote: Some(2) }, 4),
            ("a b", Problem::EndOfFile { open_quote: None }, 1),
            (&format!("a\n{};", "b".repeat(MAX_WORD + 1)), Problem::TooLong, 2),
            (&format!("a\n'{}';", "b".repeat(MAX_WORD + 1)), Problem::TooLong, 2),
            (
                &"a ".repeat(MAX_WORDS + 1),
                Problem::TooMuch { what: "words in one statement", limit: MAX_WORDS },
                1,
            ),
        ] {
            assert_eq!(words(source).unwrap_err(), (problem, line), "{source}");
        }
    }

    #[test]
    fn lua_bodies_end_at_their_own_brace() {
        for body in [
            "local t = { a = { 1 } }",
            "ngx.say(\"}\" .. '}' .. \"\\\"}\")",
            "-- a comment with }\n local x = a[b[1]]",
            "--[[ } \n } ]] local y = [==[ ]] } ]==]",
            "--[=x } not a long comment\n",
        ] {
            let source = format!("{body}}} after;");
            let mut tokenizer = Tokenizer::new(source.as_bytes());
            tokenizer.lua().unwrap();
            assert_eq!(tokenizer.statement().unwrap().words, ["after"], "{body}");
        }
    }
}

//! The terminal while it is ours: alternate screen, no echo, no cursor. All of it is undone when
//! [`Screen`] is dropped.

use std::io::{self, Write as _};

use anyhow::Context as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters per line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// A terminal that is ours.
pub struct Screen {
    before: Termios,
    colors: bool,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input or output is no terminal.
    pub fn open(colors: bool) -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("set the terminal up")?;
        let screen = Self { before, colors };
        // DECSET 1049: alternate screen; DECRST 25: hide the cursor.
        write_out("\u{1b}[?1049h\u{1b}[?25l").context("write to the terminal")?;
        Ok(screen)
    }

    /// Draws a frame: lines, cut to the terminal's width.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, frame: impl FnOnce(Size, bool) -> Vec<String>) -> anyhow::Result<()> {
        let size = tcgetwinsize(io::stdout()).context("read the terminal's size")?;
        // A terminal that does not know its size says 0.
        let or = |value: u16, default| if value == 0 { default } else { usize::from(value) };
        let size = Size { columns: or(size.ws_col, 80), rows: or(size.ws_row, 24) };
        let mut out = String::from("\u{1b}[H");
        for (row, line) in frame(size, self.colors).iter().take(size.rows).enumerate() {
            if row > 0 {
                out += "\r\n";
            }
            out += &cut(line, size.columns);
            out += "\u{1b}[K";
        }
        out += "\u{1b}[J";
        write_out(&out).context("write to the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to be done about a terminal that is gone.
        let _ = write_out("\u{1b}[?25h\u{1b}[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The first `columns` characters of a line, not counting its styles, which are kept.
pub fn cut(line: &str, columns: usize) -> String {
    part(line, 0, columns)
}

/// `columns` characters of a line after the first `skipped`, not counting its styles, which are kept.
pub fn part(line: &str, skipped: usize, columns: usize) -> String {
    let mut out = String::new();
    let (mut seen, mut in_style) = (0_usize, false);
    for c in line.chars() {
        if c == '\u{1b}' {
            in_style = true;
        } else if !in_style {
            seen += 1;
        }
        if in_style || (seen > skipped && seen - skipped <= columns) {
            out.push(c);
        }
        in_style &= c != 'm';
    }
    out
}

/// A line as several of at most `columns` characters, not counting its styles.
pub fn fold(line: &str, columns: usize) -> Vec<String> {
    let mut in_style = false;
    let is_shown = |c: char| {
        in_style |= c == '\u{1b}';
        let shown = !in_style;
        in_style &= c != 'm';
        shown
    };
    let length = line.chars().map(is_shown).filter(|shown| *shown).count();
    let columns = columns.max(1);
    (0..length.div_ceil(columns).max(1)).map(|at| part(line, at * columns, columns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_but_keep_their_styles() {
        for (line, columns, want) in [
            ("short", 10, "short"),
            ("exactly", 7, "exactly"),
            ("too long", 3, "too"),
            ("a\u{1b}[31mred\u{1b}[0m end", 3, "a\u{1b}[31mre\u{1b}[0m"),
            ("wörter", 2, "wö"),
        ] {
            assert_eq!(cut(line, columns), want);
        }
    }

    #[test]
    fn what_is_to_the_left_is_left_out() {
        for (line, skipped, columns, want) in [
            ("0123456789", 3, 4, "3456"),
            ("0123", 9, 4, ""),
            ("a\u{1b}[31mred\u{1b}[0m end", 2, 4, "\u{1b}[31med\u{1b}[0m e"),
        ] {
            assert_eq!(part(line, skipped, columns), want);
        }
    }

    #[test]
    fn long_lines_are_folded() {
        assert_eq!(fold("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(fold("", 3), [""]);
        assert_eq!(fold("\u{1b}[1mab\u{1b}[0m", 2).len(), 1);
    }
}

//! Aligned columns for terminals.

use super::paint::Style;
use hopsight_posture::hops::labels::printable;

/// Text of one cell. Others may have chosen it: what would move a terminal's cursor, or change its
/// colours, is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

impl Cell {
    /// A cell with a style.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        Self { text: printable(&text, usize::MAX).into_owned(), style }
    }
}

/// Rows under headings. An empty cell is printed as `-`, so that columns stay countable.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headings: headings.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each heading.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.headings.len());
        self.rows.push(row);
    }

    /// One row as a line for each of its cells that is not empty: heading and text.
    pub fn upright(&self, row: usize, colors: bool) -> Vec<String> {
        let wide = self.headings.iter().map(|heading| width(heading)).max().unwrap_or(0);
        let cells = self.headings.iter().zip(self.rows.get(row).into_iter().flatten());
        let line = |(heading, cell): (&&str, &Cell)| {
            let heading = Style::Bold.paint(&format!("{heading:wide$}"), colors);
            format!("{heading}  {}", cell.style.paint(&cell.text, colors))
        };
        cells.filter(|(_, cell)| !cell.text.is_empty()).map(line).collect()
    }

    /// The table as lines without trailing blanks, headings first.
    pub fn lines(&self, colors: bool) -> Vec<String> {
        let headings = self.headings.iter().map(|heading| Cell::styled(*heading, Style::Bold));
        let rows: Vec<Vec<Cell>> = std::iter::once(headings.collect())
            .chain(self.rows.iter().map(|row| row.iter().map(dash_if_empty).collect()))
            .collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| width(&cell.text)).max()
        };
        let widths: Vec<_> = (0..self.headings.len()).map(|c| width(c).unwrap_or(0)).collect();
        rows.iter().map(|row| line(row, &widths, colors)).collect()
    }
}

fn dash_if_empty(cell: &Cell) -> Cell {
    if cell.text.is_empty() { Cell::styled("-", Style::Dim) } else { cell.clone() }
}

fn line(row: &[Cell], widths: &[usize], colors: bool) -> String {
    let mut line = String::new();
    for (column, (cell, want)) in row.iter().zip(widths).enumerate() {
        line += &cell.style.paint(&cell.text, colors);
        if column + 1 < row.len() {
            line += &" ".repeat(want.saturating_sub(width(&cell.text)) + 2);
        }
    }
    line
}

/// Columns a text takes, counted in characters: wide (East Asian) ones take more than this says.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["PROXY", "SECURITY"]);
        table.push(vec!["nginx".into(), Cell::styled("mtls", Style::Green)]);
        table.push(vec!["a-long-name".into(), "".into()]);
        table
    }

    #[test]
    fn columns_align() {
        let want = ["PROXY        SECURITY", "nginx        mtls", "a-long-name  -"];
        assert_eq!(sample().lines(false), want);
    }

    #[test]
    fn a_row_stands_upright_without_what_is_empty() {
        assert_eq!(sample().upright(0, false), ["PROXY     nginx", "SECURITY  mtls"]);
        assert_eq!(sample().upright(1, false), ["PROXY     a-long-name"]);
        assert!(sample().upright(2, false).is_empty());
    }

    #[test]
    fn a_cell_is_text_alone() {
        let mut table = Table::new(["PROXY", "PLACE"]);
        table.push(vec!["\u{1b}[32mgreen".into(), Cell::styled("a\nb\u{202e}c", Style::Dim)]);
        assert_eq!(table.lines(false)[1], "_[32mgreen  a_b_c");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let lines = sample().lines(true);
        assert_eq!(lines[1], "nginx        \u{1b}[32mmtls\u{1b}[0m");
    }
}

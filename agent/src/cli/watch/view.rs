//! What `hopsight watch` shows, and what keys do. Knows no terminal.

use std::sync::Arc;

use super::{
    detail,
    screen::{Size, fold, part},
};
use crate::cli::{
    hops::{Sort, clean, mentions, order, table},
    paint::Style,
};
use hopsight_core::model::Security;
use hopsight_export::time;
use hopsight_posture::hops::{hop::Hop, table::Snapshot};

/// What a key asks the loop to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To end.
    Quit,
}

/// The order that the key switches to from this one.
const fn next(sort: Sort) -> Sort {
    match sort {
        Sort::WorstFirst => Sort::NewestFirst,
        Sort::NewestFirst => Sort::Name,
        Sort::Name => Sort::WorstFirst,
    }
}

const fn words(sort: Sort) -> &'static str {
    match sort {
        Sort::WorstFirst => "worst first",
        Sort::NewestFirst => "newest first",
        Sort::Name => "by name",
    }
}

/// Columns by which the table moves sideways.
const ASIDE: usize = 16;
/// Longest filter, in characters.
const MAX_FILTER: usize = 64;

/// A hop by its labels.
type Key = (Arc<str>, Arc<str>);

/// The state of the display.
#[derive(Debug)]
pub struct View {
    address: String,
    snapshot: Option<Snapshot>,
    trouble: Option<String>,
    sort: Sort,
    wide: bool,
    /// Only hops that mention it.
    filter: String,
    /// Keys go to the filter.
    types: bool,
    /// The hop that Enter opens, among those shown.
    selected: usize,
    /// The hop that is open, and lines above the first one shown of it.
    open: Option<(Key, usize)>,
    /// Hops above the first one shown.
    offset: usize,
    /// Columns left of the first one shown.
    aside: usize,
    /// Lines that fitted the last frame.
    page: usize,
}

impl View {
    /// Nothing heard yet from the agent at `address`.
    pub const fn new(address: String, wide: bool) -> Self {
        Self {
            address,
            snapshot: None,
            trouble: None,
            sort: Sort::WorstFirst,
            wide,
            filter: String::new(),
            types: false,
            selected: 0,
            open: None,
            offset: 0,
            aside: 0,
            page: 1,
        }
    }

    /// Takes an answer of the agent; after a failure the last good one stays on display.
    pub fn take(&mut self, fetched: anyhow::Result<Snapshot>) {
        match fetched {
            Ok(snapshot) => {
                self.snapshot = Some(snapshot);
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }

    /// Handles keys as the terminal sends them.
    pub fn press(&mut self, bytes: &[u8]) -> Option<Action> {
        if bytes == b"\x03" {
            return Some(Action::Quit);
        }
        if self.types {
            self.type_filter(bytes);
            return None;
        }
        let step = self.page.max(2) - 1;
        let at = match &mut self.open {
            Some((_, offset)) => offset,
            None => &mut self.selected,
        };
        match bytes {
            b"j" | b"\x1b[B" | b"\x1bOB" => *at = at.saturating_add(1),
            b"k" | b"\x1b[A" | b"\x1bOA" => *at = at.saturating_sub(1),
            b" " | b"\x1b[6~" => *at = at.saturating_add(step),
            b"b" | b"\x1b[5~" => *at = at.saturating_sub(step),
            b"g" | b"\x1b[H" => *at = 0,
            b"G" | b"\x1b[F" => *at = usize::MAX,
            b"l" | b"\x1b[C" | b"\x1bOC" => self.aside = self.aside.saturating_add(ASIDE),
            b"h" | b"\x1b[D" | b"\x1bOD" => self.aside = self.aside.saturating_sub(ASIDE),
            b"\r" | b"\n" => self.open = if self.open.is_some() { None } else { self.key() },
            b"q" | b"Q" | b"\x1b" if self.open.is_some() => self.open = None,
            b"\x1b" if !self.filter.is_empty() => self.filter.clear(),
            b"q" | b"Q" | b"\x1b" => return Some(Action::Quit),
            _ if self.open.is_some() => {}
            b"s" => self.sort = next(self.sort),
            b"w" => self.wide = !self.wide,
            b"/" => self.types = true,
            _ => {}
        }
        None
    }

    fn type_filter(&mut self, bytes: &[u8]) {
        match bytes {
            b"\r" | b"\n" => self.types = false,
            b"\x1b" => {
                self.types = false;
                self.filter.clear();
            }
            b"\x7f" | b"\x08" => drop(self.filter.pop()),
            _ => {
                let typed = String::from_utf8_lossy(bytes).into_owned();
                if !typed.chars().any(char::is_control) {
                    self.filter.push_str(&typed);
                    self.filter = self.filter.chars().take(MAX_FILTER).collect();
                }
            }
        }
        (self.selected, self.offset) = (0, 0);
    }

    /// The hops on display, in order.
    fn shown(&self) -> Option<Snapshot> {
        let mut shown = self.snapshot.clone()?;
        let wanted = self.filter.to_lowercase();
        shown.hops.retain(|hop| mentions(hop, &wanted));
        order(&mut shown, self.sort);
        Some(shown)
    }

    /// The selected hop, to be opened.
    fn key(&self) -> Option<(Key, usize)> {
        let shown = self.shown()?;
        let hop = shown.hops.get(self.selected.min(shown.hops.len().saturating_sub(1)))?;
        Some(((Arc::clone(&hop.proxy), Arc::clone(&hop.upstream)), 0))
    }

    /// The lines to draw.
    pub fn frame(&mut self, size: Size, colors: bool) -> Vec<String> {
        let mut lines = vec![self.title(colors)];
        if let Some(trouble) = &self.trouble {
            lines.push(Style::Red.paint(trouble, colors));
        }
        let Some(shown) = self.shown() else {
            lines.push(String::new());
            lines.push(Style::Dim.paint("q quit", colors));
            return lines;
        };
        // Title and the line of keys are always there.
        let rows = size.rows.saturating_sub(lines.len() + 1).max(1);
        let footer = match self.detail(&shown, rows, size.columns, colors) {
            Some((detail, footer)) => {
                lines.extend(detail);
                footer
            }
            None => self.list(&shown, rows, size.columns, colors, &mut lines),
        };
        lines.push(Style::Dim.paint(&footer, colors));
        lines
    }

    /// What is known of the hop that is open, and what to do with it.
    fn detail(
        &mut self,
        shown: &Snapshot,
        rows: usize,
        columns: usize,
        colors: bool,
    ) -> Option<(Vec<String>, String)> {
        let ((proxy, upstream), offset) = self.open.as_mut()?;
        self.page = rows;
        let is_it = |hop: &&Arc<Hop>| hop.proxy == *proxy && hop.upstream == *upstream;
        let all = self.snapshot.as_ref().map_or(&shown.hops, |snapshot| &snapshot.hops);
        let lines = match all.iter().find(is_it) {
            Some(hop) => detail::lines(shown, hop, columns, colors),
            None => vec![format!("{proxy} to {upstream} is no longer known")],
        };
        *offset = (*offset).min(lines.len().saturating_sub(rows));
        let page = lines.into_iter().skip(*offset).take(rows).collect();
        Some((page, "⏎ back  ↑↓ PgUp PgDn scroll  ^C quit".to_owned()))
    }

    /// Adds the table; what is shown of it, and what to do.
    fn list(
        &mut self,
        shown: &Snapshot,
        rows: usize,
        columns: usize,
        colors: bool,
        lines: &mut Vec<String>,
    ) -> String {
        let count = shown.hops.len();
        // The headings are always there.
        self.page = rows.saturating_sub(1).max(1);
        self.selected = self.selected.min(count.saturating_sub(1));
        self.offset = self.offset.min(self.selected).min(count.saturating_sub(self.page));
        self.offset = self.offset.max((self.selected + 1).saturating_sub(self.page));
        let table = table(shown, self.wide).lines(colors);
        // What is beyond the last column is never wanted.
        let widest = table.iter().map(|line| fold(line, 1).len()).max().unwrap_or(0);
        self.aside = self.aside.min(widest.saturating_sub(columns.saturating_sub(2)));
        let aside = |line: &String| part(line, self.aside, columns.saturating_sub(2));
        lines.extend(table.first().map(|headings| format!("  {}", aside(headings))));
        let page = table.iter().skip(1).enumerate().skip(self.offset).take(self.page);
        lines.extend(page.map(|(at, line)| {
            let mark = if at == self.selected { "> " } else { "  " };
            format!("{}{}", Style::Bold.paint(mark, colors), aside(line))
        }));
        let last = (self.offset + self.page).min(count);
        let first = last.min(self.offset + 1);
        let filter = match (self.types, self.filter.as_str()) {
            (true, filter) => return format!("/{filter}▏  ⏎ keep  Esc forget"),
            (false, "") => String::new(),
            (false, filter) => format!("/{filter}  "),
        };
        let keys = "q quit  ⏎ detail  / filter  s sort  w wide  ←→↑↓ PgUp PgDn";
        format!("{first}–{last} of {count}  {filter}{}  {keys}", words(self.sort))
    }

    fn title(&self, colors: bool) -> String {
        let mut title = format!("{}  {}", Style::Bold.paint("hopsight", colors), self.address);
        let Some(snapshot) = &self.snapshot else { return title + "  asking the agent …" };
        if let Some(node) = snapshot.witness.as_ref().and_then(|witness| witness.node.as_ref()) {
            title += &format!("  {}", clean(node));
        }
        let counts = snapshot.by_security();
        for security in [Security::Plaintext, Security::Unknown, Security::Tls, Security::Mtls] {
            let count = format!("{security} {}", counts[&security]);
            title += "  ";
            title += &Style::of(security).paint(&count, colors);
        }
        title + "  " + &time::rfc3339(snapshot.at)[11..19] + " UTC"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_posture::hops::{
        table::{HopLimits, HopTable},
        testing::{at, report, to},
    };

    const SIZE: Size = Size { columns: 200, rows: 6 };

    fn snapshot(hops: u64) -> Snapshot {
        let mut table = HopTable::new(HopLimits::default());
        for hop in 0..hops {
            let security = if hop == 1 { Security::Plaintext } else { Security::Tls };
            table.record(&to(report(hop, security), &format!("10.0.0.{hop}:443")), at(50.0));
        }
        table.snapshot(3723.0).sorted()
    }

    fn shown(view: &mut View) -> Vec<String> {
        let lines = view.frame(SIZE, false);
        assert!(lines.len() <= SIZE.rows, "{lines:?}");
        let upstream = |line: &String| line[2..].split_whitespace().nth(1).map(str::to_owned);
        let body = &lines[2..lines.len() - 1];
        body.iter().filter_map(upstream).collect()
    }

    #[test]
    fn scrolling_stays_within_the_hops() {
        let mut view = View::new("agent:1".into(), false);
        view.take(Ok(snapshot(10)));
        assert_eq!(shown(&mut view), ["10.0.0.1:443", "10.0.0.0:443", "10.0.0.2:443"]);
        for _ in 0..3 {
            view.press(b"\x1b[B");
        }
        assert_eq!(shown(&mut view), ["10.0.0.0:443", "10.0.0.2:443", "10.0.0.3:443"]);
        assert!(view.frame(SIZE, false)[4].starts_with("> nginx"), "the selected one");
        view.press(b"G");
        assert_eq!(shown(&mut view)[2], "10.0.0.9:443");
        view.press(b"j");
        assert_eq!(shown(&mut view)[2], "10.0.0.9:443");
        view.press(b"\x1b[5~");
        view.press(b"\x1b[5~");
        assert_eq!(shown(&mut view)[0], "10.0.0.5:443");
        view.press(b"g");
        view.press(b"k");
        assert_eq!(shown(&mut view)[0], "10.0.0.1:443");
        view.press(b"s");
        view.press(b"s");
        assert_eq!(shown(&mut view)[0], "10.0.0.0:443", "by name");
        assert_eq!(view.press(b"q"), Some(Action::Quit));
    }

    #[test]
    fn trouble_keeps_the_last_answer() {
        let mut view = View::new("agent:1".into(), false);
        assert!(view.frame(SIZE, false)[0].contains("asking the agent"));
        view.take(Ok(snapshot(2)));
        view.take(Err(anyhow::anyhow!("connection refused")));
        let lines = view.frame(SIZE, false);
        assert_eq!(
            lines[0],
            "hopsight  agent:1  plaintext 1  unknown 0  tls 1  mtls 0  01:02:03 UTC"
        );
        assert_eq!(lines[1], "connection refused");
        assert!(lines[3].contains("10.0.0.1:443"));
    }

    #[test]
    fn a_filter_leaves_what_mentions_it() {
        let mut view = View::new("agent:1".into(), false);
        view.take(Ok(snapshot(10)));
        for (keys, want) in [
            (&["/", "PLAIN", "\r"][..], &["10.0.0.1:443"][..]),
            (&["/", "x"], &[]),
            (&["\x7f", "\r"], &["10.0.0.1:443"]),
            (&["\x1b", "/", "0.0.9", "\r"], &["10.0.0.9:443"]),
            // A key that is a command elsewhere.
            (&["\x1b", "/", "q", "\x1b", "g"], &["10.0.0.1:443", "10.0.0.0:443", "10.0.0.2:443"]),
        ] {
            for key in keys {
                assert_eq!(view.press(key.as_bytes()), None, "{key:?}");
            }
            assert_eq!(shown(&mut view), want, "{keys:?}");
        }
    }

    #[test]
    fn the_table_moves_sideways_as_far_as_it_goes() {
        let mut view = View::new("agent:1".into(), false);
        view.take(Ok(snapshot(2)));
        let narrow = Size { columns: 40, rows: 6 };
        let headings = |view: &mut View| view.frame(narrow, false)[1].clone();
        assert!(headings(&mut view).starts_with("  PROXY"));
        for _ in 0..50 {
            view.press(b"\x1b[C");
        }
        assert!(headings(&mut view).ends_with("LAST SEEN"), "{}", headings(&mut view));
        for _ in 0..50 {
            view.press(b"h");
        }
        assert!(headings(&mut view).starts_with("  PROXY"));
    }

    #[test]
    fn a_hop_is_opened_and_closed() {
        let mut view = View::new("agent:1".into(), false);
        view.take(Ok(snapshot(10)));
        view.press(b"j");
        view.press(b"\r");
        let tall = Size { columns: 200, rows: 40 };
        let lines = view.frame(tall, false);
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("UPSTREAM ") && line.ends_with(" 10.0.0.0:443")),
            "{lines:#?}"
        );
        // It stays open though others come before it.
        view.take(Ok(snapshot(20)));
        assert!(view.frame(tall, false).iter().any(|line| line.ends_with("  10.0.0.0:443")));
        view.press(b"G");
        assert!(view.frame(SIZE, false).len() <= SIZE.rows);
        assert_eq!(view.press(b"\x1b"), None, "it is closed, not the program");
        assert!(view.frame(tall, false)[1].contains("PROXY"));
        assert_eq!(view.press(b"\x1b"), Some(Action::Quit));
    }
}

//! What `hopsight watch` shows, and what keys do. Knows no terminal.

use super::screen::Size;
use crate::cli::{
    hops::{Sort, order, table},
    paint::Style,
};
use hopsight_core::model::Security;
use hopsight_export::time;
use hopsight_posture::hops::table::Snapshot;

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

/// The state of the display.
#[derive(Debug)]
pub struct View {
    address: String,
    snapshot: Option<Snapshot>,
    trouble: Option<String>,
    sort: Sort,
    wide: bool,
    /// Hops above the first one shown.
    offset: usize,
    /// Hops that fitted the last frame.
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
            offset: 0,
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
        let step = self.page.max(2) - 1;
        match bytes {
            b"q" | b"Q" | b"\x03" | b"\x1b" => return Some(Action::Quit),
            b"s" => self.sort = next(self.sort),
            b"w" => self.wide = !self.wide,
            b"j" | b"\x1b[B" | b"\x1bOB" => self.offset += 1,
            b"k" | b"\x1b[A" | b"\x1bOA" => self.offset = self.offset.saturating_sub(1),
            b" " | b"\x1b[6~" => self.offset += step,
            b"b" | b"\x1b[5~" => self.offset = self.offset.saturating_sub(step),
            b"g" | b"\x1b[H" => self.offset = 0,
            b"G" | b"\x1b[F" => self.offset = usize::MAX,
            _ => {}
        }
        None
    }

    /// The lines to draw.
    pub fn frame(&mut self, size: Size, colors: bool) -> Vec<String> {
        let mut lines = vec![self.title(colors)];
        if let Some(trouble) = &self.trouble {
            lines.push(Style::Red.paint(trouble, colors));
        }
        let keys = "q quit  s sort  w wide  ↑↓ PgUp PgDn scroll";
        let Some(snapshot) = &self.snapshot else {
            lines.push(String::new());
            lines.push(Style::Dim.paint(keys, colors));
            return lines;
        };
        // Title, headings and the line of keys are always there.
        self.page = size.rows.saturating_sub(lines.len() + 2).max(1);
        self.offset = self.offset.min(snapshot.hops.len().saturating_sub(self.page));
        let mut sorted = snapshot.clone();
        order(&mut sorted, self.sort);
        let mut table = table(&sorted, self.wide).lines(colors).into_iter();
        lines.extend(table.next());
        lines.extend(table.skip(self.offset).take(self.page));
        let last = (self.offset + self.page).min(snapshot.hops.len());
        let first = last.min(self.offset + 1);
        let place = format!("{first}–{last} of {}  {}  ", snapshot.hops.len(), words(self.sort));
        lines.push(Style::Dim.paint(&(place + keys), colors));
        lines
    }

    fn title(&self, colors: bool) -> String {
        let mut title = format!("{}  {}", Style::Bold.paint("hopsight", colors), self.address);
        let Some(snapshot) = &self.snapshot else { return title + "  asking the agent …" };
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
        let upstream = |line: &String| line.split_whitespace().nth(1).map(str::to_owned);
        let body = &lines[2..lines.len() - 1];
        body.iter().filter_map(upstream).collect()
    }

    #[test]
    fn scrolling_stays_within_the_hops() {
        let mut view = View::new("agent:1".into(), false);
        view.take(Ok(snapshot(10)));
        assert_eq!(shown(&mut view), ["10.0.0.1:443", "10.0.0.0:443", "10.0.0.2:443"]);
        view.press(b"\x1b[B");
        assert_eq!(shown(&mut view)[0], "10.0.0.0:443");
        view.press(b"G");
        assert_eq!(shown(&mut view)[2], "10.0.0.9:443");
        view.press(b"j");
        assert_eq!(shown(&mut view)[2], "10.0.0.9:443");
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
}

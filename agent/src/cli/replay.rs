//! `hopsight replay`: packet captures through the same pipeline.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    paint::{ColorChoice, Style},
    table::{Cell, Table},
};
use hopsight_capture::replay::{self as pipeline, ReplaySource};
use hopsight_core::report::ConnectionReport;

/// Files at least this large get a progress bar on a terminal.
const LONG_FILE: u64 = 16 << 20;

/// Arguments of `hopsight replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Capture files: pcap or pcapng.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per connection.
    Table,
    /// One JSON object per line and connection.
    Json,
}

/// A connection and the file it comes from.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    report: &'a ConnectionReport,
}

/// Exit status where a file was read only in part.
const DAMAGED: u8 = 1;
/// Exit status where a file could not be read at all.
const UNREADABLE: u8 = 2;

/// Runs `hopsight replay`: what is wrong with one file is told, and the others are read.
///
/// # Errors
/// Standard output cannot be written.
pub fn replay(args: &ReplayArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    let mut status = 0;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    for path in &args.files {
        let file = path.to_string_lossy();
        let source = match ReplaySource::open(path) {
            Ok(source) => source,
            Err(error) => {
                eprintln!("hopsight: {error:#}");
                status = UNREADABLE;
                continue;
            }
        };
        let mut sink = |report: ConnectionReport| -> anyhow::Result<()> {
            match args.output {
                Format::Table => rows.push(Row::new(&file, &report)),
                Format::Json => {
                    let line = Line { file: &file, report: &report };
                    serde_json::to_writer(&mut stdout, &line).map_err(io::Error::from)?;
                    stdout.write_all(b"\n")?;
                }
            }
            Ok(())
        };
        let mut bar = Bar::new(path);
        let mut progress = |read| bar.show(read);
        let counts = pipeline::replay_source(source, pipeline::limits(), &mut progress, &mut sink)
            .with_context(|| format!("replay {file}"))?;
        drop(bar);
        if let Some(rest) = counts.told() {
            eprintln!("hopsight: {file}: {rest}");
        }
        if let Some(damage) = counts.damaged {
            eprintln!("hopsight: {file}: damaged after {} packets: {damage}", counts.read);
            status = status.max(DAMAGED);
        }
    }
    if args.output == Format::Table {
        for line in table(rows, args.files.len() > 1).lines(color.for_stdout()) {
            writeln!(stdout, "{line}")?;
        }
    }
    stdout.flush()?;
    Ok(ExitCode::from(status))
}

/// A connection as a line of the table.
struct Row {
    file: String,
    tunnel: Option<Arc<str>>,
    cells: Vec<Cell>,
}

/// What every table has.
const COLUMNS: [&str; 11] = [
    "SRC",
    "DST",
    "SECURITY",
    "CLIENT AUTH",
    "OUTCOME",
    "EVIDENCE",
    "VERSION",
    "CIPHER",
    "SNI",
    "ALERT",
    "REASON",
];

/// The columns of files and tunnels are there where they tell something.
fn table(rows: Vec<Row>, has_files: bool) -> Table {
    let has_tunnels = rows.iter().any(|row| row.tunnel.is_some());
    let optional = [has_files.then_some("FILE"), has_tunnels.then_some("TUNNEL")];
    let mut table = Table::new(optional.into_iter().flatten().chain(COLUMNS));
    for Row { file, tunnel, cells } in rows {
        let tunnel = Cell::from(tunnel.as_deref().unwrap_or_default());
        let optional = [has_files.then(|| file.into()), has_tunnels.then_some(tunnel)];
        table.push(optional.into_iter().flatten().chain(cells).collect());
    }
    table
}

impl Row {
    fn new(file: &str, report: &ConnectionReport) -> Self {
        Self { file: file.to_owned(), tunnel: report.tunnel.clone(), cells: cells(report) }
    }
}

fn cells(report: &ConnectionReport) -> Vec<Cell> {
    let verdict = report.verdict;
    let text = |value: Option<&str>| Cell::from(value.unwrap_or_default());
    vec![
        report.src.clone().into(),
        report.dst.clone().into(),
        Cell::styled(verdict.security.as_str(), Style::of(verdict.security)),
        verdict.client_auth.as_str().into(),
        verdict.outcome.as_str().into(),
        verdict.evidence.as_str().into(),
        text(report.tls_version.as_deref()),
        text(report.cipher.as_deref()),
        text(report.sni.as_deref()),
        text(report.alert.as_ref().map(|alert| &*alert.description)),
        verdict.reason.map(hopsight_core::model::Reason::as_str).unwrap_or_default().into(),
    ]
}

/// How much of a long file is read, on standard error if that is a terminal.
struct Bar {
    total: u64,
    shown: Option<u64>,
}

impl Bar {
    fn new(path: &Path) -> Self {
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        let wanted = size >= LONG_FILE && io::stderr().is_terminal();
        Self { total: if wanted { size } else { 0 }, shown: None }
    }

    fn show(&mut self, read: u64) {
        let Some(percent) = read.saturating_mul(100).checked_div(self.total) else { return };
        let percent = percent.min(100);
        if self.shown != Some(percent) {
            self.shown = Some(percent);
            let done = usize::try_from(percent / 2).unwrap_or(50);
            eprint!("\r[{}{}] {percent:3} %", "#".repeat(done), " ".repeat(50 - done));
        }
    }
}

/// Leaves an empty line, for what is printed next.
impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}

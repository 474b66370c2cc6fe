//! `hopsight replay`: packet captures through the same pipeline.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    paint::{ColorChoice, Style},
    table::{Cell, Table},
};
use hopsight_capture::replay as pipeline;
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

/// Runs `hopsight replay`.
///
/// # Errors
/// A file cannot be read or is no capture, or standard output cannot be written.
pub fn replay(args: &ReplayArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    let mut table = Table::new([
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
    ]);
    let mut is_damaged = false;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    for path in &args.files {
        let file = path.to_string_lossy();
        let mut sink = |report: ConnectionReport| -> anyhow::Result<()> {
            match args.output {
                Format::Table => table.push(row(&report)),
                Format::Json => {
                    let line = Line { file: &file, report: &report };
                    serde_json::to_writer(&mut stdout, &line).map_err(io::Error::from)?;
                    stdout.write_all(b"\n")?;
                }
            }
            Ok(())
        };
        let mut bar = Bar::new(path);
        let counts = pipeline::replay_with_progress(
            path,
            pipeline::limits(),
            &mut |read| bar.show(read),
            &mut sink,
        )
        .with_context(|| format!("replay {file}"))?;
        drop(bar);
        if let Some(damage) = counts.damaged {
            is_damaged = true;
            eprintln!("hopsight: {file}: damaged after {} packets: {damage}", counts.read);
        } else if counts.not_tcp == counts.read {
            eprintln!("hopsight: {file}: none of {} packets carries TCP", counts.read);
        }
    }
    if args.output == Format::Table {
        for line in table.lines(color.for_stdout()) {
            writeln!(stdout, "{line}")?;
        }
    }
    stdout.flush()?;
    Ok(if is_damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn row(report: &ConnectionReport) -> Vec<Cell> {
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

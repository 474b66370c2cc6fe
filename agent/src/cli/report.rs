//! `hopsight report`: a time for auditors.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context as _, bail, ensure};

use super::hops::{HopFilter, fetch};
use hopsight_export::{
    inventory::Source,
    report::{DriftLog, Material, Report, Table},
    time,
};
use hopsight_posture::hops::{moment::unix_seconds, table::Snapshot};

/// Longest saved answer of `/hops` that is read, in bytes: some 50,000 hops.
const MAX_ANSWER: u64 = 512 << 20;
/// Longest line of a file of events.
const MAX_LINE: u64 = 4 << 20;
/// Lines of a file that are no events before it is taken for something else.
const MAX_FOREIGN: u64 = 1_000;

/// Arguments of `hopsight report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Saved answers of `/hops`, several of a node for what happened between them, and files of events;
    /// without any the agent is asked.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Where the time begins, RFC 3339 or a date in UTC; without it with the oldest answer.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<f64>,

    /// Where it ends; without it with the newest answer.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<f64>,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "html")]
    output: Format,

    /// Which table, as CSV. (Certificates and cryptography as CSV: `hopsight inventory`.)
    #[arg(long, value_name = "TABLE", default_value = "hops")]
    table: TableArg,

    #[command(flatten)]
    selection: HopFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A page that can be printed.
    Html,
    /// One table, for spreadsheets.
    Csv,
    /// All of it.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TableArg {
    /// A line for each hop.
    Hops,
    /// A line for each node: what was watched, and what was lost.
    Nodes,
    /// A line for each drift.
    Drift,
    /// A line for each hop that is exempt.
    Exemptions,
}

impl TableArg {
    const fn table(self) -> Table {
        match self {
            Self::Hops => Table::Hops,
            Self::Nodes => Table::Nodes,
            Self::Drift => Table::Drift,
            Self::Exemptions => Table::Exemptions,
        }
    }
}

fn moment(text: &str) -> Result<f64, String> {
    let read = |text: &str| time::parse_rfc3339(text).map(unix_seconds);
    let found = read(text).or_else(|| read(&format!("{text}T00:00:00Z")));
    found.ok_or_else(|| "a time such as 2026-11-29T00:00:00Z, or a date".to_owned())
}

/// Runs `hopsight report`.
///
/// # Errors
/// The agent does not answer, a file cannot be read or is neither, or standard output cannot be written.
pub fn report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    if let (Some(from), Some(to)) = (args.from, args.to) {
        ensure!(from < to, "the time ends before it begins (--from, --to)");
    }
    let mut material = Material { from: args.from, to: args.to, ..Material::default() };
    if args.files.is_empty() {
        let name = args.selection.agent.address.clone();
        material.answers.push(Source { name, hops: fetch(&args.selection)? });
    }
    for path in &args.files {
        read(path, &mut material).with_context(|| path.display().to_string())?;
    }
    for answer in &mut material.answers {
        args.selection.retain(&mut answer.hops);
    }
    let now = unix_seconds(SystemTime::now());
    let report = Report::of(material, now);
    for note in &report.notes {
        eprintln!("hopsight: {note}");
    }
    let text = match args.output {
        Format::Html => Ok(report.html(now)),
        Format::Csv => report.csv(args.table.table()),
        Format::Json => report.json(),
    };
    let text = text.context("write the report")?;
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Takes in a file, whichever it is.
fn read(path: &Path, material: &mut Material) -> anyhow::Result<()> {
    let mut file = BufReader::new(File::open(path).context("open it")?);
    let mut first = Vec::new();
    file.by_ref().take(MAX_LINE).read_until(b'\n', &mut first).context("read it")?;
    // An answer of /hops is one object, on one line or many; an event is one on each line.
    if !material.drift.add(&String::from_utf8_lossy(&first)) {
        let rest = file.by_ref().take(MAX_ANSWER);
        let mut bytes = first;
        bytes.reserve(1 << 16);
        let mut rest = rest;
        rest.read_to_end(&mut bytes).context("read it")?;
        return match serde_json::from_slice::<Snapshot>(&bytes) {
            Ok(hops) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                let name = name.to_string_lossy().into_owned();
                material.answers.push(Source { name, hops });
                Ok(())
            }
            Err(error) => {
                bail!(
                    "it is neither an answer of /hops of this version ({error}) nor a file of events"
                )
            }
        };
    }
    events(file, &mut material.drift)
}

/// The lines behind the first, one at a time: such a file may be of any length.
fn events(mut file: impl std::io::BufRead, log: &mut DriftLog) -> anyhow::Result<()> {
    let mut foreign = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).context("read it")?;
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() && !log.add(text.trim_end()) {
            foreign += 1;
            ensure!(foreign <= MAX_FOREIGN, "more than {MAX_FOREIGN} lines of it are no events");
        }
    }
    if foreign > 0 {
        eprintln!("hopsight: {foreign} lines are no events, and are left out");
    }
    if log.dropped > 0 {
        eprintln!("hopsight: {} drifts are beyond what is remembered", log.dropped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, want) in [
            ("2026-11-29T12:00:00Z", Some(1_795_953_600.0)),
            ("2026-11-29", Some(1_795_910_400.0)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn files_are_told_apart_by_what_is_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let time = Some("2026-11-29T12:00:00.000Z".into());
        let hops = Snapshot { time, ..Snapshot::default() };
        let hops = serde_json::to_string_pretty(&hops).unwrap();
        let event = "{\"time\":\"2026-11-29T12:00:00.000Z\",\"event\":\"hop_changed\"}\n";
        let mut material = Material::default();
        read(&write("hops.json", &hops), &mut material).unwrap();
        read(&write("line.json", &hops.replace('\n', "")), &mut material).unwrap();
        read(&write("events.jsonl", &format!("{event}torn\n{event}")), &mut material).unwrap();
        assert_eq!(material.answers.len(), 2);
        for (name, text) in [("empty", ""), ("text", "hello\n"), ("foreign.json", "{\"a\": 1}")] {
            let error = read(&write(name, text), &mut material).unwrap_err();
            assert!(error.to_string().contains("neither"), "{name}: {error}");
        }
    }
}

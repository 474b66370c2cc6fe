//! `hopsight inventory`: certificates and cryptography in use, for auditors and for other tools.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;

use super::hops::{HopFilter, fetch};
use hopsight_capture::replay::{self as pipeline, ReplaySource};
use hopsight_export::inventory::{Inventory, Source};
use hopsight_posture::hops::{
    moment::{Moment, unix_seconds},
    table::{HopLimits, HopTable, Snapshot},
};

/// Longest saved answer of `/hops` that is read, in bytes: some 50,000 hops.
const MAX_ANSWER: u64 = 512 << 20;
/// Hops of one capture that are kept apart.
const MAX_HOPS: usize = 100_000;

/// Exit status where a capture was read only in part.
const DAMAGED: u8 = 1;
/// Exit status where a file could not be read at all.
const UNREADABLE: u8 = 2;

/// Arguments of `hopsight inventory`.
#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// Saved answers of `/hops` (`hopsight hops -o json`), and captures; without any the agent is
    /// asked.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How to print.
    #[arg(
        short = 'o',
        long,
        visible_alias = "output",
        value_name = "FORMAT",
        default_value = "json"
    )]
    format: Format,

    #[command(flatten)]
    selection: HopFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Every line with everything that is known.
    Json,
    /// One table, for spreadsheets.
    Csv,
    /// A page for people.
    Html,
    /// CycloneDX 1.7, a cryptography bill of materials (CBOM).
    Cyclonedx,
}

/// Runs `hopsight inventory`: what is wrong with one file is told, and the others are read.
///
/// # Errors
/// The agent does not answer, or standard output cannot be written.
pub fn inventory(args: &InventoryArgs) -> anyhow::Result<ExitCode> {
    let mut status = 0;
    let mut sources = Vec::new();
    if args.files.is_empty() {
        let name = args.selection.agent.address.clone();
        sources.push(Source { name, hops: fetch(&args.selection)? });
    }
    for path in &args.files {
        match read(path) {
            Ok((mut hops, damage)) => {
                args.selection.retain(&mut hops);
                sources.push(Source { name: path.display().to_string(), hops });
                if let Some(damage) = damage {
                    eprintln!("hopsight: {}: {damage}", path.display());
                    status = status.max(DAMAGED);
                }
            }
            Err(error) => {
                eprintln!("hopsight: {error:#}");
                status = UNREADABLE;
            }
        }
    }
    let inventory = Inventory::of(sources);
    let now = unix_seconds(SystemTime::now());
    let text = match args.format {
        Format::Json => inventory.json(),
        Format::Csv => inventory.csv(),
        Format::Html => Ok(inventory.html(now)),
        Format::Cyclonedx => inventory.cyclonedx(now),
    };
    let text = text.context("write the inventory")?;
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(ExitCode::from(status))
}

/// The hops in a file, and what of it could not be read.
fn read(path: &Path) -> anyhow::Result<(Snapshot, Option<String>)> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(1).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    // Recorded events are objects as well, a line each.
    if bytes == b"{"
        && let Some(hops) = saved(path)?
    {
        return Ok((hops, None));
    }
    replayed(path)
}

/// A saved answer of `/hops`; `None` where the file is something else.
fn saved(path: &Path) -> anyhow::Result<Option<Snapshot>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MAX_ANSWER + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {}", path.display()))?;
    let is_whole = bytes.len() as u64 <= MAX_ANSWER;
    Ok(is_whole.then(|| serde_json::from_slice(&bytes).ok()).flatten())
}

/// The hops that a capture shows, by the clock of the capture.
fn replayed(path: &Path) -> anyhow::Result<(Snapshot, Option<String>)> {
    let source = ReplaySource::open(path).with_context(|| {
        format!("read {} as an answer of /hops of this version, or as a capture", path.display())
    })?;
    let mut table = HopTable::new(HopLimits {
        max_hops: MAX_HOPS,
        idle_expiry: Duration::MAX,
        treatment_stands_for: Duration::MAX,
    });
    let mut newest = 0.0_f64;
    let counts = pipeline::replay_source(source, pipeline::limits(), &mut |_| {}, &mut |report| {
        let monotonic = report.decided_at;
        let since_epoch = SystemTime::UNIX_EPOCH + Duration::from_nanos(monotonic.0);
        let now = Moment { unix_seconds: unix_seconds(since_epoch), monotonic };
        newest = newest.max(now.unix_seconds);
        table.record(&report, now);
        Ok(())
    });
    let counts = counts.with_context(|| format!("replay {}", path.display()))?;
    let damage = counts
        .damaged
        .as_ref()
        .map(|damage| format!("damaged after {} packets: {damage}", counts.read));
    Ok((table.snapshot(newest), damage.or(counts.told())))
}

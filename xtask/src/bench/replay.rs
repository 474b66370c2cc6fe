//! Whole programs that read one synthetic capture.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;

use super::{build_release, result_file, tempdir};
use crate::command;

/// What to replay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections in the synthetic capture
    #[arg(long, default_value_t = 100_000)]
    connections: usize,
    /// Packets of application data after each handshake
    #[arg(long, default_value_t = 0)]
    data: usize,
    /// Interleaved runs; the median is shown
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only hopsight
    #[arg(long)]
    alone: bool,
}

/// A program that reads the capture.
struct Reader {
    name: &'static str,
    command: Box<dyn Fn(&Path) -> Command>,
    runs: Vec<Run>,
}

/// One run: GNU time's view of it.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    /// Processor time, user and system.
    processor_seconds: f64,
    /// Most resident memory.
    kilobytes: f64,
}

impl Reader {
    fn new(name: &'static str, command: impl Fn(&Path) -> Command + 'static) -> Self {
        Self { name, command: Box::new(command), runs: Vec::new() }
    }

    fn sorted(&self, of: fn(&Run) -> f64) -> Vec<f64> {
        let mut sorted: Vec<f64> = self.runs.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(&self, of: fn(&Run) -> f64) -> f64 {
        let sorted = self.sorted(of);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Generates the capture, has every reader read it in turn, and reports.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Args { connections, data, runs, alone } = *args;
    anyhow::ensure!(command::installed("time"), "GNU time is missing: run `cargo xtask setup`");
    let release = build_release(&["-p", "hopsight-tools", "--bins"])?;
    let folder = tempdir()?;
    let file = folder.join("synthetic.pcap");
    let mut generate = Command::new(release.join("synthetic_pcap"));
    generate.arg(&file).args([connections.to_string(), data.to_string()]);
    command::run(&mut generate)?;
    let bytes = fs::metadata(&file).context("look at the capture")?.len();

    let mut readers = readers(&release, &folder);
    if alone {
        readers.truncate(1);
    }
    for _ in 0..runs {
        for reader in &mut readers {
            let run = timed(&(reader.command)(&file), &folder)?;
            reader.runs.push(run);
        }
    }
    report(&readers, args, bytes);
    let mut latency = Command::new(release.join("replay_latency"));
    command::run(latency.arg(&file))?;
    fs::remove_dir_all(&folder).context("remove the capture")?;
    let result = result_file(if data > 0 { "replay-established" } else { "replay" })?;
    fs::write(&result, json(&readers, args, bytes))
        .with_context(|| format!("write {}", result.display()))
}

/// Runs it to its end under GNU time.
fn timed(reader: &Command, folder: &Path) -> anyhow::Result<Run> {
    let figures = folder.join("time");
    let mut command = Command::new("time");
    command.args(["--format", "%U %S %M", "--output"]).arg(&figures).arg("--");
    command.arg(reader.get_program()).args(reader.get_args());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    command::run(&mut command)?;
    let seconds = start.elapsed().as_secs_f64();
    let text = fs::read_to_string(&figures).context("read what GNU time wrote")?;
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kilobytes] = figures[..] else {
        anyhow::bail!("GNU time wrote {text:?}");
    };
    Ok(Run { seconds, processor_seconds: user + system, kilobytes })
}

fn readers(release: &Path, folder: &Path) -> Vec<Reader> {
    let hopsight = release.join("hopsight");
    let mut readers = vec![Reader::new("hopsight", move |file| {
        let mut command = Command::new(&hopsight);
        command.arg("replay").arg(file).args(["--output", "json"]);
        command
    })];
    if command::installed("tshark") {
        readers.push(Reader::new("tshark", |file| {
            let mut command = Command::new("tshark");
            command.arg("-r").arg(file).args(["-Y", "tls.handshake", "-T", "fields"]);
            command.args(["-e", "tcp.stream", "-e", "tls.handshake.type"]);
            command
        }));
    }
    if command::installed("suricata") {
        let logs = folder.to_owned();
        readers.push(Reader::new("suricata", move |file| {
            let mut command = Command::new("suricata");
            command.args(["-k", "none", "--runmode", "single", "-r"]).arg(file);
            command.arg("-l").arg(&logs);
            command
        }));
    }
    readers
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52, shown with three digits")]
fn report(readers: &[Reader], args: &Args, bytes: u64) {
    let connections = args.connections as f64;
    println!("{connections} handshakes, {} MB, whole processes", bytes / 1_000_000);
    let ours = readers.first().map_or(f64::NAN, |reader| reader.median(|run| run.seconds));
    println!(
        "PROGRAM    MEDIAN s   MIN s   MAX s   CPU s   HANDSHAKES/s/core      MB/s  PEAK MB   \
         TIME OF HOPSIGHT'S"
    );
    for reader in readers {
        let median = reader.median(|run| run.seconds);
        let processor = reader.median(|run| run.processor_seconds);
        let seconds = reader.sorted(|run| run.seconds);
        println!(
            "{:<10} {:>8.2} {:>7.2} {:>7.2} {:>7.2} {:>19.0} {:>9.1} {:>8.1} {:>19.1}x",
            reader.name,
            median,
            seconds.first().unwrap_or(&f64::NAN),
            seconds.last().unwrap_or(&f64::NAN),
            processor,
            connections / processor,
            bytes as f64 / 1e6 / median,
            reader.median(|run| run.kilobytes) / 1e3,
            median / ours,
        );
    }
    for absent in ["tshark", "suricata"] {
        if !readers.iter().any(|reader| reader.name == absent) {
            println!("{absent} is not compared");
        }
    }
}

/// The result, run by run.
fn json(readers: &[Reader], args: &Args, bytes: u64) -> String {
    let programs: Vec<String> = readers
        .iter()
        .map(|reader| {
            let runs: Vec<String> = reader
                .runs
                .iter()
                .map(|Run { seconds, processor_seconds, kilobytes }| {
                    format!(
                        r#"{{"seconds": {seconds}, "processor_seconds": {processor_seconds}, "peak_kilobytes": {kilobytes}}}"#
                    )
                })
                .collect();
            format!(r#"    "{}": [{}]"#, reader.name, runs.join(", "))
        })
        .collect();
    let Args { connections, data, .. } = args;
    format!(
        "{{\n  \"connections\": {connections}, \"data_packets_each\": {data}, \"bytes\": {bytes},\n  \
         \"programs\": {{\n{}\n  }}\n}}\n",
        programs.join(",\n")
    )
}

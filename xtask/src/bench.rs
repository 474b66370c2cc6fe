//! `cargo xtask bench`: measurements as ratios of interleaved runs on one machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;

use crate::command::{self, cargo};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    /// Handshakes per second of replay, beside tshark and Suricata where they are installed
    Replay {
        /// Connections in the synthetic capture
        #[arg(long, default_value_t = 100_000)]
        connections: usize,
        /// Packets of application data after each handshake
        #[arg(long, default_value_t = 0)]
        data: usize,
        /// Interleaved runs; the median is shown
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// What a real Prometheus needs for many made-up agents, by series, memory and time
    Fleet {
        /// Hops of each agent
        #[arg(long, default_value_t = 20)]
        hops: usize,
        /// Sizes of the fleet, one after the other
        #[arg(long, value_delimiter = ',', default_value = "250,500,1000")]
        agents: Vec<usize>,
    },
}

/// A program that reads the capture.
struct Reader {
    name: &'static str,
    command: Box<dyn Fn(&Path) -> Command>,
    seconds: Vec<f64>,
}

impl Reader {
    fn new(name: &'static str, command: impl Fn(&Path) -> Command + 'static) -> Self {
        Self { name, command: Box::new(command), seconds: Vec::new() }
    }

    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Runs a benchmark.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Replay { connections, data, runs } => replay(*connections, *data, *runs),
        Bench::Fleet { hops, agents } => fleet(*hops, agents),
    }
}

/// Builds what is measured with and becomes it.
fn fleet(hops: usize, agents: &[usize]) -> anyhow::Result<()> {
    let packages = ["build", "-q", "-p", "hopsight", "-p", "hopsight-tests"];
    command::run(&mut cargo(&[&packages[..], &["--bins", "--example", "fleet"]].concat()))?;
    let mut measure = Command::new(command::built("hopsight-fleet")?);
    measure.env("HOPSIGHT_BIN", command::built("hopsight")?).arg(hops.to_string());
    measure.args(agents.iter().map(ToString::to_string));
    Err(command::replace(&mut measure))
}

fn replay(connections: usize, data: usize, runs: usize) -> anyhow::Result<()> {
    let build = ["build", "-q", "--release", "-p", "hopsight", "--bins", "--examples"];
    command::run(&mut cargo(&build))?;
    let release = command::built("hopsight")?
        .parent()
        .and_then(Path::parent)
        .context("find the target folder")?
        .join("release");
    let folder = tempdir()?;
    let file = folder.join("synthetic.pcap");
    let mut generate = Command::new(release.join("examples/synthetic_pcap"));
    generate.arg(&file).args([connections.to_string(), data.to_string()]);
    command::run(&mut generate)?;
    let bytes = std::fs::metadata(&file).context("look at the capture")?.len();

    let mut readers = readers(&release, &folder);
    for _ in 0..runs {
        for reader in &mut readers {
            let mut command = (reader.command)(&file);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let start = Instant::now();
            let status =
                command.status().with_context(|| format!("run {}", command::line(&command)))?;
            anyhow::ensure!(status.success(), "{} failed: {status}", command::line(&command));
            reader.seconds.push(start.elapsed().as_secs_f64());
        }
    }
    std::fs::remove_dir_all(&folder).context("remove the capture")?;
    report(&readers, connections, bytes);
    Ok(())
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
fn report(readers: &[Reader], connections: usize, bytes: u64) {
    println!("{connections} handshakes, {} MB, whole processes", bytes / 1_000_000);
    let ours = readers.first().map_or(f64::NAN, Reader::median);
    println!("PROGRAM    MEDIAN s   MIN s   MAX s   HANDSHAKES/s      MB/s   TIME OF HOPSIGHT'S");
    for reader in readers {
        let median = reader.median();
        let extreme = |pick: fn(f64, f64) -> f64| reader.seconds.iter().copied().reduce(pick);
        println!(
            "{:<10} {:>8.2} {:>7.2} {:>7.2} {:>14.0} {:>9.1} {:>19.1}x",
            reader.name,
            median,
            extreme(f64::min).unwrap_or(f64::NAN),
            extreme(f64::max).unwrap_or(f64::NAN),
            connections as f64 / median,
            bytes as f64 / 1e6 / median,
            median / ours,
        );
    }
    for absent in ["tshark", "suricata"] {
        if !readers.iter().any(|reader| reader.name == absent) {
            println!("{absent} is not installed: not compared");
        }
    }
}

/// A fresh folder that other users cannot write to.
fn tempdir() -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("hopsight-bench-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

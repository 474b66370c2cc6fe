//! Records one real handshake per case of the demo, and per refused early data that lengths can tell,
//! as event files: the fixtures that the core's tests replay. `hopsight-record DIRECTORY`.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use hopsight_core::model::{ConnectionId, Event, Origin};
use hopsight_tests::{
    agent::Agent,
    case, early_data,
    loopback::Loopback,
    requirement,
    topology::{Network, Topology},
};

/// Bytes of early data: in one record, as long as one with a small certificate.
const EARLY_DATA: usize = 600;
/// Time for the last events to arrive after the last answer.
const SETTLE: Duration = Duration::from_millis(1500);

fn main() -> anyhow::Result<()> {
    let directory =
        std::env::args_os().nth(1).map(PathBuf::from).context("usage: record DIRECTORY")?;
    let cases = requirement::runnable(case::ALL);
    let topology = Topology::start(&cases, Network::Ipv4).context("start proxies and upstreams")?;
    let recording = topology.dir().join("recording.jsonl");
    let path = recording.to_str().context("the temporary directory is not UTF-8")?;
    let mut options = vec!["--record", path];
    for name in case::process_names(&cases).into_iter().chain([early_data::CLIENT]) {
        options.extend(["--proxy", name]);
    }
    let agent = Agent::watching(&topology, "agent", &options)?;
    let mut files = Vec::new();
    for hop in &topology.hops {
        hop.request()?;
        files.push((hop.case.name, hop.listen));
    }
    let block = Loopback::reserve()?;
    for (port, case) in (10_000..).step_by(2).zip(early_data::ALL) {
        let addresses = [port, port + 1].map(|port| block.socket(1, port));
        let dir = topology.dir().join("early-data");
        case.run(&dir, &topology.pki, topology.cgroup(), addresses, EARLY_DATA)?;
        if case.is_told_by_lengths() {
            files.push((case.name, addresses[1]));
        }
    }
    thread::sleep(SETTLE);
    drop(agent);
    let text = fs::read_to_string(&recording).context("read the recording")?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>()?;
    fs::create_dir_all(&directory).context("create the directory of fixtures")?;
    for (name, upstream) in files {
        write(&directory.join(format!("{name}.jsonl")), &events, upstream)?;
    }
    Ok(())
}

/// Writes the events of the connections to `upstream`, and what the library of their process
/// showed meanwhile.
fn write(path: &Path, events: &[Event], upstream: std::net::SocketAddr) -> anyhow::Result<()> {
    let mut process_of = HashMap::<ConnectionId, u32>::new();
    let mut lines = String::new();
    for event in events {
        let ours = match event {
            Event::Opened { connection, origin: Origin::Process(process), destination, .. }
                if *destination == upstream =>
            {
                process_of.insert(*connection, process.pid);
                true
            }
            // Replay knows no processes that began before its first event.
            Event::Opened { .. } | Event::Began { .. } => false,
            Event::Established { connection, .. }
            | Event::Inside { connection, .. }
            | Event::Segment { connection, .. }
            | Event::Fin { connection, .. }
            | Event::Lost { connection, .. } => process_of.contains_key(connection),
            Event::Closed { connection, .. } => process_of.remove(connection).is_some(),
            Event::Library(library) => process_of.values().any(|pid| *pid == library.pid),
        };
        if ours {
            lines += &serde_json::to_string(event)?;
            lines.push('\n');
        }
    }
    fs::write(path, lines).with_context(|| format!("write {}", path.display()))
}

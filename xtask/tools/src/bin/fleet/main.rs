//! Serves the metrics of many made-up agents, to see what a Prometheus has to bear.
//!
//! `cargo run -p hopsight-tools --bin fleet -- AGENTS BAD HOPS ADDRESS:PORT FILE`: agent number N
//! answers at `/N/metrics` with that many hops, by the agent's own exporter and evaluation, and with
//! the series in FILE that they alone do not have: those of a real agent's kernel programs and
//! probes. On the first BAD nodes one workload speaks plaintext against the policy.

mod agent;

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agent::Agent;
use anyhow::Context as _;

/// Connections of every hop before the first scrape, so that each has seen its kinds of them.
const BEFORE: u64 = 6;

struct Fleet {
    agents: Vec<Agent>,
    hops: u64,
    next: AtomicU64,
    /// Series of a real agent that do not come from the exporter, as text.
    rest: String,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [agents, bad, hops, address, file] = args.as_slice() else {
        anyhow::bail!("arguments: AGENTS BAD HOPS ADDRESS:PORT FILE");
    };
    let [agents, bad, hops]: [u64; 3] = [agents.parse()?, bad.parse()?, hops.parse()?];
    let real = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let fleet: anyhow::Result<Vec<_>> =
        (0..agents).map(|number| started(number, number < bad, hops)).collect();
    let agents_there = fleet?;
    let known = names(&agents_there.first().context("at least one agent")?.exporter.gather()?);
    let rest = real.lines().filter(|line| !known.contains(name(line)));
    let rest = rest.flat_map(|line| [line, "\n"]).collect();
    let next = AtomicU64::new(agents * hops * BEFORE);
    let fleet = Arc::new(Fleet { agents: agents_there, hops, next, rest });
    let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
    for stream in listener.incoming() {
        let (stream, fleet) = (stream.context("accept")?, Arc::clone(&fleet));
        std::thread::spawn(move || {
            // An error is a scraper that went away.
            let _ = serve(&stream, &fleet);
        });
    }
    Ok(())
}

/// Every agent has the same kinds of hops in another order, so that neighbours differ.
fn started(number: u64, is_bad: bool, hops: u64) -> anyhow::Result<Agent> {
    let agent = Agent::new(is_bad)?;
    for connection in 0..hops * BEFORE {
        agent.connect((number + connection) % hops, connection);
    }
    agent.connect_workload(0);
    Ok(agent)
}

/// The metric that a line of the text format is about.
fn name(line: &str) -> &str {
    let line =
        line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")).unwrap_or(line);
    line.split(['{', ' ']).next().unwrap_or_default()
}

/// Every name of an exposition. Those of series count as well: a histogram's differ from its own.
fn names(text: &str) -> HashSet<String> {
    text.lines().map(|line| name(line).to_owned()).collect()
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: &TcpStream, fleet: &Fleet) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        while !lines.next().context("a request ended within its header")??.is_empty() {}
        let agent: usize = request.split('/').nth(1).context("no path")?.parse()?;
        let agent = fleet.agents.get(agent).context("no such agent")?;
        // A connection of each hop since the last scrape.
        for hop in 0..fleet.hops {
            agent.connect(hop, fleet.next.fetch_add(1, Ordering::Relaxed));
        }
        agent.connect_workload(fleet.next.fetch_add(1, Ordering::Relaxed));
        let text = agent.exporter.gather()?;
        let length = text.len() + fleet.rest.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let mut stream = stream;
        for part in [&head, &text, &fleet.rest] {
            stream.write_all(part.as_bytes())?;
        }
    }
    Ok(())
}

//! Pipeline and exporter at sizes that no test machine's network reaches, fed from memory:
//! `scale [--short] [--json FILE]`.
//!
//! Time is the events' own, so that a minute of traffic takes as long as its processing does.
//! Each measurement of memory runs in a process of its own.

mod hops;
mod memory;
mod resident;
mod steady;
mod traffic;

use std::{env, fs, process::Command};

use anyhow::Context as _;
use serde_json::{Value, json};

use self::{memory::State, steady::Load};

/// Connections at which memory and time per event are measured.
const CONNECTIONS: [usize; 3] = [1_000, 100_000, 1_000_000];
const HOPS: [usize; 3] = [10, 1_000, 10_000];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        // One measurement, for ourselves in another process.
        ["memory", state, connections] => {
            let state: State = serde_json::from_value(json!(state)).context("read STATE")?;
            println!("{}", memory::measure(state, connections.parse()?)?);
            Ok(())
        }
        ["hops", hops] => {
            println!("{}", hops::measure(hops.parse()?)?);
            Ok(())
        }
        ["steady", seconds, connections] => {
            let load = Load {
                seconds: seconds.parse()?,
                connections: connections.parse()?,
                ..Load::BUDGET
            };
            println!("{}", steady::measure(&load)?);
            Ok(())
        }
        [] => everything(false, None),
        ["--short"] => everything(true, None),
        ["--json", file] => everything(false, Some(file)),
        ["--short", "--json", file] => everything(true, Some(file)),
        _ => anyhow::bail!("usage: scale [--short] [--json FILE]"),
    }
}

fn everything(short: bool, json_file: Option<&str>) -> anyhow::Result<()> {
    let connections = if short { &CONNECTIONS[..2] } else { &CONNECTIONS };
    let mut memory = Vec::new();
    println!(
        "CONNECTIONS     STATE            BYTES/CONNECTION  OF WHICH CAPTURED  NS/EVENT BESIDE THEM"
    );
    for &connections in connections {
        for state in State::ALL {
            let word = json!(state);
            let word = word.as_str().unwrap_or_default().to_owned();
            let result = in_own_process(&["memory", &word, &connections.to_string()])?;
            println!(
                "{connections:<9} {word:<16} {:>10.0} {:>18.0} {:>21.0}",
                number(&result, "bytes_per_connection"),
                number(&result, "captured_bytes_per_connection"),
                number(&result, "ns_per_event"),
            );
            memory.push(result);
        }
    }
    let mut hops = Vec::new();
    println!(
        "\nHOPS    SCRAPE, PROCESSOR ms (MIN-MAX)  SIZE kB  RECORD us WHILE SCRAPED (P99, WORST)  \
         WAITED"
    );
    for count in HOPS {
        let result = in_own_process(&["hops", &count.to_string()])?;
        println!(
            "{count:<7} {:>8.2} ({:.2}-{:.2}) {:>16.0} {:>10.2} ({:.1}, {:.0}) {:>20} of {}",
            number(&result, "scrape_ms_median"),
            number(&result, "scrape_ms_min"),
            number(&result, "scrape_ms_max"),
            number(&result, "size_bytes") / 1e3,
            number(&result, "record_us_median_while_scraped"),
            number(&result, "record_us_p99_while_scraped"),
            number(&result, "record_us_max_while_scraped"),
            number(&result, "records_that_waited_for_the_table"),
            number(&result, "records"),
        );
        hops.push(result);
    }
    let (seconds, connections) = if short { ("10", "100000") } else { ("60", "1000000") };
    let steady = in_own_process(&["steady", seconds, connections])?;
    println!("\n{}", steady::describe(&steady));
    if let Some(file) = json_file {
        let all = json!({ "memory": memory, "hops": hops, "steady": steady });
        fs::write(file, format!("{all:#}\n")).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

fn in_own_process(args: &[&str]) -> anyhow::Result<Value> {
    let own = env::current_exe().context("find our own executable")?;
    let output = Command::new(own).args(args).output().context("start a measurement")?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{args:?} ended with {}: {error}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("read the result of {args:?}"))
}

/// A number of a result; NaN where there is none.
fn number(result: &Value, key: &str) -> f64 {
    result[key].as_f64().unwrap_or(f64::NAN)
}

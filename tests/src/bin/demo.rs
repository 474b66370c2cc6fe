//! `cargo xtask demo`: real proxies, real upstreams, and what hopsight says of every hop.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use hopsight::export::hops::Snapshot;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    case, interrupt, requirement,
    table::{self, Row},
    topology::{Network, Topology},
    wait::wait_until,
};

/// Pause between two rounds of requests while the demo stays up.
const PAUSE: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<ExitCode> {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => anyhow::bail!("arguments: [--once]"),
    };
    interrupt::install()?;
    anyhow::ensure!(requirement::met("demo", &["nginx", "haproxy", "curl"]), "the demo cannot run");

    let cases = requirement::runnable(case::ALL);
    let topology = Topology::start(&cases, Network::Ipv4).context("start proxies and upstreams")?;
    let agent = Agent::watching_clients(&topology).context("start hopsight")?;

    let mut failed_requests = 0;
    for hop in &topology.hops {
        interrupt::check()?;
        if let Err(error) = hop.request() {
            failed_requests += 1;
            eprintln!("{error:#}");
        }
    }
    let wrong = show(&topology, &agent)?;
    if once {
        let good = wrong == 0 && failed_requests == 0;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }

    println!("\npage     http://{}/", agent.http);
    println!("metrics  http://{}/metrics", agent.http);
    println!("hops     http://{}/hops", agent.http);
    println!("A round of requests every {PAUSE:?}; Ctrl-C ends everything.");
    while !interrupt::requested() {
        interrupt::sleep(PAUSE);
        for hop in &topology.hops {
            if interrupt::requested() {
                break;
            }
            hop.request_once()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the table as soon as it is right, or when the agent had time enough; the number of
/// hops it has wrong.
fn show(topology: &Topology, agent: &Agent) -> anyhow::Result<usize> {
    let in_time = wait_until("every verdict", VERDICT, || {
        let snapshot = agent.hops()?;
        let rows = rows(topology, &snapshot);
        Ok(rows.iter().all(|row| row.mismatches.is_empty()).then_some(()))
    });
    interrupt::check()?;
    let snapshot = agent.hops()?;
    let rows = rows(topology, &snapshot);
    print!("\n{}", table::render(&rows));
    let wrong = rows.iter().filter(|row| !row.mismatches.is_empty()).count();
    match (wrong, in_time) {
        (0, _) => println!("\n{} hops, each as configured", rows.len()),
        (_, Ok(())) => println!("\n{wrong} hops have changed while the table was made"),
        (_, Err(error)) => println!("\n{wrong} of {} hops differ: {error:#}", rows.len()),
    }
    Ok(wrong)
}

/// The topology's hops beside what the agent says; hops of other programs on this machine that
/// the agent sees as well are left out.
fn rows<'a>(topology: &'a Topology, snapshot: &'a Snapshot) -> Vec<Row<'a>> {
    let view = |listen| {
        let mut views = snapshot.hops.iter().map(AsRef::as_ref);
        views.find(|view| view.is_to(listen))
    };
    topology.hops.iter().map(|hop| Row::new(hop, view(hop.listen))).collect()
}

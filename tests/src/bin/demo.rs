//! `cargo xtask demo`: real proxies, real upstreams, and what hopsight says about every hop.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hopsight_posture::hops::table::Snapshot;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    case, interrupt,
    monitoring::{self, Alertmanager, Config, Prometheus},
    process, requirement,
    table::{self, Row},
    topology::{Network, Topology},
    wait::wait_until,
};

/// Pause between two rounds of requests while the demo stays up.
const PAUSE: Duration = Duration::from_secs(5);
/// Pause between scrapes of the demo's Prometheus.
const SCRAPE: Duration = Duration::from_secs(5);
/// The alert to wait for.
const ALERT: &str = "PlaintextUpstreamHop";

fn main() -> anyhow::Result<ExitCode> {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => anyhow::bail!("arguments: [--once]"),
    };
    interrupt::install()?;
    anyhow::ensure!(requirement::met("demo", &["nginx", "haproxy", "curl"]), "the demo cannot run");

    let start = Instant::now();
    let cases = requirement::runnable(case::ALL);
    let topology = Topology::start(&cases, Network::Ipv4).context("start proxies and upstreams")?;
    let agent = Agent::watching_clients(&topology).context("start hopsight")?;
    let watch = if once { None } else { Watch::start(&topology, &agent)? };

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

    let since_start = || format!("{:5.1} s", start.elapsed().as_secs_f64());
    println!("\n{}  every verdict is there; now, on this machine:\n", since_start());
    println!("page          http://{}/", agent.http);
    println!("metrics       http://{}/metrics", agent.http);
    match &watch {
        Some(watch) => {
            println!("prometheus    http://{}/alerts", watch.prometheus.address);
            println!("alertmanager  http://{}/", watch.alertmanager.address);
        }
        None => println!("prometheus    not installed, so no alerts are shown"),
    }
    println!("\nA round of requests every {PAUSE:?}; Ctrl-C ends everything.");
    let mut is_told = false;
    while !interrupt::requested() {
        if let Some(hops) = watch.as_ref().filter(|_| !is_told).and_then(Watch::told) {
            is_told = true;
            println!("{}  {ALERT} is firing, Alertmanager has it:", since_start());
            for hop in &hops {
                println!("         {hop}");
            }
        }
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

/// Prometheus with the shipped rules as they are, and Alertmanager.
struct Watch {
    prometheus: Prometheus,
    alertmanager: Alertmanager,
}

impl Watch {
    /// Starts both; `None` where they are not installed.
    fn start(topology: &Topology, agent: &Agent) -> anyhow::Result<Option<Self>> {
        if !monitoring::PROGRAMS.iter().all(|program| process::find(program).is_some()) {
            return Ok(None);
        }
        let dir = topology.dir();
        let address = topology.spare_port(9093);
        let alertmanager = Alertmanager::start(&dir.join("alertmanager"), address, None)?;
        let config = Config {
            interval: SCRAPE,
            scrapes: Config::agents(&[agent.http]),
            rules: monitoring::rules(),
            alertmanager: Some(alertmanager.address),
        };
        let address = topology.spare_port(9090);
        let prometheus = Prometheus::start(&dir.join("prometheus"), address, &config)?;
        Ok(Some(Self { prometheus, alertmanager }))
    }

    /// The hops that Alertmanager was told to be in the clear; `None` until there are some.
    fn told(&self) -> Option<Vec<String>> {
        let alerts = self.alertmanager.alerts().ok()?.into_iter();
        let mut hops: Vec<String> = alerts
            .filter(|labels| labels.get("alertname").is_some_and(|name| name == ALERT))
            .filter_map(|labels| {
                Some(format!("{} → {}", labels.get("proxy")?, labels.get("upstream")?))
            })
            .collect();
        hops.sort();
        Some(hops).filter(|hops| !hops.is_empty())
    }
}

/// Prints the table as soon as it is right, or when the agent has had time enough; returns the
/// number of hops that are wrong in it.
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

/// The topology's hops beside what the agent says; hops of other programs on this machine, which
/// the agent sees as well, are left out.
fn rows<'a>(topology: &'a Topology, snapshot: &'a Snapshot) -> Vec<Row<'a>> {
    let view = |listen| {
        let mut views = snapshot.hops.iter().map(AsRef::as_ref);
        views.find(|view| view.is_to(listen))
    };
    topology.hops.iter().map(|hop| Row::new(hop, view(hop.listen))).collect()
}

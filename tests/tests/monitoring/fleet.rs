//! A fleet behind a real Prometheus: the map says of every hop what the agents say, details come from
//! them, and who is away is told.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use hopsight_core::{health::ComponentState, model::Security, report::ConnectionReport};
use hopsight_export::{
    Exporter,
    events::Events,
    http::{self as server, Hosts, HttpLimits},
};
use hopsight_posture::hops::{
    ends::Ends,
    evaluation::Evaluation,
    hop::Hop,
    table::{HopLimits, Snapshot},
    witness::Witness,
};
use hopsight_tests::{
    agent::sibling,
    http,
    loopback::Loopback,
    monitoring::{self, Config, Prometheus},
    process::Daemon,
    requirement,
    wait::wait_until,
};
use hopsight_tools::made_up;
use serde_json::Value;

const AGENTS: u16 = 4;
const HOPS: u64 = 30;
const WAIT: Duration = Duration::from_mins(1);

/// An agent without kernel, which serves until it is dropped.
struct MadeUp {
    exporter: Exporter,
    _runtime: tokio::runtime::Runtime,
}

impl MadeUp {
    fn start(number: u16, address: SocketAddr) -> anyhow::Result<Self> {
        let node = Some(format!("node-{number}").into());
        let witness = Witness { node, ..Witness::default() };
        let exporter = Exporter::with_events(HopLimits::default(), Events::of(witness));
        exporter.health().set("kernel_programs", ComponentState::Ready, "made-up connections");
        for connection in 0..HOPS * 4 {
            let (ends, report) = workload(connection % HOPS, connection, number);
            let now = hopsight_system::clock::now();
            exporter.record_between(&ends, &report, Evaluation::default(), now);
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = server::bind(address)?;
        let served = server::serve(
            listener,
            exporter.clone(),
            HttpLimits::default(),
            Hosts::default(),
            std::future::pending(),
        );
        runtime.spawn(served);
        Ok(Self { exporter, _runtime: runtime })
    }
}

/// The same workloads on every node; on one node a hop that is mutual elsewhere is in the clear.
fn workload(hop: u64, connection: u64, agent: u16) -> (Ends, ConnectionReport) {
    let mut report = made_up::connection(hop, connection);
    if hop == 0 && agent == 1 {
        report.verdict.security = Security::Plaintext;
    }
    let mut ends = Ends::of(&report);
    if hop % 10 != 9 {
        ends.proxy = format!("shop/{}", ends.proxy).into();
    }
    (ends, report)
}

/// What the agents say of every hop, merged by hand: the worst, and connections in all.
fn truth(
    agents: &[MadeUp],
    instances: &[SocketAddr],
) -> BTreeMap<(String, String), (Security, u64)> {
    let order = [Security::Mtls, Security::Unknown, Security::Tls, Security::Plaintext];
    let rank = |word| order.iter().position(|one| *one == word).unwrap_or_default();
    let mut all: BTreeMap<(String, String), (Security, u64)> = BTreeMap::new();
    for (agent, instance) in agents.iter().zip(instances) {
        for hop in agent.exporter.hops().hops {
            let alone =
                if hop.proxy.contains('/') { String::new() } else { format!(" on {instance}") };
            let key = (format!("{}{alone}", hop.proxy), hop.upstream.to_string());
            let said = all.entry(key).or_insert((Security::Mtls, 0));
            if rank(hop.state.security) > rank(said.0) {
                said.0 = hop.state.security;
            }
            said.1 += hop.counts.count_of(|_| true);
        }
    }
    all
}

fn drawn(hops: &Snapshot) -> BTreeMap<(String, String), (Security, u64)> {
    let one = |hop: &Hop| {
        let key = (hop.proxy.to_string(), hop.upstream.to_string());
        (key, (hop.state.security, hop.counts.count_of(|_| true)))
    };
    hops.hops.iter().map(|hop| one(hop)).collect()
}

#[test]
fn the_map_says_what_the_agents_say_and_who_is_away() -> anyhow::Result<()> {
    let test = "the_map_says_what_the_agents_say_and_who_is_away";
    if !requirement::met(test, &monitoring::PROGRAMS[..1]) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let block = Loopback::reserve()?;
    let instances: Vec<_> = (0..AGENTS).map(|number| block.socket(2, 9464 + number)).collect();
    let mut agents: Vec<_> = (0..AGENTS)
        .zip(&instances)
        .map(|(number, address)| MadeUp::start(number, *address))
        .collect::<anyhow::Result<_>>()?;
    let config = Config {
        interval: Duration::from_secs(1),
        scrapes: Config::agents(&instances),
        rules: monitoring::hastened_rules(dir.path())?,
        alertmanager: None,
    };
    let address = block.socket(3, 9090);
    let mut prometheus = Prometheus::start(&dir.path().join("prometheus"), address, &config)?;
    let list = dir.path().join("agents");
    let names: Vec<_> = instances.iter().map(ToString::to_string).collect();
    fs::write(&list, format!("{}\n10.255.255.1:9464 # not scraped\n", names.join("\n")))?;
    let at = block.socket(4, 9465);
    let args = ["fleet".to_owned(), "--prometheus".to_owned(), format!("http://{address}")];
    let more =
        ["--http".to_owned(), at.to_string(), "--agents".to_owned(), list.display().to_string()];
    let program = sibling("hopsight-agent")?;
    let log = dir.path().join("fleet.log");
    let mut fleet = Daemon::spawn(program, args.into_iter().chain(more), &log)?;
    fleet.wait_listening(at)?;

    let wanted = truth(&agents, &instances);
    let hops = || -> anyhow::Result<Option<Snapshot>> {
        let answer = http::get(at, "/hops")?;
        Ok(if answer.status == 200 { Some(serde_json::from_str(&answer.body)?) } else { None })
    };
    let drawn_hops = || Ok(hops()?.filter(|hops| drawn(hops) == wanted));
    let map = wait_until("every hop as the agents say it", WAIT, drawn_hops)?;
    let edge = map.hops.iter().find(|hop| {
        hop.state.security == Security::Plaintext
            && hop.fleet.as_ref().is_some_and(|fleet| fleet.nodes.len() > 1)
    });
    let edge = edge.context("no hop on which nodes disagree")?;

    let path = format!(
        "/hop?proxy={}&upstream={}",
        edge.proxy.replace('/', "%2F"),
        edge.upstream.replace(':', "%3A")
    );
    let detail: Value = serde_json::from_str(&http::get(at, &path)?.body)?;
    let said = detail["hops"].as_array().context("no hops")?;
    assert_eq!(said.len(), usize::from(AGENTS), "{detail}");
    assert_eq!(
        (&said[0]["node"], &said[0]["hop"]["security"]),
        (&"node-1".into(), &"plaintext".into())
    );
    assert_eq!(said[1]["hop"]["security"], "mtls");

    let ready = |words: &'static str| {
        let path = "/readyz";
        wait_until(words, WAIT, || {
            let answer = http::get(at, path)?;
            Ok((answer.status == 503 && answer.body.contains(words)).then_some(()))
        })
    };
    ready("1 have to be there and are not scraped: 10.255.255.1:9464")?;
    // Half of the agents go away.
    agents.truncate(2);
    ready("2 do not answer")?;
    let detail: Value = serde_json::from_str(&http::get(at, &path)?.body)?;
    // Their series have ended: nobody sees it there any more.
    assert_eq!(detail["hops"].as_array().map(Vec::len), Some(2), "{detail}");
    prometheus.daemon.terminate()?;
    ready("ask Prometheus")?;
    Ok(())
}

//! `cargo xtask bench fleet`: what a real Prometheus bears that scrapes many agents.
//!
//! The agents are made up (the tool `fleet`: real exporter code, made-up hops, the rest of the
//! series copied from a real agent); Prometheus, the rules and their evaluation are real.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{
    agent::{Agent, sibling},
    http, interrupt,
    loopback::Loopback,
    monitoring::{self, Config, Prometheus},
    nginx::utf8,
    process::Daemon,
    requirement,
};

/// Pause between scrapes and between evaluations, in seconds.
const INTERVAL: u64 = 15;
/// Scrapes before anything is read.
const SCRAPES: u64 = 6;
/// Series that a global Prometheus takes over from one of many.
const FEDERATED: &str = r#"{__name__=~"cluster_.+"}"#;

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [hops, fleets @ ..] = args.as_slice() else {
        anyhow::bail!("arguments: HOPS AGENTS...");
    };
    interrupt::install()?;
    anyhow::ensure!(requirement::met("fleet", &monitoring::PROGRAMS[..1]), "nothing is measured");
    let dir = tempfile::Builder::new().prefix("hopsight-").tempdir()?;
    let block = Loopback::reserve()?;
    let real = dir.path().join("agent.prom");
    {
        let agent =
            Agent::start(&dir.path().join("agent"), block.socket(2, 9464), &["--proxy", "none"])?;
        fs::write(&real, agent.get("/metrics")?.body).context("write agent.prom")?;
    }
    println!("{hops} hops per agent, a scrape and an evaluation every {INTERVAL} s");
    println!(
        "agents | series per agent | head series | samples/s | RSS MiB | KiB/series | CPU | scrape ms (mean, max) | rules s (recording, alerts) | federated series"
    );
    println!("---|---|---|---|---|---|---|---|---|---");
    for (number, agents) in (0_u16..).zip(fleets) {
        let address = block.socket(3, 9090 + number);
        measure(&dir.path().join(agents), agents.parse()?, hops, &real, block, address)?;
    }
    Ok(())
}

fn measure(
    dir: &Path,
    agents: usize,
    hops: &str,
    real: &Path,
    block: Loopback,
    address: std::net::SocketAddr,
) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let at = block.socket(4, address.port());
    let args = [agents.to_string(), hops.to_owned(), at.to_string(), utf8(real)?.to_owned()];
    let mut fleet = Daemon::spawn(sibling("fleet")?, args, &dir.join("fleet.log"))?;
    fleet.wait_listening(at)?;
    let targets = (0..agents).map(|agent| {
        format!(
            "      - {{targets: ['{at}'], labels: {{__metrics_path__: /{agent}/metrics, \
             instance: node-{agent}, cluster: c{}}}}}\n",
            agent % 5
        )
    });
    let scrapes = format!(
        "  - job_name: prometheus\n    static_configs: [{{targets: ['{address}']}}]\n  \
         - job_name: hopsight\n    static_configs:\n{}",
        targets.collect::<String>()
    );
    let config = Config {
        interval: Duration::from_secs(INTERVAL),
        scrapes,
        rules: monitoring::rules(),
        alertmanager: None,
    };
    let prometheus = Prometheus::start(&dir.join("prometheus"), address, &config)?;
    interrupt::sleep(Duration::from_secs(INTERVAL * SCRAPES));
    interrupt::check()?;
    let value = |promql: &str| prometheus.value(promql);
    let up = value(r#"sum(up{job="hopsight"})"#)?;
    anyhow::ensure!(up > 0.0, "no agent was scraped");
    let series = value("prometheus_tsdb_head_series")?;
    let memory = value(r#"process_resident_memory_bytes{job="prometheus"}"#)?;
    let rules = |group: &str| {
        value(&format!(
            r#"max(prometheus_rule_group_last_duration_seconds{{rule_group=~".*;hopsight.{group}"}})"#
        ))
    };
    println!(
        "{agents} ({up} up) | {:.0} | {series:.0} | {:.0} | {:.0} | {:.1} | {:.2} | {:.0}, {:.0} | {:.2}, {:.2} | {}",
        value(r#"avg(scrape_samples_scraped{job="hopsight"})"#)?,
        value("sum(rate(prometheus_tsdb_head_samples_appended_total[1m]))")?,
        memory / 1_048_576.0,
        memory / 1024.0 / series,
        value(r#"rate(process_cpu_seconds_total{job="prometheus"}[1m])"#)?,
        1000.0 * value(r#"avg(scrape_duration_seconds{job="hopsight"})"#)?,
        1000.0 * value(r#"max(scrape_duration_seconds{job="hopsight"})"#)?,
        rules("recording")?,
        rules("hops")?,
        prometheus.query(FEDERATED)?.len(),
    );
    let federate = http::get(address, "/federate?match[]={__name__=~%22cluster_.%2B%22}")?;
    println!("(/federate: {} bytes)", federate.body.len());
    Ok(())
}

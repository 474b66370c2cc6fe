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
    monitoring::{self, Config, Labels, Prometheus},
    nginx::utf8,
    process::Daemon,
    requirement,
};

/// Pause between scrapes and between evaluations, in seconds.
const INTERVAL: u64 = 15;
/// Scrapes before anything is read.
const SCRAPES: u64 = 6;
/// How long the last evaluation of a group of rules took.
const LAST_DURATION: &str = "prometheus_rule_group_last_duration_seconds";
/// Series that a global Prometheus takes over from one of many.
const FEDERATED: &str = r#"{__name__=~"cluster_.+"}"#;

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [hops, bad, minutes, fleets @ ..] = args.as_slice() else {
        anyhow::bail!("arguments: HOPS BAD MINUTES AGENTS...");
    };
    let (bad, minutes): (usize, u64) = (bad.parse()?, minutes.parse()?);
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
    if bad > 0 {
        println!("on {bad} nodes one Deployment speaks plaintext against policy");
    }
    println!(
        "agents | series per agent | head series | samples/s | RSS MiB | KiB/series | CPU | scrape ms (mean, max) | rules s (recording, hops, agents) | federated series"
    );
    println!("---|---|---|---|---|---|---|---|---|---");
    for (number, agents) in (0_u16..).zip(fleets) {
        let address = block.socket(3, 9090 + number);
        let fleet = Fleet { agents: agents.parse()?, bad, hops, real: &real };
        let lasts = Duration::from_secs(INTERVAL * SCRAPES).max(Duration::from_mins(minutes));
        let (prometheus, _agents) =
            measure(&dir.path().join(agents), &fleet, lasts, (block, address))?;
        if bad > 0 {
            fleet.check_alerts(&prometheus)?;
        }
    }
    Ok(())
}

/// What is made up.
struct Fleet<'f> {
    agents: usize,
    /// Nodes on which a Deployment is the wrong one.
    bad: usize,
    /// Hops of each agent.
    hops: &'f str,
    /// Exposition of a real agent.
    real: &'f Path,
}

impl Fleet<'_> {
    /// One alert that counts the nodes, whatever their number, and rules that keep up.
    fn check_alerts(&self, prometheus: &Prometheus) -> anyhow::Result<()> {
        let firing: Vec<_> =
            prometheus.alerts()?.into_iter().filter(|alert| alert.is_firing).collect();
        for alert in &firing {
            println!("firing: {} = {}", label_list(&alert.labels), alert.value);
        }
        let [alert] = firing.as_slice() else {
            anyhow::bail!("{} alerts fire, one was caused", firing.len());
        };
        for (name, wanted) in [
            ("alertname", "PlaintextUpstreamHop"),
            ("proxy_namespace", "shop"),
            ("proxy_workload", "checkout"),
        ] {
            let has = alert.labels.get(name).map(String::as_str);
            anyhow::ensure!(has == Some(wanted), "the alert has {name} {has:?}, not {wanted}");
        }
        let nodes: f64 = alert.value.parse().context("read the alert's value")?;
        let bad = self.bad.min(self.agents);
        #[expect(clippy::cast_precision_loss, reason = "thousands of nodes")]
        let is_right = (nodes - bad as f64).abs() < 0.5;
        anyhow::ensure!(is_right, "the alert counts {nodes} nodes, and {bad} are bad");
        let slow = prometheus.query(&format!("{LAST_DURATION} > {INTERVAL}"))?;
        anyhow::ensure!(slow.is_empty(), "rules take longer than their interval: {slow:?}");
        Ok(())
    }
}

fn label_list(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

fn measure(
    dir: &Path,
    &Fleet { agents, bad, hops, real }: &Fleet<'_>,
    lasts: Duration,
    (block, address): (Loopback, std::net::SocketAddr),
) -> anyhow::Result<(Prometheus, Daemon)> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let at = block.socket(4, address.port());
    let args = [agents, bad].map(|count| count.to_string());
    let args = args.into_iter().chain([hops.to_owned(), at.to_string(), utf8(real)?.to_owned()]);
    let mut fleet = Daemon::spawn(sibling("fleet")?, args, &dir.join("fleet.log"))?;
    fleet.wait_listening(at)?;
    // One wrong Deployment is in one cluster.
    let clusters = if bad > 0 { 1 } else { 5 };
    let targets = (0..agents).map(|agent| {
        format!(
            "      - {{targets: ['{at}'], labels: {{__metrics_path__: /{agent}/metrics, \
             instance: node-{agent}, cluster: c{}}}}}\n",
            agent % clusters
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
    interrupt::sleep(lasts);
    interrupt::check()?;
    let value = |promql: &str| prometheus.value(promql);
    let up = value(r#"sum(up{job="hopsight"})"#)?;
    anyhow::ensure!(up > 0.0, "no agent was scraped");
    let series = value("prometheus_tsdb_head_series")?;
    let memory = value(r#"process_resident_memory_bytes{job="prometheus"}"#)?;
    let rules = |group: &str| {
        value(&format!(r#"max({LAST_DURATION}{{rule_group=~".*;hopsight.{group}"}})"#))
    };
    println!(
        "{agents} ({up} up) | {:.0} | {series:.0} | {:.0} | {:.0} | {:.1} | {:.2} | {:.0}, {:.0} | {:.2}, {:.2}, {:.2} | {}",
        value(r#"avg(scrape_samples_scraped{job="hopsight"})"#)?,
        value("sum(rate(prometheus_tsdb_head_samples_appended_total[1m]))")?,
        memory / 1_048_576.0,
        memory / 1024.0 / series,
        value(r#"rate(process_cpu_seconds_total{job="prometheus"}[1m])"#)?,
        1000.0 * value(r#"avg(scrape_duration_seconds{job="hopsight"})"#)?,
        1000.0 * value(r#"max(scrape_duration_seconds{job="hopsight"})"#)?,
        rules("recording")?,
        rules("hops")?,
        rules("agents")?,
        prometheus.query(FEDERATED)?.len(),
    );
    let federate = http::get(address, "/federate?match[]={__name__=~%22cluster_.%2B%22}")?;
    println!("(/federate: {} bytes)", federate.body.len());
    for (rule, seconds) in prometheus.rule_times()?.into_iter().take(5) {
        println!("({rule}: {seconds:.2} s)");
    }
    Ok((prometheus, fleet))
}

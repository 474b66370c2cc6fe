//! What a real Prometheus makes of a scrape.

use std::time::Duration;

use anyhow::Context as _;
use hopsight_tests::{
    agent::MadeUp,
    http,
    loopback::free_socket,
    monitoring::{Config, PROGRAMS, Prometheus},
    requirement,
    wait::wait_until,
};

const CONNECTIONS: &str = "hopsight_upstream_connections_total{";
const SCRAPED: Duration = Duration::from_secs(30);

/// Prometheus asks for OpenMetrics, of which its parser is strict: one wrong line, and nothing is taken.
#[test]
fn openmetrics_is_what_prometheus_reads() -> anyhow::Result<()> {
    if !requirement::met("openmetrics_is_what_prometheus_reads", &PROGRAMS[..1]) {
        return Ok(());
    }
    let dir = tempfile::tempdir().context("make a directory")?;
    let agent = MadeUp::start(dir.path(), 100)?;
    let config = Config {
        interval: Duration::from_secs(1),
        scrapes: Config::agents(&[agent.http]),
        rules: Vec::new(),
        alertmanager: None,
    };
    let prometheus = Prometheus::start(&dir.path().join("prometheus"), free_socket()?, &config)?;
    wait_until("a scrape", SCRAPED, || {
        Ok((prometheus.value("up").ok() == Some(1.0)).then_some(()))
    })?;
    for (name, kind) in [
        // Without `_total`: in Prometheus' own format the family has the name of its samples.
        ("hopsight_upstream_connections", Some("counter")),
        ("hopsight_upstream_connections_total", None),
        ("hopsight_hop_security", Some("gauge")),
        ("hopsight_verdict_latency_seconds", Some("histogram")),
    ] {
        assert_eq!(prometheus.family(name)?.as_deref(), kind, "{name}");
    }
    // As many samples as in Prometheus' own format, and the same. (They grow meanwhile.)
    let shown = || -> anyhow::Result<[f64; 2]> {
        let text = http::get(agent.http, "/metrics")?.body;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        let of_hops = samples.clone().filter(|line| line.starts_with(CONNECTIONS));
        Ok([f64::from(u32::try_from(samples.count())?), of_hops.filter_map(value).sum()])
    };
    let before = shown()?;
    let queries = ["scrape_samples_scraped", "sum(hopsight_upstream_connections_total)"];
    for (index, query) in queries.into_iter().enumerate() {
        let scraped = wait_until(query, SCRAPED, || {
            Ok(Some(prometheus.value(query)?).filter(|value| *value >= before[index]))
        })?;
        assert!(scraped <= shown()?[index], "{query}: {scraped} of {:?}", shown()?);
    }
    Ok(())
}

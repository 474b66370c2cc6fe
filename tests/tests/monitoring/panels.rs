//! Every query of every dashboard, asked of a real Prometheus that scrapes a real agent.

use std::{fmt, fs, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{
    agent::Agent,
    case,
    monitoring::{self, Config, Prometheus},
    nginx::utf8,
    requirement,
    topology::{Network, Topology},
    wait::wait_until,
};
use serde_json::Value;

/// How long it may take until every query has data.
const DATA: Duration = Duration::from_mins(2);

/// One of each: clear, one-way and mutual TLS, resumed, refused with an alert, failed, unknown.
const CASES: &[&str] = &[
    "http",
    "tls12",
    "tls12-verified",
    "tls12-reuse",
    "tls12-no-cert",
    "tls12-haproxy-wrong-root",
    "mtls12",
    "mtls13",
];

/// Recording rules that record nothing where certificates are renewed in time; promtool's tests show
/// that they do where they are not.
const ONLY_WHERE_SOMETHING_IS_WRONG: &[&str] =
    &["hop_side:hopsight_certificate_due:seconds", "hop_side:hopsight_certificate_overdue:seconds"];

/// A query of a dashboard or rule file.
struct Query {
    /// Whose it is.
    place: String,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    /// The PromQL of a panel, or the name of a recording rule.
    Series(String),
    /// `label_values(selector, label)` of a variable.
    Values { selector: String, label: String },
}

impl Query {
    fn has_data(&self, prometheus: &Prometheus) -> anyhow::Result<bool> {
        match &self.ask {
            Ask::Series(promql) => prometheus.query(promql).map(|series| !series.is_empty()),
            Ask::Values { selector, label } => {
                prometheus.label_values(selector, label).map(|values| !values.is_empty())
            }
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.place, self.ask)
    }
}

/// What Grafana puts in the place of the variables with "All" chosen, at this scrape interval.
fn fill_in(query: &str) -> String {
    let filled = query.replace("$__rate_interval", "20s");
    ["cluster", "namespace"]
        .into_iter()
        .fold(filled, |query, name| query.replace(&format!("\"${name}\""), "\".*\""))
        .split('"')
        .map(|part| if part.starts_with('$') { ".+" } else { part })
        .collect::<Vec<_>>()
        .join("\"")
}

fn queries() -> anyhow::Result<Vec<Query>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(monitoring::dashboards())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for variable in list(&dashboard["templating"]["list"]) {
            let Some(definition) = variable["definition"].as_str() else { continue };
            let inner = definition.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
            let inner = inner.with_context(|| format!("no label_values: {definition}"))?;
            let (selector, label) =
                inner.rsplit_once(", ").context("label_values without label")?;
            all.push(Query {
                place: format!("{}, variable {}", dashboard["uid"], variable["name"]),
                ask: Ask::Values { selector: fill_in(selector), label: label.to_owned() },
            });
        }
        for panel in list(&dashboard["panels"]) {
            for target in list(&panel["targets"]) {
                let promql = target["expr"].as_str().context("a target without expr")?;
                all.push(Query {
                    place: format!("{}, panel {}", dashboard["uid"], panel["title"]),
                    ask: Ask::Series(fill_in(promql)),
                });
            }
        }
    }
    let recording = fs::read_to_string(monitoring::dashboards().join("recording.yaml"))?;
    let names = recording.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    let always = names.filter(|name| !ONLY_WHERE_SOMETHING_IS_WRONG.contains(name));
    all.extend(always.map(|name| Query {
        place: "recording.yaml".to_owned(),
        ask: Ask::Series(name.to_owned()),
    }));
    Ok(all)
}

#[test]
fn every_query_has_data() {
    let mut programs = vec!["nginx", "haproxy"];
    programs.extend(monitoring::PROGRAMS);
    if !requirement::met("every_query_has_data", &programs) {
        return;
    }
    let cases = case::named(CASES);
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let dir = topology.dir();
    let policy = dir.join("policy.toml");
    let mutual = "[[policies]]\nname = \"mutual\"\nmatch.cidr = [\"127.0.0.0/8\"]\nrequire = \"mtls\"\n\
         [[exempt]]\nmatch.port = 8080\nrules = [\"plaintext\"]\nowner = \"tests\"\n\
         reason = \"one hop is to be exempt\"\nuntil = 9000-01-01\n";
    fs::write(&policy, mutual).unwrap();
    let config = dir.join("hopsight.toml");
    fs::write(&config, "[capture]\nprogram_statistics = true\n").unwrap();
    let mut options = vec!["--policy", utf8(&policy).unwrap(), "--config", utf8(&config).unwrap()];
    for name in case::process_names(&cases) {
        options.extend(["--proxy", name]);
    }
    let agent = Agent::watching(&topology, "agent", &options).unwrap();
    let config = Config {
        interval: Duration::from_secs(1),
        scrapes: Config::agents(&[agent.http]),
        rules: monitoring::rules(),
        alertmanager: None,
    };
    let address = topology.spare_port(9090);
    let prometheus = Prometheus::start(&dir.join("prometheus"), address, &config).unwrap();

    let all = queries().unwrap();
    let count = all.len();
    let mut missing = all;
    let result = wait_until("data for every query", DATA, || {
        for hop in &topology.hops {
            hop.request_once()?;
        }
        let mut still = Vec::new();
        for query in std::mem::take(&mut missing) {
            if !query.has_data(&prometheus).with_context(|| query.to_string())? {
                still.push(query);
            }
        }
        missing = still;
        Ok(missing.is_empty().then_some(()))
    });
    if let Err(error) = result {
        let text = agent.get("/metrics").unwrap().body;
        let missing: Vec<_> = missing.iter().map(Query::to_string).collect();
        panic!("{error:#}\n{text}\nwithout data:\n{}", missing.join("\n"));
    }
    println!("{count} queries, each with data");
}

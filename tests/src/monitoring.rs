//! Prometheus and Alertmanager beside the agent, and what they say over HTTP.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{http, nginx::utf8, process::Daemon, wait::wait_until};

/// The programs, as Debian names them.
pub const PROGRAMS: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// How long either may take to be ready.
const START: Duration = Duration::from_secs(30);

/// The directory of dashboards and rules.
#[must_use]
pub fn dashboards() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "dashboards"].iter().collect()
}

/// The shipped recording and alert rules.
#[must_use]
pub fn rules() -> Vec<PathBuf> {
    ["recording.yaml", "alerts.yaml"].map(|name| dashboards().join(name)).into()
}

/// The shipped rules, evaluated every second, each `for:` cut to a second so that nobody waits for
/// minutes, as files in `dir`. Expressions, labels and annotations stay as they are.
///
/// # Errors
/// When a file cannot be read or written.
pub fn hastened_rules(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let hasten = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s\n"),
        _ if line.trim_start().starts_with("interval:") => String::new(),
        _ if line.trim_start().starts_with("- name:") => {
            let indent = line.len() - line.trim_start().len();
            format!("{line}\n{}interval: 1s\n", " ".repeat(indent + 2))
        }
        _ => format!("{line}\n"),
    };
    let copy = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let hastened = dir.join(path.file_name().context("name a file of rules")?);
        fs::write(&hastened, text.lines().map(hasten).collect::<String>())
            .with_context(|| format!("write {}", hastened.display()))?;
        Ok(hastened)
    };
    rules().into_iter().map(copy).collect()
}

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    /// The process.
    pub daemon: Daemon,
    /// Where it serves HTTP.
    pub address: SocketAddr,
}

impl Alertmanager {
    /// Starts it with its files in `dir`; it tells `webhook`, if given, of every change at once.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(dir: &Path, address: SocketAddr, webhook: Option<&str>) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let config = dir.join("alertmanager.yml");
        let hook = webhook.map_or(String::new(), |url| {
            format!("    webhook_configs:\n      - url: {url}\n        send_resolved: true\n")
        });
        let text = format!(
            "route:\n  receiver: all\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1s\n  \
             repeat_interval: 1h\nreceivers:\n  - name: all\n{hook}"
        );
        fs::write(&config, text).context("write alertmanager.yml")?;
        let args = [
            format!("--config.file={}", utf8(&config)?),
            format!("--storage.path={}", utf8(&dir.join("data"))?),
            format!("--web.listen-address={address}"),
            // One alone: no gossip on a port of every interface.
            "--cluster.listen-address=".to_owned(),
        ];
        let daemon = Daemon::spawn(PROGRAMS[1], args, &dir.join("alertmanager.log"))?;
        let mut alertmanager = Self { daemon, address };
        wait_ready(&mut alertmanager.daemon, address)?;
        Ok(alertmanager)
    }

    /// The labels of the alerts it has.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self) -> anyhow::Result<Vec<Labels>> {
        let alerts = get_json(self.address, "/api/v2/alerts")?;
        Ok(array(&alerts).iter().map(|alert| labels(&alert["labels"])).collect())
    }
}

/// What a Prometheus does.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pause between scrapes, and between evaluations of rules.
    pub interval: Duration,
    /// `scrape_configs`, as a YAML list.
    pub scrapes: String,
    /// Rule files.
    pub rules: Vec<PathBuf>,
    /// Where alerts go.
    pub alertmanager: Option<SocketAddr>,
}

impl Config {
    /// A scrape of these agents as a cluster's DaemonSet would be scraped.
    #[must_use]
    pub fn agents(agents: &[SocketAddr]) -> String {
        let targets: Vec<String> = agents.iter().map(|agent| format!("'{agent}'")).collect();
        format!(
            "  - job_name: hopsight\n    static_configs:\n      - targets: [{}]\n        \
             labels: {{cluster: demo, namespace: hopsight}}\n",
            targets.join(", ")
        )
    }

    fn render(&self) -> anyhow::Result<String> {
        let every = format!("{}ms", self.interval.as_millis());
        let mut text = format!(
            "global:\n  scrape_interval: {every}\n  scrape_timeout: {every}\n  \
             evaluation_interval: {every}\nrule_files:\n"
        );
        for rules in &self.rules {
            writeln!(text, "  - {}", utf8(rules)?)?;
        }
        if let Some(address) = self.alertmanager {
            writeln!(
                text,
                "alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['{address}']"
            )?;
        }
        text += "scrape_configs:\n";
        text += &self.scrapes;
        Ok(text)
    }
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// The process.
    pub daemon: Daemon,
    /// Where it serves HTTP.
    pub address: SocketAddr,
}

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// A series and its value now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The series.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// An alert that is pending or firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Whether it is past its `for`.
    pub is_firing: bool,
    /// The value of its expression, as Prometheus writes it.
    pub value: String,
}

impl Prometheus {
    /// Starts it with its files in `dir`.
    ///
    /// # Errors
    /// When it does not become ready, for instance because a rule is wrong.
    pub fn start(dir: &Path, address: SocketAddr, config: &Config) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = dir.join("prometheus.yml");
        fs::write(&path, config.render()?).context("write prometheus.yml")?;
        let args = [
            format!("--config.file={}", utf8(&path)?),
            format!("--storage.tsdb.path={}", utf8(&dir.join("data"))?),
            format!("--web.listen-address={address}"),
        ];
        let daemon = Daemon::spawn(PROGRAMS[0], args, &dir.join("prometheus.log"))?;
        let mut prometheus = Self { daemon, address };
        wait_ready(&mut prometheus.daemon, address)?;
        Ok(prometheus)
    }

    /// The series of an instant query.
    ///
    /// # Errors
    /// When Prometheus refuses the query.
    pub fn query(&self, promql: &str) -> anyhow::Result<Vec<Sample>> {
        let path = format!("/api/v1/query?query={}", percent_encode(promql));
        let data = self.get(&path).with_context(|| format!("query {promql}"))?;
        let sample = |series: &Value| {
            let value = series["value"][1].as_str().context("a sample without value")?;
            let value = value.parse().with_context(|| format!("read the value {value}"))?;
            Ok(Sample { labels: labels(&series["metric"]), value })
        };
        match data["resultType"].as_str() {
            Some("vector") => array(&data["result"]).iter().map(sample).collect(),
            other => anyhow::bail!("{promql} gives {other:?} instead of a vector"),
        }
    }

    /// The only value of a query, such as that of a sum.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn value(&self, promql: &str) -> anyhow::Result<f64> {
        match self.query(promql)?.as_slice() {
            [sample] => Ok(sample.value),
            samples => anyhow::bail!("{promql} has {} values instead of one", samples.len()),
        }
    }

    /// The values of a label among the series that a selector matches.
    ///
    /// # Errors
    /// When Prometheus refuses the selector.
    pub fn label_values(&self, selector: &str, label: &str) -> anyhow::Result<Vec<String>> {
        let matched = percent_encode(selector);
        let data = self.get(&format!("/api/v1/label/{label}/values?match[]={matched}"))?;
        Ok(array(&data).iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// The alerts that are pending or firing.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let data = self.get("/api/v1/alerts")?;
        let alert = |alert: &Value| Alert {
            labels: labels(&alert["labels"]),
            is_firing: alert["state"] == "firing",
            value: alert["value"].as_str().unwrap_or_default().to_owned(),
        };
        Ok(array(&data["alerts"]).iter().map(alert).collect())
    }

    /// The names of the rules with the seconds that their last evaluation took, slowest first.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn rule_times(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let data = self.get("/api/v1/rules")?;
        let rules = array(&data["groups"]).iter().flat_map(|group| array(&group["rules"]));
        let time = |rule: &Value| {
            let name = rule["name"].as_str()?.to_owned();
            Some((name, rule["evaluationTime"].as_f64()?))
        };
        let mut times: Vec<_> = rules.filter_map(time).collect();
        times.sort_by(|one, other| other.1.total_cmp(&one.1));
        Ok(times)
    }

    /// The type of a family, as its scrapes have said it; families are named otherwise in OpenMetrics
    /// than in Prometheus' own format.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn family(&self, name: &str) -> anyhow::Result<Option<String>> {
        let data = self.get(&format!("/api/v1/metadata?metric={name}"))?;
        Ok(data[name][0]["type"].as_str().map(str::to_owned))
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut answer = get_json(self.address, path)?;
        anyhow::ensure!(answer["status"] == "success", "Prometheus: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

/// Both answer 503 here until they have read what they need.
fn wait_ready(daemon: &mut Daemon, address: SocketAddr) -> anyhow::Result<()> {
    wait_until(&format!("{address} to be ready"), START, || {
        daemon.ensure_running()?;
        Ok(http::get(address, "/-/ready").ok().filter(|response| response.status == 200))
    })
    .map(drop)
}

fn get_json(address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let body = http::get(address, path)?.body;
    serde_json::from_str(&body).with_context(|| format!("read the answer {body:?} to {path}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn labels(object: &Value) -> Labels {
    let pairs = object.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

//! A node on which nothing is wrong and little happens, and what its alerts make of that.

use std::{collections::BTreeMap, fmt::Write as _, thread, time::Duration};

use anyhow::Context as _;

use super::{
    run::ask,
    site::{Answers, Hop, Site},
    stacks::{self, Stack},
};
use crate::{agent::Agent, cgroup::Cgroup, loopback::Loopback, process::Daemon};

/// Requests through each hop of Caddy in a burst.
const BURST: usize = 24;
/// Between two bursts: as long as haproxy waits between two checks, so that there is one of each hop.
const PACE: Duration = Duration::from_secs(1);
/// What alerts on coverage and failures look at.
const FAMILIES: [&str; 4] = [
    "hopsight_upstream_connections_total",
    "hopsight_upstream_unknown_total",
    "hopsight_upstream_handshake_failures_total",
    "hopsight_unused_connections_total",
];

/// haproxy that checks idle upstreams, and a Caddy under bursts, with an agent that was there first.
#[derive(Debug)]
pub struct HealthyNode {
    /// The agent.
    pub agent: Agent,
    caddy: (Daemon, Vec<Hop>),
    _haproxy: Daemon,
    sites: [Site; 2],
    _cgroup: Cgroup,
    _dir: tempfile::TempDir,
}

impl HealthyNode {
    /// Starts everything; the upstreams speak these versions of TLS, in nginx's words.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(versions: &'static str) -> anyhow::Result<Self> {
        let find = |proxy: &str| -> anyhow::Result<&'static Stack> {
            let found = stacks::ALL.iter().find(|stack| stack.proxy == proxy);
            found.with_context(|| format!("find {proxy} among the proxies"))
        };
        let cgroup = Cgroup::create()?;
        let dir = tempfile::tempdir().context("create a temporary directory")?;
        let options = ["--proxy", "haproxy", "--proxy", "caddy"];
        let options = [&options[..], &cgroup.options()?].concat();
        let address = Loopback::reserve()?.socket(2, 9464);
        let agent = Agent::start(dir.path(), address, &options)?;
        // With connections that are kept a request may be served by another than it asked for.
        let answers = Answers { keep_alive: true, versions, ..Answers::default() };
        let site = |name: &str| Site::start_in(cgroup.child(name)?, answers);
        let sites = [site("haproxy")?, site("caddy")?];
        let start = |stack: &Stack, site: &Site| -> anyhow::Result<(Daemon, Vec<Hop>)> {
            let hops = site.hops_of(stack.kinds);
            Ok(((stack.start)(site, &hops)?, hops))
        };
        let (haproxy, _) = start(find("haproxy")?, &sites[0])?;
        let caddy = start(find("caddy")?, &sites[1])?;
        Ok(Self { agent, caddy, _haproxy: haproxy, sites, _cgroup: cgroup, _dir: dir })
    }

    /// Sends a burst of requests through Caddy.
    ///
    /// # Errors
    /// When one is not answered.
    pub fn burst(&mut self) -> anyhow::Result<()> {
        let (caddy, hops) = &mut self.caddy;
        ask(hops, BURST, caddy)
    }

    /// What the alerts look at after each of so many bursts: series with a value each.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn record(&mut self, bursts: usize) -> anyhow::Result<Vec<BTreeMap<String, u64>>> {
        let mut all = Vec::new();
        for _ in 0..bursts {
            self.burst()?;
            thread::sleep(PACE);
            let text = self.agent.get("/metrics")?.body;
            let series = text.lines().filter(|line| {
                FAMILIES.iter().any(|family| line.starts_with(family) && !line.starts_with('#'))
            });
            let parse = |line: &str| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((self.readable(name), value.parse().ok()?))
            };
            all.push(series.filter_map(parse).collect());
        }
        Ok(all)
    }

    /// A series with the names of upstreams in place of their addresses, which differ each time.
    fn readable(&self, series: &str) -> String {
        let hops = self.sites.iter().flat_map(|site| &site.hops);
        let mut series =
            hops.fold(series.to_owned(), |text, hop| text.replace(&hop.dial.to_string(), hop.name));
        match series.find('{') {
            Some(at) => series.insert_str(at + 1, "instance=\"n1\","),
            None => series.push_str("{instance=\"n1\"}"),
        }
        series
    }
}

/// What was recorded, as a file for `promtool test rules` that expects no alert. Each burst stands for
/// a minute.
#[must_use]
pub fn as_rules_test(recorded: &[BTreeMap<String, u64>]) -> String {
    let mut text = String::from(
        "# What an agent counted beside haproxy that checks three idle upstreams and a Caddy under\n\
         # bursts, a minute for each burst. Written by `cargo xtask ordinary -- record`.\n\
         rule_files:\n  - ../recording.yaml\n  - ../alerts.yaml\nevaluation_interval: 1m\n\
         group_eval_order: [hopsight.recording, hopsight.hops, hopsight.agents]\n\ntests:\n  \
         - name: a healthy node is silent\n    interval: 1m\n    input_series:\n",
    );
    let mut names: Vec<&String> = recorded.iter().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    for name in names {
        let values = recorded.iter().map(|at| at.get(name).map_or("_".into(), u64::to_string));
        let values: Vec<String> = values.collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "      - series: '{name}'\n        values: {}", values.join(" "));
    }
    text += "    alert_rule_test:\n";
    for minute in (5..recorded.len()).step_by(5) {
        for alert in ["CoverageLow", "HandshakeFailuresHigh"] {
            let _ = writeln!(
                text,
                "      - eval_time: {minute}m\n        alertname: {alert}\n        exp_alerts: []"
            );
        }
    }
    text
}

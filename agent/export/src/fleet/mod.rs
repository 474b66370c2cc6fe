//! A whole fleet in one place: its hops from Prometheus' recording rules, details from the agents that
//! see a hop, asked when somebody opens it. Nothing is kept but the last answer, so that several of
//! these need nothing of each other.

pub mod agents;
pub mod drawn;
pub mod prometheus;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use self::{
    agents::{Agents, Detail},
    drawn::{Series, hops, rules},
    prometheus::{Prometheus, Sample},
};
use crate::{health::Health, time};
use anyhow::Context as _;
use hopsight_core::health::ComponentState;
use hopsight_posture::hops::{
    fleet_view::FleetView, hop::Hop, moment::unix_seconds, table::Snapshot, witness::Witness,
};

/// Pause between looks at Prometheus.
pub const LOOK: Duration = Duration::from_secs(15);
/// An answer older than this is not shown any more.
const STALE: Duration = Duration::from_mins(2);
/// Agents that are named where some are away.
const MOST_NAMED: usize = 5;
/// Whether each agent that is scraped answers.
const UP: &str = r#"up{job=~".*hopsight.*"}"#;
/// Agents by version.
const VERSIONS: &str = "count by (version) (hopsight_build_info)";
/// Parts of agents that do not work.
const FAILED: &str = r#"count by (component) (hopsight_component_state{state="failed"} == 1)"#;
/// Nodes with pods of known proxies and no agent, where kube-state-metrics tells of pods and the shipped
/// alerts are evaluated.
const UNWATCHED: &str =
    r#"count by (cluster, node) (ALERTS{alertname="AgentMissing", cause="not_scheduled"})"#;

/// A fleet.
#[derive(Debug)]
pub struct Fleet {
    prometheus: Prometheus,
    agents: Agents,
    witness: Witness,
    health: Health,
    view: RwLock<Option<View>>,
}

/// What was drawn last.
#[derive(Debug)]
struct View {
    at: SystemTime,
    snapshot: Arc<Snapshot>,
}

impl Fleet {
    /// The fleet that this Prometheus scrapes. Nothing is known of it until the first [look](Self::look).
    #[must_use]
    pub fn new(prometheus: Prometheus, agents: Agents, witness: Witness) -> Self {
        let health = Health::default();
        health.set("prometheus", ComponentState::Starting, "not asked yet");
        Self { prometheus, agents, witness, health, view: RwLock::default() }
    }

    /// How its parts are.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Asks Prometheus, and says in [`Fleet::health`] what came of it.
    pub fn look(&self) {
        let now = SystemTime::now();
        match self.drawn(now) {
            Ok(snapshot) => {
                let detail = format!("{} hops", snapshot.hops.len());
                let snapshot = Arc::new(snapshot);
                let view = Some(View { at: now, snapshot });
                *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
                self.health.set("prometheus", ComponentState::Ready, detail);
            }
            Err(error) => {
                self.health.set("prometheus", ComponentState::Failed, format!("{error:#}"));
            }
        }
        if let Err(error) = self.look_at_agents() {
            self.health.set("agents", ComponentState::Failed, format!("{error:#}"));
        }
    }

    fn drawn(&self, now: SystemTime) -> anyhow::Result<Snapshot> {
        let ask = |rule| self.prometheus.query(rule);
        let series = Series {
            security: ask(rules::SECURITY)?,
            verified: ask(rules::VERIFIED)?,
            connections: ask(rules::CONNECTIONS)?,
            violations: ask(rules::VIOLATIONS)?,
            open: ask(rules::OPEN)?,
            since: ask(rules::SINCE)?,
            last_seen: ask(rules::LAST_SEEN)?,
        };
        if series.security.is_empty() && !ask("hopsight_hop_security")?.is_empty() {
            anyhow::bail!(
                "it has hops and none of the series of {}: load dashboards/recording.yaml there",
                rules::SECURITY
            );
        }
        let at = unix_seconds(now);
        let hops = hops(&series, at);
        Ok(Snapshot {
            witness: Some(self.witness.clone()),
            time: Some(time::rfc3339(at).into()),
            at,
            max_hops: hops.len(),
            hops,
            ..Snapshot::default()
        })
    }

    /// Which agents are there, and which are not.
    fn look_at_agents(&self) -> anyhow::Result<()> {
        let up = self.prometheus.query(UP)?;
        let (there, away): (BTreeSet<&str>, BTreeSet<&str>) = (
            up.iter().filter(|one| one.value > 0.0).map(|one| one.label("instance")).collect(),
            up.iter().filter(|one| one.value <= 0.0).map(|one| one.label("instance")).collect(),
        );
        let expected = self.agents.expected();
        let unscraped = match &expected {
            Ok(expected) => expected
                .iter()
                .filter(|one| !there.contains(&***one) && !away.contains(&***one))
                .map(|one| &**one)
                .collect(),
            Err(_) => Vec::new(),
        };
        let mut complaints = Vec::new();
        for (what, names) in [
            ("do not answer", away.iter().copied().collect::<Vec<_>>()),
            ("have to be there and are not scraped", unscraped),
        ] {
            if !names.is_empty() {
                complaints.push(format!("{} {what}: {}", names.len(), some(&names)));
            }
        }
        if let Err(error) = &expected {
            complaints.push(format!("{error:#}"));
        }
        let unwatched = self.prometheus.query(UNWATCHED)?;
        if !unwatched.is_empty() {
            let nodes: Vec<_> = unwatched.iter().map(|one| one.label("node")).collect();
            complaints.push(format!(
                "{} nodes with proxies have no agent: {}",
                nodes.len(),
                some(&nodes)
            ));
        }
        for failed in self.prometheus.query(FAILED)? {
            let (component, count) = (failed.label("component"), failed.count());
            complaints.push(format!("{component} has failed on {count}"));
        }
        let detail = format!("{} of {} answer", there.len(), there.len() + away.len());
        let (state, detail) = match (complaints.is_empty(), there.is_empty()) {
            (_, true) => {
                (ComponentState::Failed, format!("none answers; {}", complaints.join("; ")))
            }
            (true, false) => (ComponentState::Ready, detail),
            (false, false) => {
                (ComponentState::Failed, format!("{detail}; {}", complaints.join("; ")))
            }
        };
        self.health.set("agents", state, detail);
        self.health.set(
            "versions",
            ComponentState::Ready,
            versions(&self.prometheus.query(VERSIONS)?),
        );
        Ok(())
    }

    /// What was drawn last, unless that is too long ago.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let view = view.as_ref()?;
        // An age that is not known is too old.
        let age = view.at.elapsed().unwrap_or(Duration::MAX);
        (age <= STALE).then(|| Arc::clone(&view.snapshot))
    }

    /// What the agents that see a hop say of it: the worst first, a few of many.
    ///
    /// # Errors
    /// There is no such hop, or Prometheus does not answer.
    pub fn detail(&self, proxy: &str, upstream: &str) -> anyhow::Result<Detail> {
        let snapshot = self.snapshot().context("Prometheus has not answered for two minutes")?;
        let hop =
            snapshot.hops.iter().find(|hop| &*hop.proxy == proxy && &*hop.upstream == upstream);
        let hop: &Hop = hop.context("there is no such hop")?;
        let fleet = hop.fleet.as_ref().context("it is no hop of a fleet")?;
        let mut by_instance: BTreeMap<String, String> = BTreeMap::new();
        for sample in self.prometheus.query(&selector(&fleet.proxy, hop, fleet))? {
            by_instance
                .insert(sample.label("instance").to_owned(), sample.label("security").to_owned());
        }
        Ok(self.agents.ask(&by_instance, &fleet.proxy, &hop.upstream))
    }
}

/// The series that say which agents see a hop, and how.
fn selector(proxy: &str, hop: &Hop, fleet: &FleetView) -> String {
    let mut matchers = vec![("proxy", proxy), ("upstream", &*hop.upstream)];
    matchers.extend(fleet.cluster.as_deref().map(|cluster| ("cluster", cluster)));
    matchers.extend(fleet.instance.as_deref().map(|instance| ("instance", instance)));
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let matchers: Vec<_> =
        matchers.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    format!("hopsight_hop_security{{{}}} == 1", matchers.join(","))
}

/// The first of several names.
fn some(names: &[&str]) -> String {
    let more = if names.len() > MOST_NAMED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(MOST_NAMED)].join(", "))
}

fn versions(samples: &[Sample]) -> String {
    let mut all: Vec<_> =
        samples.iter().map(|one| format!("{}: {}", one.label("version"), one.count())).collect();
    all.sort();
    if all.is_empty() { "none is known".to_owned() } else { all.join(", ") }
}

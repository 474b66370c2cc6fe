//! Drift: what files of events tell, and what was open when an agent answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};

use hopsight_posture::{
    audit::period::NodePeriod,
    hops::moment::unix_seconds,
    policy::drift::{End, Rule},
};

use super::lines::text;
use crate::time;

/// Drifts that are remembered; what is beyond is counted.
const MAX_DRIFTS: usize = 100_000;

/// Whether a drift is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// It was open at the end of the time.
    Open,
    /// It was not open any more when the agent answered, and no event that was given tells when it
    /// ended.
    EndUntold,
    /// It ended.
    Closed,
}

/// One drift. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftEntry {
    /// Its node.
    pub node: String,
    /// The proxy, as the hop is labelled.
    pub proxy: String,
    /// The upstream, as the hop is labelled.
    pub upstream: String,
    /// What was violated.
    pub rule: Rule,
    /// How, for people.
    pub detail: String,
    /// The line of the configuration to look at.
    pub place: Option<String>,
    /// Whether it is over.
    pub state: DriftState,
    /// When the first offending connection was opened.
    pub since: String,
    /// Its cause is older than the agent: it was so for longer.
    pub preexisting: bool,
    /// When it was noticed; `None` where only an answer of `/hops` tells of it.
    pub detected_at: Option<String>,
    /// When it ended.
    pub closed_at: Option<String>,
    /// How it ended.
    pub end: Option<End>,
    /// How long it was so, to the end of the time if it is open.
    pub open_seconds: f64,
    /// From detection to mending.
    pub remediation_seconds: Option<f64>,
}

/// What a line of a file of events says of a drift.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    event: String,
    #[serde(default)]
    node: Option<String>,
    proxy: String,
    upstream: String,
    rule: Rule,
    detail: String,
    place: Option<String>,
    since: String,
    detected_at: String,
    preexisting: bool,
    closed_at: Option<String>,
    end: Option<End>,
    remediation_seconds: Option<f64>,
}

/// What tells drifts apart: node, proxy, upstream, rule, and when it began.
type Key = (String, String, String, &'static str, String);

/// What files of events tell of drift.
#[derive(Clone, Debug, Default)]
pub struct DriftLog {
    told: BTreeMap<Key, Told>,
    /// Drifts beyond the limit.
    pub dropped: u64,
}

impl DriftLog {
    /// Takes in a line of a file of events: whether it is an event at all. What is not about drift says
    /// nothing here.
    pub fn add(&mut self, line: &str) -> bool {
        /// What every event has, and what an answer of `/hops` has that may stand on one line.
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "time")]
            _time: String,
            hops: Option<IgnoredAny>,
        }
        if !line.contains("\"drift_opened\"") && !line.contains("\"drift_closed\"") {
            return serde_json::from_str::<Any>(line).is_ok_and(|any| any.hops.is_none());
        }
        let Ok(told) = serde_json::from_str::<Told>(line) else { return false };
        let key = (
            told.node.clone().unwrap_or_default(),
            told.proxy.clone(),
            told.upstream.clone(),
            told.rule.as_str(),
            told.since.clone(),
        );
        if self.told.len() >= MAX_DRIFTS && !self.told.contains_key(&key) {
            self.dropped += 1;
        } else if told.event == "drift_closed" || !self.told.contains_key(&key) {
            self.told.insert(key, told);
        }
        true
    }
}

/// The drifts that were open in the time, the longest first.
pub(super) fn entries(
    log: DriftLog,
    periods: &[NodePeriod<'_>],
    from: f64,
    to: f64,
) -> Vec<DriftEntry> {
    let mut known = log.told;
    let mut entries = Vec::new();
    for period in periods {
        for hop in &period.hops {
            for violation in hop.hop.compliance.iter().flat_map(|all| &all.violations) {
                let since = time::rfc3339(violation.since);
                let node = period.node.name().to_owned();
                let key = |node| {
                    let (proxy, upstream) =
                        (hop.hop.proxy.to_string(), hop.hop.upstream.to_string());
                    (node, proxy, upstream, violation.rule.as_str(), since.clone())
                };
                // An older agent's events do not say whose they are.
                let told =
                    known.remove(&key(node.clone())).or_else(|| known.remove(&key(String::new())));
                entries.push(DriftEntry {
                    node: text(&node),
                    proxy: text(&hop.hop.proxy),
                    upstream: text(&hop.hop.upstream),
                    rule: violation.rule,
                    detail: text(&violation.detail),
                    place: violation.place.as_ref().map(|place| text(&place.to_string())),
                    state: DriftState::Open,
                    since,
                    preexisting: violation.preexisting,
                    detected_at: told.map(|told| told.detected_at),
                    closed_at: None,
                    end: None,
                    open_seconds: (to - violation.since).max(0.0),
                    remediation_seconds: None,
                });
            }
        }
    }
    for told in known.into_values() {
        // An agent that answered and does not show it any more says that it is over.
        let node = told.node.clone().unwrap_or_default();
        let answered = periods.iter().any(|period| period.node.name() == node);
        entries.extend(of_events(&told, answered, from, to));
    }
    let order = |entry: &DriftEntry| (entry.state, std::cmp::Reverse(entry.open_seconds.to_bits()));
    entries.sort_by_key(order);
    entries
}

/// A drift that events alone tell of, if it was open in the time; `answered`: its node's agent answered
/// at the end of it.
fn of_events(told: &Told, answered: bool, from: f64, to: f64) -> Option<DriftEntry> {
    let seconds = |text: &str| time::parse_rfc3339(text).map(unix_seconds);
    let since = seconds(&told.since)?;
    let closed = told.closed_at.as_deref().and_then(seconds);
    if since > to || closed.is_some_and(|closed| closed < from) {
        return None;
    }
    let is_closed = closed.is_some_and(|closed| closed <= to);
    Some(DriftEntry {
        node: text(told.node.as_deref().unwrap_or_default()),
        proxy: text(&told.proxy),
        upstream: text(&told.upstream),
        rule: told.rule,
        detail: text(&told.detail),
        place: told.place.as_deref().map(text),
        state: match (is_closed, answered && closed.is_none()) {
            (true, _) => DriftState::Closed,
            (false, true) => DriftState::EndUntold,
            (false, false) => DriftState::Open,
        },
        since: text(&told.since),
        preexisting: told.preexisting,
        detected_at: Some(text(&told.detected_at)),
        closed_at: told.closed_at.as_deref().filter(|_| is_closed).map(text),
        end: told.end.filter(|_| is_closed),
        open_seconds: (closed.unwrap_or(to).min(to) - since).max(0.0),
        remediation_seconds: told.remediation_seconds.filter(|_| is_closed),
    })
}

//! Drift over time: when it began, when it was noticed, when it was mended.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Answer, Assessment, Rule, Violation};
use crate::policy::{
    observation::Observation,
    time::{Step, UnixTime},
};

/// Limits and patience of a [`DriftTracker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long no offending connection may come before a drift counts as mended. While a proxy
    /// reloads, its old and new workers open connections side by side.
    pub settle: Duration,
    /// How long only resumed sessions may be seen before that becomes a drift of its own.
    pub resumed_unseen_after: Duration,
    /// After how long without any connection an open drift is given up.
    pub forget_after: Duration,
    /// Hops that are tracked at most; connections of further hops are counted as dropped.
    pub max_hops: usize,
    /// Closed drifts that are kept at most, the newest.
    pub max_closed: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            resumed_unseen_after: Duration::from_mins(15),
            forget_after: Duration::from_hours(7 * 24),
            max_hops: 10_000,
            max_closed: 1_000,
        }
    }
}

/// A drift that was noticed and not mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDrift {
    /// Proxy name.
    pub proxy: Arc<str>,
    /// Upstream as its hop is labelled.
    pub upstream: Arc<str>,
    /// The upstream's name in the configuration, where it has one.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// What is violated.
    pub rule: Rule,
    /// How, as the newest offending connection shows it.
    pub violation: Violation,
    /// When the first offending connection was opened.
    pub since: UnixTime,
    /// When it was noticed.
    pub detected_at: UnixTime,
    /// When the configuration was loaded that brought it: that of the first offending connection,
    /// if no connection was good with it.
    pub changed_at: Option<UnixTime>,
    /// When the newest offending connection was opened.
    pub last_offending: UnixTime,
    /// Offending connections of which everything has been said.
    pub connections: u64,
}

impl OpenDrift {
    /// From its cause to its detection: from the load of the configuration that brought it, else
    /// from the first offending connection.
    #[must_use]
    pub fn detection(&self) -> Duration {
        self.detected_at.since(self.changed_at.unwrap_or(self.since))
    }

    /// How long it has been so.
    #[must_use]
    pub const fn open_for(&self, now: UnixTime) -> Duration {
        now.since(self.since)
    }
}

/// How a drift ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Connections came that are as they should be, and no offending ones after them.
    Remediated,
    /// The hop was not used any more.
    NotSeen,
}

/// A drift that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedDrift {
    /// What it was.
    pub drift: OpenDrift,
    /// When it ended: when the first good connection after it was opened, or when it was given up.
    pub at: UnixTime,
    /// How it ended.
    pub end: End,
}

impl ClosedDrift {
    /// From detection to mending; `None` if it was not mended.
    #[must_use]
    pub fn remediation(&self) -> Option<Duration> {
        (self.end == End::Remediated).then(|| self.at.since(self.drift.detected_at))
    }
}

/// A change to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriftEvent {
    /// A drift was noticed.
    Opened(OpenDrift),
    /// A drift ended.
    Closed(ClosedDrift),
}

/// What one hop's connections said about one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Track {
    /// The drift, once there is one.
    open: Option<OpenDrift>,
    /// First of the offending connections that do not make a drift yet.
    pending: Option<UnixTime>,
    /// First good connection after the newest offending one.
    good_again: Option<UnixTime>,
    /// Newest good connection.
    last_good: Option<UnixTime>,
    /// The newest configuration that good connections were opened with.
    #[serde(default)]
    good_load: Option<UnixTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hop {
    last_seen: UnixTime,
    tracks: BTreeMap<Rule, Track>,
}

impl Hop {
    /// Without the rules that are as they should be.
    fn unfinished(&self) -> Self {
        let tracks =
            self.tracks.iter().filter(|(_, track)| track.open.is_some() || track.pending.is_some());
        Self {
            last_seen: self.last_seen,
            tracks: tracks.map(|(rule, track)| (*rule, track.clone())).collect(),
        }
    }
}

type HopKey = (Arc<str>, Arc<str>);

/// Everything that has to outlive the agent. Serialise it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    hops: Vec<(HopKey, Hop)>,
    closed: VecDeque<ClosedDrift>,
}

/// Follows the drift of every hop.
///
/// A drift is one (proxy, upstream, rule). It opens with the first offending connection and
/// closes with the first good one after which no offending one came for [`Options::settle`];
/// connections that do not show the rule change nothing.
#[derive(Debug)]
pub struct DriftTracker {
    options: Options,
    hops: HashMap<HopKey, Hop>,
    closed: VecDeque<ClosedDrift>,
    dropped: u64,
}

impl DriftTracker {
    /// Goes on from `snapshot` (the default one is empty).
    #[must_use]
    pub fn new(options: Options, snapshot: Snapshot) -> Self {
        let hops = snapshot.hops.into_iter().take(options.max_hops).collect();
        Self { options, hops, closed: snapshot.closed, dropped: 0 }
    }

    /// What a tracker after a restart has to know: what is open or about to be.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut hops: Vec<_> = self
            .hops
            .iter()
            .map(|(key, hop)| (key.clone(), hop.unfinished()))
            .filter(|(_, hop)| !hop.tracks.is_empty())
            .collect();
        hops.sort_by(|one, other| one.0.cmp(&other.0));
        Snapshot { hops, closed: self.closed.clone() }
    }

    /// Takes in what one connection says.
    pub fn observe(
        &mut self,
        seen: &Observation<'_>,
        assessment: &Assessment,
        now: UnixTime,
    ) -> Vec<DriftEvent> {
        let key: HopKey = (seen.proxy.into(), seen.upstream.into());
        if self.hops.len() >= self.options.max_hops && !self.hops.contains_key(&key) {
            self.dropped += 1;
            return Vec::new();
        }
        let hop = self
            .hops
            .entry(key.clone())
            .or_insert_with(|| Hop { last_seen: seen.at, tracks: BTreeMap::new() });
        hop.last_seen = hop.last_seen.max(seen.at);
        let mut events = Vec::new();
        for (rule, answer) in assessment.answers() {
            match answer {
                Answer::Unknown => {}
                Answer::Met => hop.tracks.entry(rule).or_default().met(seen),
                Answer::Violated(violation) => {
                    let patience = match rule {
                        Rule::ResumedUnseen => self.options.resumed_unseen_after,
                        _ => Duration::ZERO,
                    };
                    let track = hop.tracks.entry(rule).or_default();
                    if let Some(begin) = track.violated(violation, seen, patience) {
                        let (proxy, upstream) = key.clone();
                        let drift = OpenDrift {
                            proxy,
                            upstream,
                            name: seen.name.map(Arc::from),
                            rule,
                            violation: violation.clone(),
                            since: begin,
                            detected_at: now,
                            changed_at: seen
                                .loaded_at
                                .filter(|load| *load <= begin && track.was_good_before(*load)),
                            last_offending: seen.at,
                            connections: u64::from(seen.is_final),
                        };
                        track.open = Some(drift.clone());
                        events.push(DriftEvent::Opened(drift));
                    }
                }
            }
        }
        events
    }

    /// Closes what is over. Call it about once a second.
    pub fn tick(&mut self, now: UnixTime) -> Vec<DriftEvent> {
        let mut events = Vec::new();
        for hop in self.hops.values_mut() {
            let given_up = now.since(hop.last_seen) >= self.options.forget_after;
            for track in hop.tracks.values_mut() {
                let Some(drift) = &track.open else { continue };
                let settled = now.since(drift.last_offending) >= self.options.settle;
                let (at, end) = match track.good_again {
                    Some(at) if settled => (at, End::Remediated),
                    _ if given_up => (now, End::NotSeen),
                    _ => continue,
                };
                if let Some(drift) = track.open.take() {
                    let closed = ClosedDrift { drift, at, end };
                    self.closed.push_back(closed.clone());
                    events.push(DriftEvent::Closed(closed));
                }
            }
        }
        self.hops.retain(|_, hop| now.since(hop.last_seen) < self.options.forget_after);
        while self.closed.len() > self.options.max_closed {
            self.closed.pop_front();
        }
        events
    }

    /// The wall clock was set: the times of what is open or about to be are set with it, so that
    /// nothing becomes older or younger. What is over keeps the times that were told.
    pub fn clock_was_set(&mut self, step: Step) {
        for hop in self.hops.values_mut() {
            step.apply(&mut hop.last_seen);
            hop.tracks.values_mut().for_each(|track| track.clock_was_set(step));
        }
    }

    /// Forgets a hop that will not be seen again under this name. What is open of it ends as not
    /// seen.
    pub fn give_up(&mut self, proxy: &str, upstream: &str, now: UnixTime) -> Vec<DriftEvent> {
        let gone = self.hops.remove(&(proxy.into(), upstream.into()));
        let tracks = gone.into_iter().flat_map(|hop| hop.tracks.into_values());
        let open = tracks.filter_map(|track| track.open);
        let closed: Vec<_> =
            open.map(|drift| ClosedDrift { drift, at: now, end: End::NotSeen }).collect();
        self.closed.extend(closed.iter().cloned());
        closed.into_iter().map(DriftEvent::Closed).collect()
    }

    /// The drifts that are open.
    pub fn open(&self) -> impl Iterator<Item = &OpenDrift> {
        self.hops
            .values()
            .flat_map(|hop| hop.tracks.values())
            .filter_map(|track| track.open.as_ref())
    }

    /// The drifts of one hop that are open.
    pub fn open_of(&self, proxy: &str, upstream: &str) -> impl Iterator<Item = &OpenDrift> {
        let hop = self.hops.get(&(proxy.into(), upstream.into()));
        let tracks = hop.into_iter().flat_map(|hop| hop.tracks.values());
        tracks.filter_map(|track| track.open.as_ref())
    }

    /// The newest drifts that are over, oldest first, those from before a restart included.
    pub fn closed(&self) -> impl Iterator<Item = &ClosedDrift> {
        self.closed.iter()
    }

    /// Connections that were not looked at because there were too many hops.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Track {
    /// (`good_load` is compared with other times of loading, which stay as they were read.)
    fn clock_was_set(&mut self, step: Step) {
        let Self { open, pending, good_again, last_good, good_load: _ } = self;
        let mut times = vec![];
        times.extend([pending, good_again, last_good].into_iter().flatten());
        if let Some(drift) = open {
            let OpenDrift { since, detected_at, changed_at, last_offending, .. } = drift;
            times.extend([since, detected_at, last_offending]);
            times.extend(changed_at);
        }
        for time in times {
            step.apply(time);
        }
    }

    /// Whether no connection was good with the configuration loaded at `load`, or a newer one.
    /// Workers with an older one may go on opening good connections for a while.
    fn was_good_before(&self, load: UnixTime) -> bool {
        self.last_good.is_none_or(|good| good <= load)
            || self.good_load.is_some_and(|good_load| good_load < load)
    }

    fn met(&mut self, seen: &Observation<'_>) {
        let at = seen.at;
        self.good_load = self.good_load.max(seen.loaded_at);
        self.pending = None;
        self.last_good = self.last_good.max(Some(at));
        if let Some(drift) = &self.open
            && at > drift.last_offending
        {
            self.good_again = Some(self.good_again.map_or(at, |known| known.min(at)));
        }
    }

    /// Takes in an offending connection; says since when it is one, if that opens a drift.
    fn violated(
        &mut self,
        violation: &Violation,
        seen: &Observation<'_>,
        patience: Duration,
    ) -> Option<UnixTime> {
        let at = seen.at;
        if let Some(drift) = &mut self.open {
            drift.connections += u64::from(seen.is_final);
            drift.last_offending = drift.last_offending.max(at);
            drift.violation.clone_from(violation);
            if self.good_again.is_some_and(|good| at >= good) {
                self.good_again = None;
            }
            return None;
        }
        let begin = *self.pending.get_or_insert(at);
        if at.since(begin) < patience {
            return None;
        }
        self.pending = None;
        self.good_again = None;
        Some(begin)
    }
}

//! Drift over time: when it began, when it was noticed, when it was mended.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hopsight_core::model::canonical;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Assessment, InUse, Rule, Violation,
    options::Options,
    record::{ClosedDrift, DriftEvent, End, OpenDrift},
    track::Track,
};
use crate::policy::{
    observation::Observation,
    time::{Step, UnixTime},
};

/// Servers that are tracked per hop at most. The one that was silent for longest gives way, of those
/// that are as they should be; where there is none, connections to further ones are counted as dropped.
const MAX_SERVERS: usize = 64;

/// One server of a hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ServerDrifts {
    last_seen: UnixTime,
    tracks: BTreeMap<Rule, Track>,
}

/// The servers of one hop.
type HopDrifts = BTreeMap<SocketAddr, ServerDrifts>;

/// Of what is as it should be, the key of what was silent for longest. When something is, `good_since`
/// says when it was last seen.
fn least_useful<'e, K: Clone + 'e, V: 'e>(
    entries: impl Iterator<Item = (&'e K, &'e V)>,
    good_since: impl Fn(&V) -> Option<UnixTime>,
) -> Option<K> {
    let good = entries.filter_map(|(key, entry)| Some((good_since(entry)?, key)));
    good.min_by_key(|(seen, _)| *seen).map(|(_, key)| key.clone())
}

/// When a hop was last seen, if every server of it is as it should be.
fn hop_good_since(hop: &HopDrifts) -> Option<UnixTime> {
    hop.values()
        .map(ServerDrifts::good_since)
        .try_fold(UnixTime::default(), |latest, seen| Some(latest.max(seen?)))
}

impl ServerDrifts {
    /// When it was last seen, if it is as it should be.
    fn good_since(&self) -> Option<UnixTime> {
        let mut tracks = self.tracks.values();
        tracks.all(|track| !track.is_unfinished()).then_some(self.last_seen)
    }

    /// Without the rules that are as they should be.
    fn unfinished(&self) -> Self {
        let tracks = self.tracks.iter().filter(|(_, track)| track.is_unfinished());
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
    hops: Vec<(HopKey, HopDrifts)>,
    closed: VecDeque<ClosedDrift>,
}

impl Snapshot {
    /// The wall clock was set since it was taken: its times are set with it.
    pub fn clock_was_set(&mut self, step: Step) {
        for server in self.hops.iter_mut().flat_map(|(_, hop)| hop.values_mut()) {
            step.apply(&mut server.last_seen);
            server.tracks.values_mut().for_each(|track| track.clock_was_set_unseen(step));
        }
    }
}

/// Follows the drift of every hop.
///
/// A drift is one (proxy, upstream, server, rule). It opens with the first offending connection and
/// closes with the first good one to the same server after which no offending one came, once its
/// cause is out of use (`Track::is_over`); connections that do not show the rule change nothing.
#[derive(Debug)]
pub struct DriftTracker {
    options: Options,
    hops: HashMap<HopKey, HopDrifts>,
    closed: VecDeque<ClosedDrift>,
    dropped: u64,
    /// Since when connections can be seen.
    sees_since: UnixTime,
}

impl DriftTracker {
    /// Goes on from `snapshot` (the default one is empty). What was caused before `sees_since` could
    /// not have been noticed sooner, and nothing counts as over because nobody saw it before.
    #[must_use]
    pub fn new(options: Options, snapshot: Snapshot, sees_since: UnixTime) -> Self {
        let Snapshot { hops, closed } = snapshot;
        let mut hops: HashMap<_, _> = hops.into_iter().take(options.max_hops).collect();
        for server in hops.values_mut().flat_map(HopDrifts::values_mut) {
            server.tracks.values_mut().for_each(Track::restored);
        }
        Self { options, hops, closed, dropped: 0, sees_since }
    }

    /// What a tracker after a restart has to know: what is open or about to be.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut hops: Vec<_> = self
            .hops
            .iter()
            .map(|(key, hop)| {
                let servers = hop.iter().map(|(address, server)| (*address, server.unfinished()));
                (key.clone(), servers.filter(|(_, server)| !server.tracks.is_empty()).collect())
            })
            .filter(|(_, hop): &(_, HopDrifts)| !hop.is_empty())
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
            let Some(gone) = least_useful(self.hops.iter(), hop_good_since) else {
                self.dropped += 1;
                return Vec::new();
            };
            self.hops.remove(&gone);
        }
        let hop = self.hops.entry(key.clone()).or_default();
        let address = canonical(seen.address);
        if hop.len() >= MAX_SERVERS && !hop.contains_key(&address) {
            let Some(gone) = least_useful(hop.iter(), ServerDrifts::good_since) else {
                self.dropped += 1;
                return Vec::new();
            };
            hop.remove(&gone);
        }
        let server = hop
            .entry(address)
            .or_insert_with(|| ServerDrifts { last_seen: seen.at, tracks: BTreeMap::new() });
        server.last_seen = server.last_seen.max(seen.at);
        let drift = |rule, violation: &Violation, since| OpenDrift {
            proxy: key.0.clone(),
            upstream: key.1.clone(),
            name: seen.name.map(Arc::from),
            server: address,
            rule,
            violation: violation.clone(),
            since,
            detected_at: now,
            changed_at: None,
            last_offending: seen.at,
            connections: u64::from(seen.is_final),
            preexisting: since < self.sees_since,
        };
        let mut events = Vec::new();
        for (rule, answer) in assessment.answers() {
            match answer {
                Answer::Unknown => {}
                Answer::Met => {
                    let track = server.tracks.entry(rule).or_default();
                    track.met(seen, assessment.rules_out(rule));
                }
                Answer::Exempt(violation) => {
                    let drift = drift(rule, violation, seen.at);
                    server.tracks.entry(rule).or_default().exempt(drift, seen);
                }
                Answer::Violated(violation) => {
                    let patience = match rule {
                        Rule::ResumedUnseen => self.options.resumed_unseen_after,
                        _ => Duration::ZERO,
                    };
                    let track = server.tracks.entry(rule).or_default();
                    let is_ruled_out = assessment.rules_out(rule);
                    let begin = track.violated(rule, violation, seen, is_ruled_out, patience);
                    if let Some(begin) = begin {
                        let changed_at = seen
                            .loaded_at
                            .filter(|load| *load <= begin && track.was_good_before(*load));
                        let drift = OpenDrift {
                            changed_at,
                            preexisting: changed_at.unwrap_or(begin) < self.sees_since,
                            ..drift(rule, violation, begin)
                        };
                        track.open = Some(drift.clone());
                        events.push(DriftEvent::Opened(drift));
                    }
                }
            }
        }
        events
    }

    /// Closes what is over, which `in_use` helps to decide. Call it about once a second.
    pub fn tick(&mut self, now: UnixTime, in_use: impl InUse) -> Vec<DriftEvent> {
        let mut events = Vec::new();
        for server in self.hops.values_mut().flat_map(BTreeMap::values_mut) {
            let seen = server.last_seen.max(self.sees_since);
            let given_up = now.since(seen) >= self.options.forget_after;
            for track in server.tracks.values_mut() {
                let in_use = track.is_in_use(&in_use);
                track.forget_exempt(in_use);
                let (at, end) = match track.is_over(now, self.sees_since, &self.options, in_use) {
                    Some(over) => over,
                    None if given_up && track.open.is_some() => (now, End::Forgotten),
                    None => continue,
                };
                if let Some(drift) = track.close() {
                    let closed = ClosedDrift { drift, at, end };
                    self.closed.push_back(closed.clone());
                    events.push(DriftEvent::Closed(closed));
                }
            }
        }
        let forget_after = self.options.forget_after;
        self.hops.retain(|_, hop| {
            hop.retain(|_, server| now.since(server.last_seen.max(self.sees_since)) < forget_after);
            !hop.is_empty()
        });
        while self.closed.len() > self.options.max_closed {
            self.closed.pop_front();
        }
        events
    }

    /// Opens what is no longer exempt, as `is_exempt` says, though no connection came since: what was
    /// exempt and is in use violates its rule from now on.
    pub fn end_exemptions(
        &mut self,
        now: UnixTime,
        is_exempt: impl Fn(&OpenDrift) -> bool,
    ) -> Vec<DriftEvent> {
        let servers = self.hops.values_mut().flat_map(BTreeMap::values_mut);
        let tracks = servers.flat_map(|server| server.tracks.values_mut());
        let opened = tracks.filter_map(|track| track.end_exemption(now, &is_exempt));
        opened.map(DriftEvent::Opened).collect()
    }

    /// Policy asks for something else where `is_meant`: what was exempt there is not known to violate
    /// it.
    pub fn reconsider(&mut self, is_meant: impl Fn(&OpenDrift) -> bool) {
        let servers = self.hops.values_mut().flat_map(BTreeMap::values_mut);
        let tracks = servers.flat_map(|server| server.tracks.values_mut());
        tracks.for_each(|track| track.reconsider(&is_meant));
    }

    /// Policy asks for less where `is_meant`: what is open there ends as `policy_changed`, unless it
    /// violates that as well.
    pub fn relax(&mut self, is_meant: impl Fn(&OpenDrift) -> bool) {
        let servers = self.hops.values_mut().flat_map(BTreeMap::values_mut);
        let tracks = servers.flat_map(|server| server.tracks.values_mut());
        tracks.for_each(|track| track.relax(&is_meant));
    }

    /// The wall clock was set: the times of what is open or about to be are set with it, so that
    /// nothing becomes older or younger. What is over keeps the times that were told.
    pub fn clock_was_set(&mut self, step: Step) {
        step.apply(&mut self.sees_since);
        for server in self.hops.values_mut().flat_map(BTreeMap::values_mut) {
            step.apply(&mut server.last_seen);
            server.tracks.values_mut().for_each(|track| track.clock_was_set(step));
        }
    }

    /// Forgets a hop that will not be seen again under this name. What is open of it ends as not
    /// seen.
    pub fn give_up(&mut self, proxy: &str, upstream: &str, now: UnixTime) -> Vec<DriftEvent> {
        let gone = self.hops.remove(&(proxy.into(), upstream.into()));
        self.forget(gone.into_iter().flat_map(BTreeMap::into_values), now)
    }

    /// Forgets a server of a hop, which is not behind the upstream's name any more. What is open of it
    /// ends as not seen.
    pub fn give_up_server(
        &mut self,
        proxy: &str,
        upstream: &str,
        server: SocketAddr,
        now: UnixTime,
    ) -> Vec<DriftEvent> {
        let hop = self.hops.get_mut(&(proxy.into(), upstream.into()));
        let gone = hop.and_then(|hop| hop.remove(&canonical(server)));
        self.forget(gone, now)
    }

    fn forget(
        &mut self,
        servers: impl IntoIterator<Item = ServerDrifts>,
        now: UnixTime,
    ) -> Vec<DriftEvent> {
        let tracks = servers.into_iter().flat_map(|server| server.tracks.into_values());
        let open = tracks.filter_map(|track| track.open);
        let closed: Vec<_> =
            open.map(|drift| ClosedDrift { drift, at: now, end: End::Forgotten }).collect();
        self.closed.extend(closed.iter().cloned());
        closed.into_iter().map(DriftEvent::Closed).collect()
    }

    /// The drifts that are open.
    pub fn open(&self) -> impl Iterator<Item = &OpenDrift> {
        self.hops.values().flat_map(open_in)
    }

    /// The drifts of one hop that are open.
    pub fn open_of(&self, proxy: &str, upstream: &str) -> impl Iterator<Item = &OpenDrift> {
        self.hops.get(&(proxy.into(), upstream.into())).into_iter().flat_map(open_in)
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

/// The drifts of a hop that are open.
fn open_in(hop: &HopDrifts) -> impl Iterator<Item = &OpenDrift> {
    let tracks = hop.values().flat_map(|server| server.tracks.values());
    tracks.filter_map(|track| track.open.as_ref())
}

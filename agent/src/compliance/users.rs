//! Who uses a hop: the instances that have opened its connections and may do so again.
//!
//! A configuration speaks for a hop only where nobody else has a say in it. Who has one is known by the
//! connections alone, so it is kept over restarts of the agent: an instance that is quiet since then
//! runs on with what it has loaded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use hopsight_core::model::Timestamp;
use hopsight_system::process::ProcessKey;

/// Most hops of which users are known. Those that the table of hops keeps apart are fewer by far, and
/// of the others no configuration says anything.
const MAX_HOPS: usize = 65_536;
/// Most instances that are told apart of one hop.
const MAX_OF_ONE: usize = 64;
/// Instances of which nothing is known: they run until they were silent. (No process has this number.)
const UNKNOWN: ProcessKey = ProcessKey { pid: 0, start_ticks: 0 };

/// Proxy and upstream, as labels.
pub(super) type HopKey = (Arc<str>, Arc<str>);

/// Who uses which hop.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// The main process of each instance, and when it last opened a connection.
    of_hop: HashMap<HopKey, BTreeMap<ProcessKey, Timestamp>>,
}

/// What outlives the agent: per hop the main process of each instance, and for how many seconds it
/// had been silent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KeptUsers(Vec<(HopKey, Vec<(ProcessKey, u64)>)>);

impl Users {
    /// An instance has opened a connection; says whether it is a new user of the hop.
    pub(super) fn note(&mut self, hop: &HopKey, instance: ProcessKey, now: Timestamp) -> bool {
        let is_full = self.of_hop.len() >= MAX_HOPS;
        let Some(known) = self.of_hop.get_mut(hop) else {
            if is_full {
                return false;
            }
            self.of_hop.insert(hop.clone(), BTreeMap::from([(instance, now)]));
            return true;
        };
        let is_new = !known.contains_key(&instance);
        let is_one_of_many = is_new && known.len() >= MAX_OF_ONE;
        known.insert(if is_one_of_many { UNKNOWN } else { instance }, now);
        is_new && !is_one_of_many
    }

    /// Nobody knows who has used a hop.
    pub(super) fn note_unknown(&mut self, hop: &HopKey, now: Timestamp) {
        self.note(hop, UNKNOWN, now);
    }

    /// The instances that use a hop.
    pub(super) fn of(&self, hop: &HopKey) -> impl Iterator<Item = ProcessKey> {
        self.of_hop.get(hop).into_iter().flat_map(|known| known.keys().copied())
    }

    /// Whether somebody else than this instance may open connections of a hop.
    pub(super) fn has_others(&self, hop: &HopKey, than: ProcessKey) -> bool {
        self.of(hop).any(|instance| instance != than)
    }

    /// An instance does not use a hop any more: its configuration has no such upstream.
    pub(super) fn remove(&mut self, hop: &HopKey, instance: ProcessKey) {
        if let Some(known) = self.of_hop.get_mut(hop) {
            known.remove(&instance);
        }
    }

    /// Forgets the hops that are not there any more.
    pub(super) fn retain_hops(&mut self, is_there: impl Fn(&HopKey) -> bool) {
        self.of_hop.retain(|hop, _| is_there(hop));
    }

    /// Forgets the instances that do not run any more, and those that were silent for as long as counts
    /// what nobody sees.
    pub(super) fn settle(
        &mut self,
        runs: impl Fn(ProcessKey) -> bool,
        now: Timestamp,
        stands_for: Duration,
    ) {
        let mut running = HashMap::new();
        self.of_hop.retain(|_, known| {
            known.retain(|instance, heard| {
                let mut runs = || *running.entry(*instance).or_insert_with(|| runs(*instance));
                now.since(*heard) <= stands_for && (*instance == UNKNOWN || runs())
            });
            !known.is_empty()
        });
    }

    /// What outlives the agent.
    pub(super) fn keep(&self, now: Timestamp) -> KeptUsers {
        let silent =
            |(instance, heard): (&ProcessKey, &Timestamp)| (*instance, now.since(*heard).as_secs());
        let hops = self.of_hop.iter();
        let mut kept: Vec<_> =
            hops.map(|(hop, known)| (hop.clone(), known.iter().map(silent).collect())).collect();
        kept.sort();
        KeptUsers(kept)
    }

    /// Goes on with what was kept in this boot of the machine; no time has passed since.
    pub(super) fn restore(&mut self, kept: KeptUsers, now: Timestamp) {
        for (hop, known) in kept.0.into_iter().take(MAX_HOPS) {
            let heard = |silent: u64| {
                let silent = silent.saturating_mul(1_000_000_000);
                Timestamp(now.0.saturating_sub(silent))
            };
            let known = known.into_iter().take(MAX_OF_ONE + 1);
            let known = known.map(|(instance, silent)| (instance, heard(silent)));
            self.of_hop.insert(hop, known.collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDS_FOR: Duration = Duration::from_hours(2);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn instance(number: u32) -> ProcessKey {
        ProcessKey { pid: number, start_ticks: u64::from(number) }
    }

    fn hop() -> HopKey {
        ("nginx".into(), "payments".into())
    }

    fn restarted(users: &Users, now: u64) -> Users {
        let kept = serde_json::to_string(&users.keep(at(now))).unwrap();
        let mut next = Users::default();
        next.restore(serde_json::from_str(&kept).unwrap(), at(now + 50_000));
        next
    }

    #[test]
    fn others_have_a_say_until_they_have_ended_or_were_silent() {
        let (one, other) = (instance(1), instance(2));
        for (case, runs, silent, is_removed, has_others) in [
            ("it runs", true, 60, false, true),
            ("it has ended", false, 60, false, false),
            ("it runs and was silent for so long", true, 7_201, false, false),
            ("its configuration has no such upstream", true, 60, true, false),
        ] {
            for restart in [false, true] {
                let mut users = Users::default();
                assert!(users.note(&hop(), other, at(10_000)), "{case}");
                let mut now = 10_000 + silent;
                if restart {
                    users = restarted(&users, now);
                    // Nobody watched meanwhile: that is no silence.
                    now += 50_000;
                }
                assert!(users.note(&hop(), one, at(now)), "{case}");
                assert!(!users.note(&hop(), one, at(now)), "{case}: known");
                if is_removed {
                    users.remove(&hop(), other);
                }
                users.settle(|instance| runs || instance == one, at(now), STANDS_FOR);
                assert_eq!(users.has_others(&hop(), one), has_others, "{case}, restart: {restart}");
                assert!(users.of(&hop()).any(|instance| instance == one), "{case}");
            }
        }
    }

    #[test]
    fn of_whom_nothing_is_known_waits_until_it_was_silent() {
        let mut crowded = Users::default();
        for number in 1..200 {
            crowded.note(&hop(), instance(number), at(1));
        }
        assert_eq!(crowded.of(&hop()).count(), MAX_OF_ONE + 1);
        let mut unknown = Users::default();
        unknown.note_unknown(&hop(), at(1));
        for (case, users) in [("too many", crowded), ("an older state", unknown)] {
            for (now, has_others) in [(7_201, true), (7_202, false)] {
                let mut users = restarted(&users, 1);
                users.settle(|_| false, at(now + 50_000), STANDS_FOR);
                assert_eq!(users.has_others(&hop(), instance(9)), has_others, "{case}, {now}");
            }
        }
    }

    #[test]
    fn nobody_else_has_a_say_in_what_one_uses() {
        let mut users = Users::default();
        let other: HopKey = ("nginx".into(), "orders".into());
        users.note(&hop(), instance(1), at(1));
        users.note(&other, instance(2), at(1));
        assert!(!users.has_others(&hop(), instance(1)));
        assert!(!users.has_others(&("nginx".into(), "none".into()), instance(1)));
    }
}

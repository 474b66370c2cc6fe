//! When a server has begun to ask for client certificates.
//!
//! Whether it asks is the server's answer to a ClientHello, and no configuration of the proxy says
//! when that is mended. Nor does the newest connection: behind one address may be several machines of
//! which one asks, and they take turns. What shows a change is the order of the answers: for a while
//! all were of one kind, then all of the other. Machines that take turns answer in short runs.
//!
//! Answers are counted by the half second, so that how busy a hop is makes no difference, and apart for
//! each server name and version, for a server may ask under one of its names only. A resumed session
//! asks for nothing and says nothing.

use std::{sync::Arc, time::Duration};

use hopsight_core::{
    model::{ClientAuth, Evidence, Security, Timestamp, Word},
    report::ConnectionReport,
};
use serde::{Deserialize, Serialize};

use super::{
    silence::Silence,
    state::{text, word},
};

/// How long answers count as one: that of the worst.
const SLOT: Duration = Duration::from_millis(500);

/// Slots with connections that a run of answers takes at least to be no chance.
const MIN_RUN: u32 = 4;

/// Ways at most to ask a server that are followed, those first in which it did not ask. With a further
/// one of these nothing is proven.
const MAX_WAYS: usize = 32;

/// What one server has answered, by how it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asking {
    ways: Vec<(Way, Turns)>,
    /// It did not ask in a further way, of which nothing is known.
    has_more: bool,
}

/// What the server's answer may depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Way {
    /// Server name that was sent.
    name: Option<Arc<str>>,
    /// Version that was negotiated.
    version: Option<Word>,
}

/// The answers of the last slots in which there were any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Turns {
    /// A bit per slot, the newest lowest: set where the server did not ask.
    silent: u64,
    /// Number of slots in it, 64 at most.
    slots: u32,
    /// When the newest slot began, on the clock of the reports.
    newest: Option<Timestamp>,
    /// When it last did not ask, on the clock that ages are reckoned in.
    last_silent: Option<Timestamp>,
    /// The first connection of those in a row on which it asked.
    asking_since: Option<Timestamp>,
    /// It asks since then, and did not before: that was no chance.
    has_turned: bool,
}

/// The same as it outlives the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptAsking {
    ways: Vec<KeptTurns>,
    has_more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptTurns {
    way: Way,
    silent: u64,
    slots: u32,
    last_silent: Option<Silence>,
    has_turned: bool,
}

impl Asking {
    /// Takes in what a certain report shows of it.
    pub(super) fn record(&mut self, report: &ConnectionReport, now: Timestamp) {
        let verdict = &report.verdict;
        let is_shown = matches!(verdict.security, Security::Tls | Security::Mtls)
            && verdict.client_auth != ClientAuth::Unknown
            && verdict.evidence != Evidence::Carried
            && report.resumed != Some(true);
        if !is_shown {
            return;
        }
        let asks = verdict.client_auth != ClientAuth::NotRequested;
        // Before its last report not everything is known of a connection, such as the version; that
        // the server did not ask counts at once, for the last report may be long in coming.
        if !report.is_final {
            if !asks {
                let name = text(report.sni.as_ref());
                let of_name = self.ways.iter_mut().filter(|(way, _)| way.name == name);
                of_name.for_each(|(_, turns)| turns.was_silent(report.decided_at, now));
            }
            return;
        }
        let way =
            Way { name: text(report.sni.as_ref()), version: word(report.tls_version.as_ref()) };
        let known = self.ways.iter().position(|(known, _)| *known == way);
        let at = match known {
            Some(at) => at,
            None if !self.has_room(asks) => {
                self.has_more |= !asks;
                return;
            }
            None => {
                self.ways.push((way, Turns::default()));
                self.ways.len() - 1
            }
        };
        self.ways[at].1.record(asks, report.decided_at, now);
    }

    /// Whether there is room for a further way. One in which the server has always asked has no say,
    /// and gives way to one in which it does not.
    fn has_room(&mut self, asks: bool) -> bool {
        if self.ways.len() >= MAX_WAYS && !asks {
            let has_no_say = |(_, turns): &(Way, Turns)| turns.last_silent.is_none();
            if let Some(at) = self.ways.iter().position(has_no_say) {
                self.ways.swap_remove(at);
            }
        }
        self.ways.len() < MAX_WAYS
    }

    /// Whether the server asks now, in every way in which it did not in the last `stands_for`.
    pub(super) fn has_begun(&self, now: Timestamp, stands_for: Duration) -> bool {
        let was_silent =
            |turns: &Turns| turns.last_silent.is_some_and(|last| now.since(last) <= stands_for);
        let mut silent =
            self.ways.iter().map(|(_, turns)| turns).filter(|turns| was_silent(turns)).peekable();
        !self.has_more && silent.peek().is_some() && silent.all(|turns| turns.has_turned)
    }

    /// What outlives the agent.
    pub(super) fn keep(&self, now: Timestamp) -> KeptAsking {
        let ways = self.ways.iter().map(|(way, turns)| KeptTurns {
            way: way.clone(),
            silent: turns.silent,
            slots: turns.slots,
            last_silent: turns.last_silent.map(|last| Silence::of(last, now)),
            has_turned: turns.has_turned,
        });
        KeptAsking { ways: ways.collect(), has_more: self.has_more }
    }
}

impl KeptAsking {
    /// Goes on with it at `now`.
    pub(super) fn restored(self, now: Timestamp) -> Asking {
        let has_more = self.has_more || self.ways.len() > MAX_WAYS;
        let ways = self.ways.into_iter().take(MAX_WAYS).map(|kept| {
            let turns = Turns {
                silent: kept.silent,
                slots: kept.slots.min(u64::BITS),
                newest: None,
                last_silent: kept.last_silent.map(|last| last.heard(now)),
                asking_since: None,
                has_turned: kept.has_turned,
            };
            (kept.way, turns)
        });
        Asking { ways: ways.collect(), has_more }
    }
}

impl Turns {
    fn record(&mut self, asks: bool, decided_at: Timestamp, now: Timestamp) {
        match self.newest {
            // One that came late.
            Some(newest) if decided_at < newest => {
                if !asks {
                    self.was_silent(decided_at, now);
                }
                return;
            }
            Some(newest) if decided_at.since(newest) < SLOT => {}
            _ => {
                self.newest = Some(decided_at);
                self.silent <<= 1;
                self.slots = (self.slots + 1).min(u64::BITS);
            }
        }
        if asks {
            self.asking_since.get_or_insert(decided_at);
            self.has_turned |= self.turns_now();
        } else {
            self.note_silence(now);
        }
    }

    /// The server did not ask then, of which is heard out of order: that breaks a run of asking which
    /// had begun by then.
    fn was_silent(&mut self, decided_at: Timestamp, now: Timestamp) {
        if self.asking_since.is_some_and(|since| decided_at >= since) {
            self.note_silence(now);
        }
    }

    const fn note_silence(&mut self, now: Timestamp) {
        self.silent |= 1;
        self.last_silent = Some(now);
        self.asking_since = None;
        self.has_turned = false;
    }

    /// Whether the last slots show a change from not asking to asking, and no run among them is
    /// short. (The oldest run is cut off.)
    fn turns_now(&self) -> bool {
        let asking = self.silent.trailing_zeros().min(self.slots);
        if asking < MIN_RUN || asking == self.slots {
            return false;
        }
        let mut rest = self.silent >> asking;
        let mut left = self.slots - asking;
        let silent = rest.trailing_ones().min(left);
        if silent < MIN_RUN {
            return false;
        }
        while left > 0 {
            let run = if rest & 1 == 1 { rest.trailing_ones() } else { rest.trailing_zeros() };
            if run >= left {
                break;
            }
            if run < MIN_RUN {
                return false;
            }
            rest >>= run;
            left -= run;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hops::testing::{at, early, report};

    /// Connections a second apart: `a` where the server asks, `.` where it does not, a blank where
    /// there is none.
    fn seen(answers: &str) -> Asking {
        let mut asking = Asking::default();
        for (second, answer) in (1..).zip(answers.chars()) {
            let report = match answer {
                'a' => report(second, Security::Mtls),
                '.' => report(second, Security::Tls),
                _ => continue,
            };
            asking.record(&report, report.decided_at);
        }
        asking
    }

    #[test]
    fn a_server_that_asks_on_some_connections_has_not_begun_to_ask() {
        let busy = ".".repeat(70) + &"a".repeat(70);
        let rare = "a".repeat(40) + "." + &"a".repeat(200);
        for (name, answers, has_begun) in [
            ("mended", "aaaa....aaaa", true),
            ("mended, never seen good before", "....aaaa", true),
            ("mended for the second time", "aaaa....aaaaaaaa....aaaa", true),
            ("after a long time", &*busy, true),
            ("with pauses", ". .  . .  a  a a    a", true),
            ("it never asked", "........", false),
            ("it always asked", "aaaaaaaa", false),
            ("not for long enough", "aaaa....aaa", false),
            ("an incident that is too short to tell", "aaaa...aaaaaaaa", false),
            ("one of many machines does not ask", &*rare, false),
            ("two machines take turns", "a.a.a.a.aaaa", false),
            ("in short runs", "aa..a...aa.aa....aaaa", false),
            ("it stops again", "....aaaa.", false),
            ("it stops again, and asks", "....aaaa.aaaa", false),
        ] {
            let now = Timestamp(u64::try_from(answers.len()).unwrap() * 1_000_000_000);
            assert_eq!(seen(answers).has_begun(now, Duration::from_hours(2)), has_begun, "{name}");
        }
    }

    #[test]
    fn every_name_counts() {
        let named = |number, security, name: &str| {
            let mut report = report(number, security);
            report.sni = Some(name.into());
            report
        };
        for (name, mended, has_begun) in
            [("both", ["a", "b"].as_slice(), true), ("one of two", &["a"], false)]
        {
            let mut asking = Asking::default();
            for second in 1..=5 {
                for name in ["a", "b"] {
                    asking.record(&named(second, Security::Tls, name), at(5.0).monotonic);
                }
            }
            for second in 6..=10 {
                for name in mended {
                    asking.record(&named(second, Security::Mtls, name), at(10.0).monotonic);
                }
            }
            let now = at(20.0).monotonic;
            assert_eq!(asking.has_begun(now, Duration::from_hours(2)), has_begun, "{name}");
            let kept = serde_json::to_string(&asking.keep(now)).unwrap();
            let kept: KeptAsking = serde_json::from_str(&kept).unwrap();
            let restored = kept.restored(at(3.0).monotonic);
            let later = at(4.0).monotonic;
            assert_eq!(restored.has_begun(later, Duration::from_hours(2)), has_begun, "{name}");
        }
    }

    #[test]
    fn names_without_end_prove_nothing_where_it_did_not_ask() {
        let (asks, silent) = (Security::Mtls, Security::Tls);
        for (name, before, during, after, has_begun) in [
            ("a few", 0, 18, 18, true),
            ("one of them is not mended", 0, 18, 17, false),
            ("many that it always asked", 100, 18, 18, true),
            ("more than are followed", 0, 40, 40, false),
        ] {
            let mut asking = Asking::default();
            let mut second = 0;
            let mut ask = |asking: &mut Asking, names: usize, security, times| {
                for _ in 0..times {
                    second += 1;
                    for number in 0..names {
                        let mut report = report(second, security);
                        report.sni = Some(number.to_string().into());
                        asking.record(&report, report.decided_at);
                    }
                }
            };
            ask(&mut asking, before, asks, 1);
            ask(&mut asking, during, silent, 5);
            ask(&mut asking, after, asks, 5);
            let now = at(20.0).monotonic;
            assert_eq!(asking.has_begun(now, Duration::from_hours(2)), has_begun, "{name}");
        }
    }

    #[test]
    fn what_is_resumed_or_from_before_the_turn_says_nothing() {
        let mut asking = seen("....aaaa");
        let mut resumed = report(9, Security::Tls);
        resumed.resumed = Some(true);
        for report in [resumed, report(2, Security::Tls), early(report(3, Security::Tls))] {
            asking.record(&report, at(9.0).monotonic);
            assert!(asking.has_begun(at(9.0).monotonic, Duration::from_hours(2)));
        }
    }

    /// A slow answer holds a connection's last report back.
    #[test]
    fn one_of_after_the_turn_counts_however_late_it_is_heard_of() {
        for (name, bad) in [
            ("its last report", report(6, Security::Tls)),
            ("before its last report", early(report(9, Security::Tls))),
        ] {
            let mut asking = seen("....aaaa");
            for report in [bad, report(10, Security::Mtls), report(11, Security::Mtls)] {
                asking.record(&report, at(11.0).monotonic);
                let has_begun = asking.has_begun(at(11.0).monotonic, Duration::from_hours(2));
                assert!(!has_begun, "{name}");
            }
        }
    }
}

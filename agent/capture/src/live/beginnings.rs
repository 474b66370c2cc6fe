//! When the processes began that open connections: what one that began under the watch can resume was
//! seen to begin.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use hopsight_core::model::{Descent, Event, Origin, Timestamp};
use hopsight_system::{clock::monotonic_now, process::Stat};

use super::descent::{Lives, Openers};

/// How long a process id is taken for the same process.
const FRESH: Duration = Duration::from_secs(10);

/// Most processes that are remembered.
const MAX_PROCESSES: usize = 65_536;

/// Tells of processes once, before their first connection.
#[derive(Debug)]
pub(super) struct Beginnings<L> {
    lives: L,
    openers: Openers,
    /// Since when processes are watched.
    since: Timestamp,
    /// When those began of which it was told, or may not be (clock ticks after boot).
    known: HashMap<u32, u64>,
    /// Those that were looked at since `fresh_at`.
    looked_at: HashSet<u32>,
    fresh_at: Instant,
}

impl<L: Lives> Beginnings<L> {
    /// Of processes that are watched from now on.
    pub(super) fn from_now(lives: L) -> Self {
        Self {
            lives,
            openers: Openers::default(),
            since: monotonic_now(),
            known: HashMap::new(),
            looked_at: HashSet::new(),
            fresh_at: Instant::now(),
        }
    }

    /// A process was found that may have opened connections before it was watched.
    pub(super) fn found_late(&mut self, pid: u32) {
        if let Ok(stat) = Stat::read(pid) {
            self.note(pid, &stat, stat.began_at());
        }
    }

    /// It opened its first connection then, or later; answers whether that is news.
    fn note(&mut self, pid: u32, stat: &Stat, opened: Timestamp) -> bool {
        if self.known.len() >= MAX_PROCESSES {
            // Of all that run by now nothing is known any more.
            self.known.clear();
            self.since = monotonic_now();
            self.openers.clear(self.since);
        }
        let is_new = self.known.insert(pid, stat.start_ticks) != Some(stat.start_ticks);
        if is_new {
            self.openers.insert(pid, stat, &mut self.lives, opened);
        }
        is_new
    }

    /// The beginnings of processes that open connections in `events`, if they were watched from it on.
    pub(super) fn of(&mut self, events: &[Event]) -> Vec<Event> {
        if self.fresh_at.elapsed() > FRESH || self.looked_at.len() >= MAX_PROCESSES {
            self.looked_at.clear();
            self.fresh_at = Instant::now();
            self.openers.forget_ended(&self.lives);
        }
        let opened = events.iter().filter_map(|event| match event {
            Event::Opened { origin: Origin::Process(process), at, .. } => Some((process.pid, *at)),
            _ => None,
        });
        let mut beginnings = Vec::new();
        for (pid, opened_at) in opened {
            // Once one has ended, another may have its number.
            let is_fresh = !self.looked_at.insert(pid);
            if is_fresh && self.lives.noted(pid).is_some_and(|life| life.ended.is_none()) {
                continue;
            }
            let Ok(stat) = Stat::read(pid) else {
                beginnings.extend(self.gone(pid, opened_at));
                continue;
            };
            let at = stat.began_at();
            let had_another = self.known.contains_key(&pid);
            if !self.note(pid, &stat, opened_at) {
                continue;
            }
            if self.since <= at && at <= opened_at {
                let descent = self.openers.descent(pid, &stat, &self.lives, self.since);
                beginnings.push(Event::Began { pid, descent, at });
            } else if had_another {
                // Later than its connection, it is not who opened that: both are one to who goes by numbers.
                beginnings.push(Event::Began { pid, descent: Descent::Unknown, at });
            }
        }
        beginnings
    }

    /// One that is gone opened a connection then. Unless it is the one that was known by its number,
    /// nobody knows what it had.
    fn gone(&mut self, pid: u32, opened_at: Timestamp) -> Option<Event> {
        self.known.get(&pid)?;
        let ended = self.lives.noted(pid).map(|life| life.ended);
        if ended.is_some_and(|ended| ended.is_none_or(|ended| opened_at <= ended)) {
            return None;
        }
        self.known.remove(&pid);
        Some(Event::Began { pid, descent: Descent::Unknown, at: opened_at })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::live::descent::Life;
    use hopsight_core::model::{Beginning, ConnectionId, Process};

    /// Nothing is known of them.
    #[derive(Clone, Copy, Default)]
    struct Unseen(Life);

    impl Lives for Unseen {
        fn executed_at(&self, _pid: u32) -> Option<Timestamp> {
            None
        }

        fn forked_at(&self, _pid: u32) -> Option<Timestamp> {
            None
        }

        fn follow(&mut self, _pid: u32) {}

        fn noted(&self, _pid: u32) -> Option<Life> {
            Some(self.0)
        }
    }

    fn opened(pid: u32, at: Timestamp) -> Event {
        Event::Opened {
            connection: ConnectionId(1),
            at,
            origin: Origin::Process(Process { pid, name: "nginx".into(), cgroup_id: 1 }),
            destination: ([127, 0, 0, 1], 443).into(),
            beginning: Beginning::Seen,
        }
    }

    #[test]
    fn only_what_began_under_the_watch_is_told_and_once() {
        let mut beginnings = Beginnings::from_now(Unseen::default());
        // The kernel tells beginnings to the clock tick.
        let tick = Duration::from_millis(20);
        std::thread::sleep(tick);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let began = monotonic_now();
        let pid = child.id();
        let ours = opened(std::process::id(), began);
        assert_eq!(beginnings.of(&[ours]), [], "older than the watch");
        let told = beginnings.of(&[opened(pid, monotonic_now()), opened(pid, monotonic_now())]);
        let [Event::Began { pid: of, ref descent, at }] = told[..] else { panic!("{told:?}") };
        assert_eq!((of, descent), (pid, &Descent::default()));
        assert!(at <= began && began.since(at) < Duration::from_mins(1), "{at:?}, {began:?}");
        assert_eq!(beginnings.of(&[opened(pid, monotonic_now())]), [], "told before");
        beginnings.looked_at.clear();
        assert_eq!(beginnings.of(&[opened(pid, monotonic_now())]), [], "looked at again");

        let mut late =
            Beginnings { since: Timestamp(0), ..Beginnings::from_now(Unseen::default()) };
        late.found_late(pid);
        assert_eq!(
            late.of(&[opened(pid, monotonic_now())]),
            [],
            "not watched from its beginning on"
        );
        drop(child.stdin.take());
        child.wait().unwrap();

        let mut beginnings =
            Beginnings { since: Timestamp(0), ..Beginnings::from_now(Unseen::default()) };
        let before = opened(std::process::id(), Timestamp(1));
        assert_eq!(beginnings.of(&[before]), [], "another had its number");
    }

    #[test]
    fn a_number_that_is_used_again_is_of_another_process() {
        let spawned = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut beginnings =
            Beginnings { since: Timestamp(0), ..Beginnings::from_now(Unseen::default()) };
        let mut child = spawned();
        let pid = child.id();
        assert_eq!(beginnings.of(&[opened(pid, monotonic_now())]).len(), 1);
        let told = |of: Vec<Event>| match of[..] {
            [] => None,
            [Event::Began { pid: of, ref descent, .. }] if of == pid => Some(descent.clone()),
            _ => panic!("{of:?}"),
        };
        // As if another one had begun with its number since.
        *beginnings.known.get_mut(&pid).unwrap() += 1;
        assert_eq!(told(beginnings.of(&[opened(pid, monotonic_now())])), None, "nothing ended");
        beginnings.lives.0.ended = Some(monotonic_now());
        assert!(told(beginnings.of(&[opened(pid, monotonic_now())])).is_some(), "within moments");
        *beginnings.known.get_mut(&pid).unwrap() += 1;
        let early = told(beginnings.of(&[opened(pid, Timestamp(1))]));
        assert_eq!(early, Some(Descent::Unknown), "the connection is one of who had it before");

        drop(child.stdin.take());
        child.wait().unwrap();
        let ended = monotonic_now();
        beginnings.lives.0.ended = Some(ended);
        assert_eq!(told(beginnings.of(&[opened(pid, ended)])), None, "its own, looked at late");
        let after = opened(pid, Timestamp(ended.0 + 1));
        let other = told(beginnings.of(std::slice::from_ref(&after)));
        assert_eq!(other, Some(Descent::Unknown), "one that is gone, too");
        assert_eq!(told(beginnings.of(&[after])), None, "told before");
    }
}

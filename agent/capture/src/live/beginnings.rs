//! When the processes began that open connections: what one that began under the watch can resume was
//! seen to begin.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use hopsight_core::model::{Event, Origin, Timestamp};
use hopsight_system::{clock::monotonic_now, process::Stat};

/// How long a process id is taken for the same process.
const FRESH: Duration = Duration::from_secs(10);

/// Most processes that are remembered.
const MAX_PROCESSES: usize = 65_536;

/// Tells of processes once, before their first connection.
#[derive(Debug)]
pub(super) struct Beginnings {
    /// Since when processes are watched.
    since: Timestamp,
    /// When those began of which it was told, or may not be (clock ticks after boot).
    known: HashMap<u32, u64>,
    /// Those that were looked at since `fresh_at`.
    looked_at: HashSet<u32>,
    fresh_at: Instant,
}

impl Beginnings {
    /// Of processes that are watched from now on.
    pub(super) fn from_now() -> Self {
        Self {
            since: monotonic_now(),
            known: HashMap::new(),
            looked_at: HashSet::new(),
            fresh_at: Instant::now(),
        }
    }

    /// A process was found that may have opened connections before it was watched.
    pub(super) fn found_late(&mut self, pid: u32) {
        if let Ok(stat) = Stat::read(pid) {
            self.note(pid, stat);
        }
    }

    /// Whether that is news.
    fn note(&mut self, pid: u32, stat: Stat) -> bool {
        if self.known.len() >= MAX_PROCESSES {
            // Of all that run by now nothing is known any more.
            self.known.clear();
            self.since = monotonic_now();
        }
        self.known.insert(pid, stat.start_ticks) != Some(stat.start_ticks)
    }

    /// The beginnings of processes that open connections in `events`, if they were watched from it on.
    pub(super) fn of(&mut self, events: &[Event]) -> Vec<Event> {
        if self.fresh_at.elapsed() > FRESH || self.looked_at.len() >= MAX_PROCESSES {
            self.looked_at.clear();
            self.fresh_at = Instant::now();
        }
        let opened = events.iter().filter_map(|event| match event {
            Event::Opened { origin: Origin::Process(process), at, .. } => Some((process.pid, *at)),
            _ => None,
        });
        let mut beginnings = Vec::new();
        for (pid, opened_at) in opened {
            if !self.looked_at.insert(pid) {
                continue;
            }
            // One that is gone stays a process of which that is not known.
            let Ok(stat) = Stat::read(pid) else { continue };
            let at = stat.began_at();
            // Later than its connection, it is another one.
            if self.note(pid, stat) && self.since <= at && at <= opened_at {
                beginnings.push(Event::Began { pid, parent: stat.parent, at });
            }
        }
        beginnings
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use hopsight_core::model::{Beginning, ConnectionId, Process};

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
        let mut beginnings = Beginnings::from_now();
        // The kernel tells beginnings to the clock tick.
        let tick = Duration::from_millis(20);
        std::thread::sleep(tick);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let began = monotonic_now();
        let pid = child.id();
        let ours = opened(std::process::id(), began);
        assert_eq!(beginnings.of(&[ours]), [], "older than the watch");
        let told = beginnings.of(&[opened(pid, monotonic_now()), opened(pid, monotonic_now())]);
        let [Event::Began { pid: of, parent, at }] = told[..] else { panic!("{told:?}") };
        assert_eq!((of, parent), (pid, std::process::id()));
        assert!(at <= began && began.since(at) < Duration::from_mins(1), "{at:?}, {began:?}");
        assert_eq!(beginnings.of(&[opened(pid, monotonic_now())]), [], "told before");
        beginnings.looked_at.clear();
        assert_eq!(beginnings.of(&[opened(pid, monotonic_now())]), [], "looked at again");

        let mut late = Beginnings { since: Timestamp(0), ..Beginnings::from_now() };
        late.found_late(pid);
        assert_eq!(
            late.of(&[opened(pid, monotonic_now())]),
            [],
            "not watched from its beginning on"
        );
        drop(child.stdin.take());
        child.wait().unwrap();

        let mut beginnings = Beginnings { since: Timestamp(0), ..Beginnings::from_now() };
        let before = opened(std::process::id(), Timestamp(1));
        assert_eq!(beginnings.of(&[before]), [], "another had its number");
    }
}

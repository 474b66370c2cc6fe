//! Which processes may hold each other's sessions.
//!
//! The workers of one proxy may share their sessions, those of two generations of it do not: a reload
//! or a restart begins with none. Processes of a program that began together are one generation. One
//! that begins among others that go on belongs to these (a worker was started in place of another), and
//! one whose parent opens connections itself may have inherited its sessions. Where a generation goes on
//! after the next has begun, these were none: a worker in place of another, which was busy at once, or
//! two proxies of one program. Nothing but a name answers for the sessions of their processes then.
//!
//! Only processes that began when somebody watched already have an [`Owner::Generation`]: all that
//! they can resume was seen to begin. Others stand for themselves.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::bounded::Bounded;
use crate::model::{Process, Timestamp};

/// How far apart the processes of one generation begin, and how long the last one goes on to open
/// connections after the next has begun.
const TOGETHER: Duration = Duration::from_secs(1);

/// How far apart two readings may be of when one process began: a clock tick, and two clocks that are
/// read one after the other.
const ONE_BEGINNING: Duration = Duration::from_millis(100);

/// Who a session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A process: two proxies on one machine may treat the same upstream differently.
    Process(u32),
    /// Processes that may share their sessions, all of which were seen to begin; see [`Owners`].
    Generation(u64),
    /// A process of generations that were none, or that may have inherited sessions: whose it may have
    /// is not known.
    Mixed(u32),
    /// In a packet capture, the client's address.
    Address(IpAddr),
}

impl Owner {
    /// Whether all sessions that it may have were seen to begin.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Generation(_))
    }
}

/// A program with its libraries, in as many processes as there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    name: Arc<str>,
    cgroup_id: u64,
}

impl Program {
    /// What this process runs.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        Self { name: process.name.clone(), cgroup_id: process.cgroup_id }
    }
}

/// A process that began when somebody watched.
#[derive(Debug)]
struct Member {
    began: Timestamp,
    parent: u32,
    /// Once it has opened a connection.
    owner: Option<Owner>,
}

#[derive(Debug)]
struct Generation {
    number: u64,
    began: Timestamp,
    /// When one of its processes last opened a connection.
    active: Timestamp,
}

/// A program, in as many processes as there are.
#[derive(Debug, Default)]
struct Instance {
    newest: Option<Generation>,
    /// When a process of no generation last opened a connection.
    others_active: Option<Timestamp>,
    /// Its newest generation was none.
    is_mixed: bool,
}

/// Whose the sessions of each process are.
#[derive(Debug)]
pub struct Owners {
    members: Bounded<u32, Member>,
    instances: Bounded<Program, Instance>,
    /// Processes of no generation that have opened connections.
    others: Bounded<u32, ()>,
    /// Generations that were none.
    mixed: Bounded<u64, ()>,
    generations: u64,
}

impl Owners {
    /// Remembers at most `max` processes, and as many programs.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            members: Bounded::new(max),
            instances: Bounded::new(max),
            others: Bounded::new(max),
            mixed: Bounded::new(max),
            generations: 0,
        }
    }

    /// A process began; answers whether that is news. Said again, it changes nothing, unless another
    /// one has its number now.
    pub fn began(&mut self, pid: u32, parent: u32, at: Timestamp) -> bool {
        let known = self.members.entries.get(&pid);
        let is_new = known.is_none_or(|known| apart(known.began, at) > ONE_BEGINNING);
        if is_new {
            self.members.insert(pid, Member { began: at, parent, owner: None });
            self.others.take(&pid);
        }
        is_new
    }

    /// A process opens a connection.
    pub fn opens(&mut self, process: &Process, at: Timestamp) {
        let member = self.members.entries.get(&process.pid);
        let first = member.filter(|member| member.owner.is_none());
        let began = first.map(|member| (member.began, member.parent));
        let owner = began.map(|(began, parent)| {
            self.inherited(process, parent).unwrap_or_else(|| self.assign(process, began, at))
        });
        if let (Some(owner), Some(member)) = (owner, self.members.entries.get_mut(&process.pid)) {
            member.owner = Some(owner);
        }
        let owner = self.of(process.pid);
        if !owner.is_whole() {
            self.others.insert(process.pid, ());
        }
        let instance = self.instances.entry(Program::of(process));
        match (owner, &mut instance.newest) {
            (Owner::Generation(own), Some(newest)) if own == newest.number => newest.active = at,
            (Owner::Generation(before), Some(newest)) => {
                // It may open the last of its connections.
                if at.since(newest.began) > TOGETHER {
                    instance.is_mixed = true;
                    self.mixed.insert(before, ());
                    self.mixed.insert(newest.number, ());
                }
            }
            _ => instance.others_active = Some(at),
        }
    }

    /// Whose it is by its parent, where that has opened connections itself.
    fn inherited(&self, process: &Process, parent: u32) -> Option<Owner> {
        let of_parent = self.members.entries.get(&parent).and_then(|member| member.owner);
        let is_other = self.others.entries.contains_key(&parent);
        match of_parent {
            Some(owner) if owner.is_whole() => Some(owner),
            of_parent => (is_other || of_parent.is_some()).then_some(Owner::Mixed(process.pid)),
        }
    }

    /// Whose it is that began then and opens its first connection.
    fn assign(&mut self, process: &Process, began: Timestamp, at: Timestamp) -> Owner {
        let instance = self.instances.entry(Program::of(process));
        let goes_on = |active: Timestamp| active.since(began) > TOGETHER;
        if let Some(newest) = &instance.newest
            && (apart(began, newest.began) <= TOGETHER || goes_on(newest.active))
        {
            return Owner::Generation(newest.number);
        }
        if instance.others_active.is_some_and(goes_on) {
            let pid = process.pid;
            return if instance.is_mixed { Owner::Mixed(pid) } else { Owner::Process(pid) };
        }
        instance.is_mixed = false;
        self.generations += 1;
        let number = self.generations;
        instance.newest = Some(Generation { number, began, active: at });
        Owner::Generation(number)
    }

    /// Whose the sessions of this process are.
    #[must_use]
    pub fn of(&self, pid: u32) -> Owner {
        let owner = self.members.entries.get(&pid).and_then(|member| member.owner);
        match owner {
            Some(Owner::Generation(number)) if self.mixed.entries.contains_key(&number) => {
                Owner::Mixed(pid)
            }
            owner => owner.unwrap_or(Owner::Process(pid)),
        }
    }
}

/// How far two moments are apart, whichever is the later.
fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, in tenths of a second.
    enum Step {
        Began(u32, u64),
        /// By the parent.
        Forked(u32, u32, u64),
        Opens(u32, u64),
    }

    fn process(pid: u32) -> Process {
        Process { pid, name: "nginx".into(), cgroup_id: 1 }
    }

    fn at(tenths: u64) -> Timestamp {
        Timestamp(tenths * 100_000_000)
    }

    #[test]
    fn who_shares_sessions() {
        use Owner::{Generation as G, Mixed as M, Process as P};
        use Step::{Began, Forked, Opens};
        type Case<'c> = (&'c str, &'c [Step], &'c [(u32, Owner)]);
        let cases: &[Case<'_>] = &[
            ("older than the watch", &[Opens(1, 5), Opens(2, 5)], &[(1, P(1)), (2, P(2))]),
            ("not seen to open anything", &[Began(1, 5)], &[(1, P(1))]),
            (
                "workers of one generation, whoever speaks first",
                &[Began(2, 11), Opens(2, 50), Began(1, 10), Opens(1, 90)],
                &[(1, G(1)), (2, G(1))],
            ),
            (
                "a reload",
                &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(1, 65), Opens(2, 80)],
                &[(1, G(1)), (2, G(2))],
            ),
            (
                "a reload among those that nobody saw begin",
                &[Opens(1, 50), Began(2, 60), Opens(1, 65), Opens(2, 80), Opens(1, 99)],
                &[(1, P(1)), (2, G(1))],
            ),
            (
                "a worker in place of another",
                &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(1, 75), Opens(2, 80)],
                &[(1, G(1)), (2, G(1))],
            ),
            (
                "the same among those that nobody saw begin",
                &[Opens(1, 50), Began(2, 60), Opens(1, 75), Opens(2, 80)],
                &[(1, P(1)), (2, P(2))],
            ),
            (
                "a worker in place of another that is busy at once",
                &[Began(1, 10), Opens(1, 50), Began(2, 60), Opens(2, 61), Opens(1, 75)],
                &[(1, M(1)), (2, M(2))],
            ),
            (
                "and another one after that",
                &[
                    Began(1, 10),
                    Opens(1, 50),
                    Began(2, 60),
                    Opens(2, 61),
                    Opens(1, 75),
                    Began(3, 90),
                    Opens(1, 110),
                    Opens(3, 111),
                ],
                &[(1, M(1)), (3, M(3))],
            ),
            (
                "a reload after that",
                &[
                    Began(1, 10),
                    Opens(1, 50),
                    Began(2, 60),
                    Opens(2, 61),
                    Opens(1, 75),
                    Began(3, 90),
                    Opens(3, 91),
                ],
                &[(3, G(3))],
            ),
            (
                "a child of one that opens connections",
                &[Began(1, 10), Opens(1, 20), Forked(2, 1, 60), Opens(2, 70)],
                &[(1, G(1)), (2, G(1))],
            ),
            (
                "a child of one that opened some before the watch",
                &[Opens(1, 20), Forked(2, 1, 60), Opens(2, 70)],
                &[(1, P(1)), (2, M(2))],
            ),
            (
                "a child of one that opens none",
                &[Began(1, 10), Forked(2, 1, 60), Opens(2, 70)],
                &[(2, G(1))],
            ),
            ("said twice", &[Began(1, 10), Opens(1, 50), Began(1, 10), Opens(1, 90)], &[(1, G(1))]),
            (
                "another with its number",
                &[Began(1, 10), Opens(1, 50), Began(1, 100), Opens(1, 101)],
                &[(1, G(2))],
            ),
        ];
        for (name, steps, expected) in cases {
            let mut owners = Owners::new(10);
            for step in *steps {
                match *step {
                    Began(pid, tenths) => drop(owners.began(pid, 0, at(tenths))),
                    Forked(pid, parent, tenths) => drop(owners.began(pid, parent, at(tenths))),
                    Opens(pid, tenths) => owners.opens(&process(pid), at(tenths)),
                }
            }
            for (pid, owner) in *expected {
                assert_eq!(owners.of(*pid), *owner, "{name}: {pid}");
            }
        }
    }

    #[test]
    fn programs_and_containers_stand_apart() {
        let mut owners = Owners::new(10);
        let processes = [("nginx", 1), ("haproxy", 1), ("nginx", 2)].map(|(name, cgroup_id)| {
            let pid = u32::try_from(cgroup_id).unwrap() * 10 + u32::from(name == "nginx");
            Process { pid, name: name.into(), cgroup_id }
        });
        for process in &processes {
            owners.began(process.pid, 0, at(10));
            owners.opens(process, at(20));
        }
        let owners = processes.map(|process| owners.of(process.pid));
        assert_eq!(owners, [1, 2, 3].map(Owner::Generation));
    }

    /// Two readings of one beginning differ by the time between two clocks.
    #[test]
    fn a_beginning_that_is_read_again_is_no_other() {
        let mut owners = Owners::new(10);
        assert!(owners.began(1, 0, at(10)));
        owners.opens(&process(1), at(20));
        let again = Timestamp(at(10).0 - 30_000_000);
        assert!(!owners.began(1, 0, again), "the same process");
        owners.opens(&process(1), at(300));
        assert_eq!(owners.of(1), Owner::Generation(1));
        assert!(owners.began(1, 0, at(40)), "another one");
    }
}

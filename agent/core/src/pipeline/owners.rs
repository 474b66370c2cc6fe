//! Which processes may hold each other's sessions.
//!
//! The workers of one proxy may share their sessions, those of two generations of it do not: a reload
//! or a restart begins with none. Processes of a program that began together are one generation. One
//! that begins among others that go on, or just after one has ended, belongs to these (a worker was started
//! in place of another), and one whose parent opens connections itself may have inherited its sessions.
//! Where a generation goes on after the next has begun, these were none: a worker in place of another, which was busy at once, or
//! two proxies of one program. The same goes for a generation beside which processes go on that nobody
//! saw begin. Nothing but a name answers for the sessions of their processes then, nor for those of a
//! process whose parents have ended, or that was forgotten to make room.
//!
//! Only processes that began when somebody watched already have an [`Owner::Generation`]: all that
//! they can resume was seen to begin. Others stand for themselves.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::bounded::Bounded;
use crate::model::{Descent, Process, Timestamp};

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
    descent: Descent,
    /// Once it has opened a connection, or where nothing but a name answers for it.
    owner: Option<Owner>,
    /// It has opened another connection since it was last about to be forgotten.
    is_in_use: bool,
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
    /// Processes of no generation that have opened connections, and whether they have again since they
    /// were last about to be forgotten.
    others: Bounded<u32, bool>,
    /// Generations that were none, and up to which they may be forgotten.
    mixed: Bounded<u64, ()>,
    forgot_mixed: u64,
    /// Processes were forgotten to make room, and whether programs were.
    forgot_processes: bool,
    forgot_programs: bool,
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
            forgot_mixed: 0,
            forgot_processes: false,
            forgot_programs: false,
            generations: 0,
        }
    }

    /// A process began; answers whether that is news. Said again, it changes nothing, unless another
    /// one has its number now.
    pub fn began(&mut self, pid: u32, descent: Descent, at: Timestamp) -> bool {
        let known = self.members.entries.get(&pid);
        let is_new = known.is_none_or(|known| apart(known.began, at) > ONE_BEGINNING);
        if is_new {
            let owner = (descent == Descent::Unknown).then_some(Owner::Mixed(pid));
            let in_use = |member: &mut Member| std::mem::take(&mut member.is_in_use);
            self.forgot_processes |= self.members.make_room_among(in_use);
            let member = Member { began: at, descent, owner, is_in_use: false };
            self.members.insert(pid, member);
            self.others.take(&pid);
        }
        is_new
    }

    /// A process opens a connection.
    pub fn opens(&mut self, process: &Process, at: Timestamp) {
        let pid = process.pid;
        if let Some(member) = self.members.entries.get_mut(&pid) {
            if member.owner.is_some() {
                member.is_in_use = true;
            } else {
                let (began, descent) = (member.began, std::mem::take(&mut member.descent));
                let owner = match descent {
                    Descent::From(parents) => self.inherited(pid, &parents),
                    Descent::InPlaceOf(other) => self.taken_over(process, other),
                    Descent::Unknown => Some(Owner::Mixed(pid)),
                };
                let owner = owner.unwrap_or_else(|| self.assign(process, began, at));
                if let Some(member) = self.members.entries.get_mut(&pid) {
                    member.owner = Some(owner);
                }
            }
        } else if let Some(is_in_use) = self.others.entries.get_mut(&pid) {
            *is_in_use = true;
        } else if !self.forgot_processes {
            self.forgot_processes |= self.others.make_room_among(std::mem::take);
            self.others.insert(pid, false);
        }
        let owner = self.of(pid);
        let instance = self.instances.entry(Program::of(process));
        match &mut instance.newest {
            Some(newest) if owner == Owner::Generation(newest.number) => newest.active = at,
            newest => {
                if !owner.is_whole() {
                    instance.others_active = Some(at);
                }
                // It may open the last of its connections.
                let goes_on = |newest: &&mut Generation| at.since(newest.began) > TOGETHER;
                if let Some(newest) = newest.as_mut().filter(goes_on) {
                    instance.is_mixed = true;
                    let number = newest.number;
                    self.mix(number);
                    if let Owner::Generation(before) = owner {
                        self.mix(before);
                    }
                }
            }
        }
    }

    /// A generation was none.
    fn mix(&mut self, number: u64) {
        let numbers = &self.mixed.entries;
        if !numbers.contains_key(&number) && self.mixed.is_full() {
            self.forgot_mixed = self.generations;
        }
        self.mixed.insert(number, ());
    }

    /// Whose it is by those it descends from.
    fn inherited(&self, pid: u32, parents: &[u32]) -> Option<Owner> {
        let of_parent = self.members.entries.get(parents.first()?).and_then(|member| member.owner);
        Some(of_parent.filter(|owner| owner.is_whole()).unwrap_or(Owner::Mixed(pid)))
    }

    /// Whose it is that goes on in place of another one, where that is of the newest generation: else one
    /// has begun since, or it is not known what the other one shared.
    fn taken_over(&self, process: &Process, other: u32) -> Option<Owner> {
        let newest = self.instances.entries.get(&Program::of(process))?.newest.as_ref()?;
        let owner = self.members.entries.get(&other)?.owner?;
        (owner == Owner::Generation(newest.number)).then_some(owner)
    }

    /// Whose it is that began then and opens its first connection.
    fn assign(&mut self, process: &Process, began: Timestamp, at: Timestamp) -> Owner {
        let program = Program::of(process);
        if !self.instances.entries.contains_key(&program) {
            self.forgot_programs |= self.instances.is_full();
            if self.forgot_programs {
                return Owner::Mixed(process.pid);
            }
        }
        let instance = self.instances.entry(program);
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
        let Some(member) = self.members.entries.get(&pid) else {
            let is_forgotten = self.forgot_processes && !self.others.entries.contains_key(&pid);
            return if is_forgotten { Owner::Mixed(pid) } else { Owner::Process(pid) };
        };
        match member.owner {
            Some(Owner::Generation(number)) if self.is_mixed(number) => Owner::Mixed(pid),
            owner => owner.unwrap_or(Owner::Process(pid)),
        }
    }

    fn is_mixed(&self, number: u64) -> bool {
        number <= self.forgot_mixed || self.mixed.entries.contains_key(&number)
    }
}

/// How far two moments are apart, whichever is the later.
fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests;

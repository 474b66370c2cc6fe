//! Whose memory a process began with: a program that forks goes on with what its parent had, sessions too,
//! and one that is executed begins with nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, btree_map::Entry},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
};
use hopsight_core::model::{Descent, Timestamp};
use hopsight_system::{
    clock::monotonic_now,
    process::{ProcessKey, Stat},
};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::loader;

/// Most parents that are followed.
const MAX_PARENTS: usize = 16;

/// How far apart two readings may be of one moment: a clock tick, and two clocks that are read one after
/// the other.
const TICK: Duration = Duration::from_millis(100);

/// Most executables of which it is remembered until when processes of them ran.
const MAX_EXECUTABLES: usize = 4_096;

/// What the kernel knows of the lives of processes.
pub(super) trait Lives {
    /// When it last began to run another program, if that was seen.
    fn executed_at(&self, pid: u32) -> Option<Timestamp>;
    /// When it last made a process, or a thread, if that was seen.
    fn forked_at(&self, pid: u32) -> Option<Timestamp>;
    /// Notes from now on what becomes of it.
    fn follow(&mut self, pid: u32);
    /// What was noted since; `None` where it was not followed, or was forgotten.
    fn noted(&self, pid: u32) -> Option<Life>;
}

/// What became of a process that is followed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// When it last made a process, or a thread, since processes are watched.
    pub forked: Option<Timestamp>,
    /// When its main thread ended; others may go on.
    pub ended: Option<Timestamp>,
}

/// [`Lives`] as the programs of the kernel note them.
pub(super) struct Noted {
    executed: BpfHashMap<MapData, u32, u64>,
    forked: BpfHashMap<MapData, u32, u64>,
    openers: BpfHashMap<MapData, u32, u64>,
}

impl Noted {
    /// Takes their maps, which nobody else wants.
    ///
    /// # Errors
    /// When they are not there.
    pub(super) fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            executed: loader::take_map(ebpf, "EXECUTED")?,
            forked: loader::take_map(ebpf, "FORKED")?,
            openers: loader::take_map(ebpf, "OPENERS")?,
        })
    }
}

impl Lives for Noted {
    fn executed_at(&self, pid: u32) -> Option<Timestamp> {
        self.executed.get(&pid, 0).ok().map(Timestamp)
    }

    fn forked_at(&self, pid: u32) -> Option<Timestamp> {
        self.forked.get(&pid, 0).ok().map(Timestamp)
    }

    fn follow(&mut self, pid: u32) {
        // Of one that is not there nothing is known, and it is looked at instead.
        let _ = self.openers.insert(pid, 0, 0);
    }

    fn noted(&self, pid: u32) -> Option<Life> {
        let ended = self.openers.get(&pid, 0).ok()?;
        Some(Life { forked: self.forked_at(pid), ended: (ended > 0).then_some(Timestamp(ended)) })
    }
}

/// A file that is executed: its file system and its number there. It is the same of whoever goes on with
/// it, wherever the file was moved to or what has its place by now.
type Executable = (u32, u32, u64);

/// A process that has opened connections.
#[derive(Clone, Copy, Debug)]
struct Opener {
    key: ProcessKey,
    parent: u32,
    began: Timestamp,
    /// When it first opened one, at the earliest.
    opened: Timestamp,
    /// `None` where it cannot be read: it may be any.
    executable: Option<Executable>,
    /// It was made in place of another.
    is_in_place: bool,
}

/// Until when a process could hand sessions down.
#[derive(Clone, Copy, Debug, Default)]
struct Until {
    /// It ran.
    ran: Timestamp,
    /// It ran, if it has made others since it opened a connection.
    made: Timestamp,
}

/// How far apart those begin that are made together.
const TOGETHER: Duration = Duration::from_millis(300);

/// How much later than `/proc` tells a process may have begun.
const ROUNDED: Duration = Duration::from_millis(20);

/// How long after one has ended a process begins in its place, at most.
const IN_PLACE: Duration = Duration::from_secs(1);

/// Most children of a parent, and most parents, of which it is remembered that they have ended.
const MAX_ENDED: usize = 16;
const MAX_ENDED_OF: usize = 4_096;

/// A moment that has not come.
const NEVER: Timestamp = Timestamp(u64::MAX);

impl Opener {
    fn until(&self, lives: &impl Lives) -> Until {
        let noted = lives.noted(self.key.pid);
        // Its main thread may have ended before the others.
        let has_ended = noted.is_none_or(|life| life.ended.is_some()) && !self.key.is_running();
        let now = Some(monotonic_now());
        let Life { forked, ended } = noted.unwrap_or(Life { forked: now, ended: now });
        let ran = ended.max(forked).filter(|_| has_ended).unwrap_or(NEVER);
        let has_forked = forked.is_some_and(|forked| forked >= self.opened);
        Until { ran, made: if has_forked { ran } else { Timestamp::default() } }
    }
}

/// The processes that have opened connections, and may have handed sessions down.
#[derive(Debug, Default)]
pub(super) struct Openers {
    known: HashMap<u32, Opener>,
    /// The latest of those of an executable and a parent that have ended.
    gone: BTreeMap<(Executable, u32), Until>,
    /// The same of those whose executable is not known, or was forgotten.
    gone_of_any: Until,
    /// The last that have ended, by their parent, and when they did.
    ended: HashMap<u32, VecDeque<(Opener, Timestamp)>>,
}

impl Openers {
    /// This process opened its first connection at `since`, or later.
    pub(super) fn insert(
        &mut self,
        pid: u32,
        stat: &Stat,
        lives: &mut impl Lives,
        since: Timestamp,
    ) {
        // Another had its number.
        self.forget(pid, lives);
        lives.follow(pid);
        let opener = Opener {
            key: ProcessKey { pid, start_ticks: stat.start_ticks },
            parent: stat.parent,
            began: stat.began_at(),
            opened: since,
            executable: executable(pid),
            is_in_place: false,
        };
        // It may have ended before that was noted.
        let is_running = opener.key.is_running();
        self.known.insert(pid, opener);
        if !is_running {
            self.forget(pid, lives);
        }
    }

    /// Forgets those that have ended, but for what they may have made.
    pub(super) fn forget_ended(&mut self, lives: &impl Lives) {
        let ended = |opener: &&Opener| opener.until(lives).ran != NEVER;
        let ended: Vec<u32> =
            self.known.values().filter(ended).map(|opener| opener.key.pid).collect();
        for pid in ended {
            self.forget(pid, lives);
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self, now: Timestamp) {
        self.known.clear();
        self.gone.clear();
        self.ended.clear();
        self.gone_of_any = Until { ran: now, made: now };
    }

    fn forget(&mut self, pid: u32, lives: &impl Lives) {
        let Some(opener) = self.known.remove(&pid) else { return };
        let until = opener.until(lives);
        // Another has its number: it has ended, though that was not seen.
        let now = monotonic_now();
        if self.ended.len() >= MAX_ENDED_OF {
            // It matters for moments.
            self.ended.clear();
        }
        let ended = self.ended.entry(opener.parent).or_default();
        ended.push_back((opener, until.ran.min(now)));
        if ended.len() > MAX_ENDED {
            ended.pop_front();
        }
        let is_full = self.gone.len() >= MAX_EXECUTABLES;
        let of = opener.executable.map(|executable| (executable, opener.parent));
        let known = match of.map(|of| self.gone.entry(of)) {
            Some(Entry::Occupied(known)) => known.into_mut(),
            Some(Entry::Vacant(free)) if !is_full => free.insert(Until::default()),
            _ => &mut self.gone_of_any,
        };
        known.ran = until.ran.min(now).max(known.ran);
        known.made = until.made.min(now).max(known.made);
    }

    /// Whose memory this process began with, which began while somebody watched, since `since`.
    pub(super) fn descent(
        &mut self,
        pid: u32,
        stat: &Stat,
        lives: &impl Lives,
        since: Timestamp,
    ) -> Descent {
        let descent = self.inherited(pid, stat, lives, since);
        if descent != Descent::default() {
            return descent;
        }
        let Some(other) = self.before_it(pid, stat, lives) else { return descent };
        if let Some(known) = self.known.get_mut(&pid) {
            known.is_in_place = true;
        }
        Descent::InPlaceOf(other)
    }

    /// Who ended just before its parent made this process, which is what the parent is itself.
    fn before_it(&self, pid: u32, stat: &Stat, lives: &impl Lives) -> Option<u32> {
        let (began, parent) = (stat.began_at(), stat.parent);
        let is_executed = lives.executed_at(pid).is_some_and(|at| later(at, TICK) >= began);
        if is_executed || parent <= 1 {
            return None;
        }
        let children = self.known.values().filter(|opener| opener.parent == parent);
        let children = children.map(|opener| (*opener, opener.until(lives).ran));
        let ended = self.ended.get(&parent).into_iter().flatten().copied();
        let is_older = |(other, _): &(Opener, _)| other.key.pid != pid && other.began <= began;
        let others: Vec<_> = children.chain(ended).filter(is_older).collect();
        // As exactly as can be told: at a reload the other one ends just after that.
        let made = lives.forked_at(parent).filter(|at| began <= *at && *at <= later(began, TICK));
        let made = made.unwrap_or(later(began, ROUNDED));
        let runs = lives.executed_at(parent);
        let is_in_place = |(other, ended): &&(Opener, Timestamp)| {
            // Its parent shares nothing with those that it made before it ran its program again.
            let is_of_before = runs.is_some_and(|runs| runs > later(other.began, ROUNDED));
            let is_just_before = *ended <= made && began.since(*ended) <= IN_PLACE;
            // Nor with those from before it made others of itself, as at a reload.
            let is_of_newer = |(one, _): &(Opener, _)| {
                !one.is_in_place && one.began > later(other.began, TOGETHER)
            };
            !is_of_before && is_just_before && !others.iter().any(is_of_newer)
        };
        let found = others.iter().filter(is_in_place).max_by_key(|(_, ended)| *ended);
        found.map(|(other, _)| other.key.pid)
    }

    /// The parents whose memory it began with.
    fn inherited(&self, pid: u32, stat: &Stat, lives: &impl Lives, since: Timestamp) -> Descent {
        let own = executable(pid);
        let (mut pid, mut began, mut parent) = (pid, stat.began_at(), stat.parent);
        let mut parents = Vec::new();
        // When its child began, of one of the parents.
        let mut made: Option<Timestamp> = None;
        for _ in 0..MAX_PARENTS {
            let may_be_of = |born, link| self.may_have_made((pid, own), born, lives, link);
            let executed = lives.executed_at(pid).filter(|at| later(*at, TICK) >= began);
            let executed_after = |made| executed.is_some_and(|at| later(at, TICK) > made);
            if made.is_some_and(executed_after) {
                // Its child may be of what it ran before.
                return of(parents, may_be_of(began, Link::Executed));
            }
            // Of one that is older than the watch nobody knows what it had before.
            if executed.is_some() || began < since {
                return Descent::From(parents);
            }
            let above = Stat::read(parent).ok().filter(|_| parent > 1);
            let Some(above) = above.filter(|_| own.is_some() && executable(parent) == own) else {
                // It was executed before it had this name, or this is not who made it.
                return of(parents, may_be_of(began, Link::Orphan));
            };
            // Who made it may have ended, and left it to this one.
            if may_be_of(began, Link::Child) {
                return Descent::Unknown;
            }
            if self.known.contains_key(&parent) {
                parents.push(parent);
            }
            made = Some(began);
            (pid, began, parent) = (parent, above.began_at(), above.parent);
        }
        Descent::Unknown
    }

    /// Whether another one that has opened connections may have made this process, of this executable, then.
    fn may_have_made(
        &self,
        (pid, own): (u32, Option<Executable>),
        began: Timestamp,
        lives: &impl Lives,
        link: Link,
    ) -> bool {
        let is_own = |other: Option<Executable>| own.is_none() || other.is_none() || own == other;
        let may_until = |Until { ran, made }: Until| {
            let until = match link {
                Link::Orphan => ran,
                Link::Child if ran == NEVER => return false,
                Link::Child | Link::Executed => made,
            };
            until > Timestamp(0) && later(until, TICK) >= began
        };
        let may_have = |opener: &Opener| {
            opener.key.pid != pid
                && opener.parent != pid
                && is_own(opener.executable)
                && opener.began <= later(began, TICK)
                && may_until(opener.until(lives))
        };
        let gone_may_have = |(of, until): (&(Executable, u32), &Until)| {
            of.1 != pid && is_own(Some(of.0)) && may_until(*until)
        };
        let gone_may_have = match own {
            Some(own) => self.gone.range((own, 0)..=(own, u32::MAX)).any(gone_may_have),
            None => self.gone.iter().any(gone_may_have),
        };
        may_until(self.gone_of_any) || gone_may_have || self.known.values().any(may_have)
    }
}

/// What is known of who made a process.
#[derive(Clone, Copy)]
enum Link {
    /// Its parent runs, and is of its executable.
    Child,
    /// It is the parent of one, and has executed the same since, or just before.
    Executed,
    /// Its parent is another program.
    Orphan,
}

/// What it descends from by what is known, or may not.
fn of(parents: Vec<u32>, may_be_of_others: bool) -> Descent {
    if may_be_of_others { Descent::Unknown } else { Descent::From(parents) }
}

/// What this process runs, as far as the kernel knows without asking the file system, which may be a
/// stranger's.
fn executable(pid: u32) -> Option<Executable> {
    let file = format!("/proc/{pid}/exe");
    let file = statx(CWD, file, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((file.stx_dev_major, file.stx_dev_minor, file.stx_ino))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;

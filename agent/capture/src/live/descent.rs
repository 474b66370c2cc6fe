//! Whose memory a process began with: a program that forks goes on with what its parent had, sessions too,
//! and one that is executed begins with nothing.

use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
};
use hopsight_core::model::{Descent, Timestamp};
use hopsight_system::process::Stat;

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
    /// Notes from now on when it ends.
    fn follow(&mut self, pid: u32);
    /// When it ended since; `None` where that was not seen.
    fn ended_at(&self, pid: u32) -> Option<Timestamp>;
}

/// [`Lives`] as the programs of the kernel note them.
pub(super) struct Noted {
    executed: BpfHashMap<MapData, u32, u64>,
    openers: BpfHashMap<MapData, u32, u64>,
}

impl Noted {
    /// Takes their maps, which nobody else wants.
    ///
    /// # Errors
    /// When they are not there.
    pub(super) fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        let executed = loader::take_map(ebpf, "EXECUTED")?;
        Ok(Self { executed, openers: loader::take_map(ebpf, "OPENERS")? })
    }
}

impl Lives for Noted {
    fn executed_at(&self, pid: u32) -> Option<Timestamp> {
        self.executed.get(&pid, 0).ok().map(Timestamp)
    }

    fn follow(&mut self, pid: u32) {
        // One that is not there has no end, and is taken to go on.
        let _ = self.openers.insert(pid, 0, 0);
    }

    fn ended_at(&self, pid: u32) -> Option<Timestamp> {
        self.openers.get(&pid, 0).ok().filter(|at| *at > 0).map(Timestamp)
    }
}

/// A file that is executed: a hash of its path. It is the same of whoever goes on with it, and the file
/// system, which may be a stranger's, is not asked.
type Executable = u64;

/// A process that has opened connections.
#[derive(Debug)]
struct Opener {
    began: Timestamp,
    /// `None` where it cannot be read: it may be any.
    executable: Option<Executable>,
}

/// The processes that have opened connections, and may have handed sessions down.
#[derive(Debug, Default)]
pub(super) struct Openers {
    hash: RandomState,
    known: HashMap<u32, Opener>,
    /// Until when those of an executable ran that are not known any more.
    gone: HashMap<Executable, Timestamp>,
    /// The same of those whose executable is not known, or was forgotten.
    gone_of_any: Timestamp,
}

impl Openers {
    /// This process opens a connection, or may have opened some.
    pub(super) fn insert(&mut self, pid: u32, stat: &Stat, lives: &mut impl Lives, now: Timestamp) {
        self.forget(pid, lives, now);
        lives.follow(pid);
        let executable = self.executable(pid);
        self.known.insert(pid, Opener { began: stat.began_at(), executable });
        // It may have ended before that was noted.
        if Stat::read(pid).ok().is_none_or(|again| again.start_ticks != stat.start_ticks) {
            self.forget(pid, lives, now);
        }
    }

    /// Forgets those that have ended, but for when that was.
    pub(super) fn forget_ended(&mut self, lives: &impl Lives, now: Timestamp) {
        let ended = |pid: &&u32| lives.ended_at(**pid).is_some();
        let ended: Vec<u32> = self.known.keys().filter(ended).copied().collect();
        for pid in ended {
            self.forget(pid, lives, now);
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self, now: Timestamp) {
        self.known.clear();
        self.gone.clear();
        self.gone_of_any = now;
    }

    fn forget(&mut self, pid: u32, lives: &impl Lives, now: Timestamp) {
        let Some(Opener { executable, .. }) = self.known.remove(&pid) else { return };
        // Another has its number: it has ended.
        let ended = lives.ended_at(pid).unwrap_or(now);
        match executable {
            Some(executable)
                if self.gone.len() < MAX_EXECUTABLES || self.gone.contains_key(&executable) =>
            {
                let until = self.gone.entry(executable).or_default();
                *until = ended.max(*until);
            }
            _ => self.gone_of_any = ended.max(self.gone_of_any),
        }
    }

    /// Whose memory this process began with, which began while somebody watched, since `since`.
    pub(super) fn descent(
        &self,
        pid: u32,
        stat: &Stat,
        lives: &impl Lives,
        since: Timestamp,
    ) -> Descent {
        let own = self.executable(pid);
        let (mut pid, mut began, mut parent) = (pid, stat.began_at(), stat.parent);
        let mut parents = Vec::new();
        for _ in 0..MAX_PARENTS {
            let is_executed = lives.executed_at(pid).is_some_and(|at| later(at, TICK) >= began);
            // Of one that is older than the watch nobody knows what it had before.
            if is_executed || began < since {
                return Descent::From(parents);
            }
            let above = Stat::read(parent).ok().filter(|_| parent > 1);
            let Some(above) = above.filter(|_| own.is_some() && self.executable(parent) == own)
            else {
                // It was executed before it had this name, or this is not who made it.
                return if self.may_have_made(pid, own, began, lives) {
                    Descent::Unknown
                } else {
                    Descent::From(parents)
                };
            };
            if self.known.contains_key(&parent) {
                parents.push(parent);
            }
            (pid, began, parent) = (parent, above.began_at(), above.parent);
        }
        Descent::Unknown
    }

    /// Whether one that has opened connections may have made a process of this executable then.
    fn may_have_made(
        &self,
        pid: u32,
        own: Option<Executable>,
        began: Timestamp,
        lives: &impl Lives,
    ) -> bool {
        let ran_until = |until: Timestamp| later(until, TICK) >= began;
        let is_own = |other: Option<Executable>| own.is_none() || other.is_none() || own == other;
        let may_have = |(other, opener): (&u32, &Opener)| {
            *other != pid
                && is_own(opener.executable)
                && opener.began <= later(began, TICK)
                && lives.ended_at(*other).is_none_or(ran_until)
        };
        let gone = match own {
            Some(own) => self.gone.get(&own).copied().unwrap_or_default(),
            None => self.gone.values().copied().max().unwrap_or_default(),
        };
        [gone, self.gone_of_any].into_iter().any(|until| until > Timestamp(0) && ran_until(until))
            || self.known.iter().any(may_have)
    }

    fn executable(&self, pid: u32) -> Option<Executable> {
        Some(self.hash.hash_one(fs::read_link(format!("/proc/{pid}/exe")).ok()?))
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
    };

    use hopsight_system::clock::monotonic_now;

    use super::*;

    #[derive(Default)]
    struct Said {
        executed: HashMap<u32, Timestamp>,
        ended: HashMap<u32, Timestamp>,
    }

    impl Lives for Said {
        fn executed_at(&self, pid: u32) -> Option<Timestamp> {
            self.executed.get(&pid).copied()
        }

        fn follow(&mut self, pid: u32) {
            self.ended.remove(&pid);
        }

        fn ended_at(&self, pid: u32) -> Option<Timestamp> {
            self.ended.get(&pid).copied()
        }
    }

    /// A shell that goes on with a copy of itself, whose number it writes, and with it until a line comes.
    fn shell(script: &str) -> (Child, u32) {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("sh");
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        (shell, line.trim().parse().expect("a number"))
    }

    #[test]
    fn what_is_forked_goes_on_with_what_its_parents_had() {
        // Beginnings are known to the clock tick.
        let before = Timestamp(monotonic_now().0 - 1_000_000_000);
        // The copy waits for a program of its own.
        let (mut parent, child) = shell("(sleep 5; :) & echo $!; read line");
        let (mut gone, orphan) = shell("(sleep 5; :) & echo $!; exec 1>&-; exit");
        gone.wait().expect("it ends");
        let descent = |openers: &Openers, lives: &Said, pid, since| {
            let stat = Stat::read(pid).expect("it runs");
            openers.descent(pid, &stat, lives, since)
        };
        let mut lives = Said::default();
        let mut openers = Openers::default();
        let nobody = Descent::From(vec![]);
        assert_eq!(descent(&openers, &lives, child, before), nobody, "nobody opens connections");
        assert_eq!(descent(&openers, &lives, orphan, before), nobody, "nobody opened any");

        let (shell, executed) = (parent.id(), monotonic_now());
        let stat = Stat::read(shell).expect("it runs");
        openers.insert(shell, &stat, &mut lives, executed);
        lives.executed.insert(shell, stat.began_at());
        assert_eq!(descent(&openers, &lives, child, before), Descent::From(vec![shell]));
        assert_eq!(descent(&openers, &lives, orphan, before), Descent::Unknown, "may be its child");
        lives.executed.insert(orphan, monotonic_now());
        assert_eq!(descent(&openers, &lives, orphan, before), nobody, "it is another program now");
        lives.executed.remove(&orphan);
        assert_eq!(
            descent(&openers, &lives, orphan, monotonic_now()),
            nobody,
            "older than the watch"
        );

        // One that had ended by then has made nobody.
        lives.ended.insert(shell, Timestamp(before.0 - 1_000_000_000));
        assert_eq!(descent(&openers, &lives, orphan, before), nobody);
        openers.forget_ended(&lives, monotonic_now());
        assert!(openers.known.is_empty());
        assert_eq!(descent(&openers, &lives, orphan, before), nobody, "forgotten");
        lives.ended.clear();
        openers.insert(shell, &stat, &mut lives, executed);
        lives.ended.insert(shell, monotonic_now());
        openers.forget_ended(&lives, monotonic_now());
        assert_eq!(descent(&openers, &lives, orphan, before), Descent::Unknown, "it ran then");
        openers.clear(Timestamp(0));
        assert_eq!(descent(&openers, &lives, orphan, before), nobody);
        openers.clear(monotonic_now());
        assert_eq!(
            descent(&openers, &lives, orphan, before),
            Descent::Unknown,
            "all are forgotten"
        );

        drop(parent.stdin.take());
        parent.wait().expect("it ends");
    }
}

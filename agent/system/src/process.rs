//! What `/proc` says about a process.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::Context as _;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, Timespec, clock_gettime},
};
use serde::{Deserialize, Serialize};

use crate::{clock::monotonic_now, foreign};
use hopsight_core::model::Timestamp;
use hopsight_posture::{
    policy::{observation::ProcessStart, time::UnixTime},
    workload::cgroup::CgroupIdentity,
};

/// A process id that cannot be confused with a later process of the same number, within one boot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct ProcessKey {
    /// Process id in the agent's pid namespace.
    pub pid: u32,
    /// Start, in clock ticks after boot (`starttime` of `proc_pid_stat(5)`).
    pub start_ticks: u64,
}

impl From<ProcessKey> for ProcessStart {
    fn from(ProcessKey { pid, start_ticks }: ProcessKey) -> Self {
        Self { pid, start_ticks }
    }
}

impl From<ProcessStart> for ProcessKey {
    fn from(ProcessStart { pid, start_ticks }: ProcessStart) -> Self {
        Self { pid, start_ticks }
    }
}

impl ProcessKey {
    /// Whether this very process is still running, and not only waiting for its parent to ask how it
    /// ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let is_it = |stat: Stat| stat.start_ticks == self.start_ticks && !stat.has_ended;
        Stat::read(self.pid).is_ok_and(is_it)
    }
}

/// What is known of a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Which process.
    pub key: ProcessKey,
    /// Its parent.
    pub parent: u32,
    /// Its executable, as a path in its own root; it may have been replaced or deleted since.
    pub executable: PathBuf,
    /// Its arguments, or, as one argument, the title it has put in their place.
    pub arguments: Vec<String>,
    /// Container, pod and unit.
    pub cgroup: CgroupIdentity,
    /// When it started, to the clock tick (10 ms).
    pub started_at: UnixTime,
}

impl ProcessFacts {
    /// Reads them.
    ///
    /// # Errors
    /// When the process is gone, is another one by now, or may not be inspected.
    pub fn read(pid: u32) -> anyhow::Result<Self> {
        let file = |name: &str| {
            foreign::fact(pid, name).with_context(|| format!("read /proc/{pid}/{name}"))
        };
        let stat = Stat::read(pid)?;
        let thread = thread_with_memory(pid).unwrap_or(pid);
        let executable = fs::read_link(format!("/proc/{thread}/exe"))
            .with_context(|| format!("read the executable of process {pid}"))?;
        let arguments = arguments(&file("cmdline")?);
        let cgroup = CgroupIdentity::of_process(&String::from_utf8_lossy(&file("cgroup")?));
        let again = Stat::read(pid)?;
        anyhow::ensure!(again.start_ticks == stat.start_ticks, "process {pid} was replaced");
        Ok(Self {
            key: ProcessKey { pid, start_ticks: stat.start_ticks },
            parent: stat.parent,
            executable: without_deleted(executable),
            arguments,
            cgroup,
            started_at: since_boot(stat.start_ticks),
        })
    }
}

/// The fields of `/proc/PID/stat` used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its parent.
    pub parent: u32,
    /// Start, in clock ticks after boot (`starttime`).
    pub start_ticks: u64,
    /// It has ended, all of its threads have, and its parent has not asked how (`state` is Z or X).
    pub has_ended: bool,
}

impl Stat {
    /// Reads them.
    ///
    /// # Errors
    /// When the process is gone or may not be inspected.
    pub fn read(pid: u32) -> anyhow::Result<Self> {
        let text = foreign::fact(pid, "stat").with_context(|| format!("read /proc/{pid}/stat"))?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(&text).with_context(|| format!("parse /proc/{pid}/stat"))
    }

    /// When it began, on the clock of the kernel programs, to the clock tick (10 ms) before. (That clock
    /// stands still in a suspended machine: what began before it was suspended began earlier than this
    /// says.)
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        let since_boot = duration_of(clock_gettime(ClockId::Boottime));
        let age = since_boot.saturating_sub(after_boot(self.start_ticks));
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        Timestamp(monotonic_now().0.saturating_sub(age))
    }

    /// The name of the process, in parentheses, may contain spaces and parentheses itself.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        let (threads, start_ticks) = (fields.nth(15)?, fields.nth(1)?.parse().ok()?);
        // Of one whose main thread alone has ended others go on.
        let has_ended = matches!(state, "Z" | "X") && matches!(threads, "0" | "1");
        Some(Self { parent, start_ticks, has_ended })
    }
}

/// This moment in clock ticks after boot, as starts are counted.
#[must_use]
pub fn ticks_now() -> u64 {
    let up = duration_of(clock_gettime(ClockId::Boottime));
    let per_second = clock_ticks_per_second().max(1);
    let within = u64::from(up.subsec_nanos()) * per_second / 1_000_000_000;
    up.as_secs() * per_second + within
}

/// A span in clock ticks.
#[must_use]
pub fn ticks_of(span: Duration) -> u64 {
    let per_second = u128::from(clock_ticks_per_second().max(1));
    u64::try_from(span.as_millis() * per_second / 1_000).unwrap_or(u64::MAX)
}

/// How many bytes the main thread of a process has read so far (`rchar` of `proc_pid_io(5)`), from files
/// and whatever else it can read; `None` where the kernel does not count them, or does not say. (What
/// is said of the process as a whole has what its children had read that ended.)
#[must_use]
pub fn bytes_read(pid: u32) -> Option<u64> {
    let text = foreign::fact(pid, &format!("task/{pid}/io")).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix("rchar:")?.trim().parse().ok())
}

/// Threads of a process that are asked for its memory.
const MAX_THREADS: usize = 64;

/// A thread of a process through whose `/proc/TID` its memory can be seen: the main thread, or, where
/// that has ended before the others (`pthread_exit`), one of these. `None` once all have ended.
#[must_use]
pub fn thread_with_memory(pid: u32) -> Option<u32> {
    // A kernel thread, and one that has ended, has no executable; of one that may not be looked at the
    // reason is for who reads further.
    let has_memory = |thread: &u32| match fs::read_link(format!("/proc/{thread}/exe")) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    if has_memory(&pid) {
        return Some(pid);
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.take(MAX_THREADS).flatten();
    let threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    threads.into_iter().find(has_memory)
}

/// The moment `ticks` after boot, on the wall clock. Steps of that clock move it.
#[must_use]
pub fn since_boot(ticks: u64) -> UnixTime {
    let [now, up] =
        [ClockId::Realtime, ClockId::Boottime].map(|clock| duration_of(clock_gettime(clock)));
    let at = now.saturating_sub(up) + after_boot(ticks);
    UnixTime(u64::try_from(at.as_micros()).unwrap_or(u64::MAX))
}

fn after_boot(ticks: u64) -> Duration {
    let per_second = clock_ticks_per_second().max(1);
    Duration::from_secs(ticks / per_second)
        + Duration::from_micros(ticks % per_second * 1_000_000 / per_second)
}

fn duration_of(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn arguments(cmdline: &[u8]) -> Vec<String> {
    cmdline
        .split(|&byte| byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

fn without_deleted(executable: PathBuf) -> PathBuf {
    match executable.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => path.into(),
        None => executable,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        process::{Command, Stdio},
        time::{Instant, SystemTime},
    };

    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let fields = "S 41 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 10";
        for name in ["nginx", "a b", "x) R 1 (y", ""] {
            let stat = Stat::parse(&format!("42 ({name}) {fields}"));
            let want = Stat { parent: 41, start_ticks: 123_456, has_ended: false };
            assert_eq!(stat, Some(want), "{name}");
        }
        let ended = fields.replacen('S', "Z", 1);
        for (text, has_ended) in [(ended.clone(), true), (ended.replace("20 0 1", "20 0 2"), false)]
        {
            let stat = Stat::parse(&format!("42 (nginx) {text}")).unwrap();
            assert_eq!(stat.has_ended, has_ended, "{text}");
        }
        assert_eq!(Stat::parse("42 (nginx) S 41"), None);
    }

    #[test]
    fn what_a_process_reads_is_counted() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let child = child.as_mut().unwrap();
        let Some(before) = bytes_read(child.id()) else {
            // A kernel without accounting of input and output.
            assert!(!std::path::Path::new("/proc/self/io").exists());
            return;
        };
        let mut input = child.stdin.take().unwrap();
        input.write_all(&[b'x'; 1_000]).unwrap();
        let begin = Instant::now();
        while bytes_read(child.id()).unwrap() < before + 1_000 {
            assert!(begin.elapsed() < Duration::from_secs(10), "never read");
        }
        drop(input);
        child.wait().unwrap();
        assert_eq!(bytes_read(child.id()), None, "no such process");
    }

    #[test]
    fn ticks_are_counted_from_boot() {
        let began = Stat::read(std::process::id()).unwrap().start_ticks;
        let now = ticks_now();
        assert!(began <= now && now - began < ticks_of(Duration::from_hours(24)), "{began} {now}");
        assert_eq!(ticks_of(Duration::from_secs(2)), 2 * clock_ticks_per_second());
    }

    #[test]
    fn we_know_ourselves() {
        let ours = ProcessFacts::read(std::process::id()).unwrap();
        assert_eq!(ours.executable, std::env::current_exe().unwrap());
        assert_eq!(ours.arguments[0], std::env::args().next().unwrap());
        assert_eq!(ours.parent, std::os::unix::process::parent_id());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = UnixTime::default() + now;
        // A test binary does not run for a day, and did not start in the future.
        assert!(now.since(ours.started_at) < Duration::from_hours(24));
        assert!(ours.started_at <= now);
    }

    #[test]
    fn a_process_has_memory_until_its_last_thread_has_ended() {
        // Its main thread leaves, and another one goes on until it may read.
        const SCRIPT: &str = "import ctypes, sys, threading\n\
            threading.Thread(target=sys.stdin.read).start()\n\
            print('begun', flush=True)\n\
            ctypes.CDLL(None).pthread_exit(None)";
        assert_eq!(thread_with_memory(std::process::id()), Some(std::process::id()));
        let mut command = Command::new("python3");
        let piped = command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut process) = piped.spawn() else {
            hopsight_test_support::not_run("memory of a process", "needs python3");
            return;
        };
        let mut said = [0; 6];
        process.stdout.take().unwrap().read_exact(&mut said).unwrap();
        let pid = process.id();
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_link(format!("/proc/{pid}/exe")).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let thread = thread_with_memory(pid);
        assert!(thread.is_some_and(|thread| thread != pid), "{thread:?}");
        drop(process.stdin.take());
        process.wait().unwrap();
        assert_eq!(thread_with_memory(pid), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_that_says_so() {
        // Above the largest pid that Linux assigns (2^22).
        let error = ProcessFacts::read(1 << 23).unwrap_err();
        assert!(format!("{error:#}").contains("/proc/8388608/stat"), "{error:#}");
    }
}

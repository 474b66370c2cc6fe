//! What an agent costs beside proxies of which it has seen everything, and that have nothing to do.

use std::{
    fmt, fs, thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{
    run::ask,
    site::{Answers, Site},
    stacks::Stack,
};
use crate::{agent::Agent, cgroup::Cgroup, interrupt, loopback::Loopback, wait::wait_until};

/// How long an agent may take for its first look at everything, in a build without optimization.
const FIRST_LOOK: Duration = Duration::from_mins(5);
/// It looks for processes every five seconds: what it reads in two rounds is what it always reads.
const TWO_ROUNDS: Duration = Duration::from_secs(10);
/// More than the facts of a machine's processes in two rounds, less than any program with a TLS
/// library in it.
const FACTS: u64 = 4 << 20;

/// What was used in some time.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// For how long it was measured.
    pub time: Duration,
    /// Processor time of all threads (`/proc/PID/stat`, `utime` and `stime`).
    pub processor: Duration,
    /// Bytes that were read, of whatever file (`/proc/PID/io`, `rchar`).
    pub read: u64,
    /// Bytes of these that came from a disk (`read_bytes`).
    pub from_disk: u64,
    /// Bytes read before, in the first look.
    pub first_look: u64,
    /// Other processes of these names on the machine that it had to look at meanwhile: what they
    /// cost is in the figures.
    pub others: usize,
}

impl Cost {
    /// Processor time as a share of one core.
    #[must_use]
    pub fn share_of_a_core(&self) -> f64 {
        self.processor.as_secs_f64() / self.time.as_secs_f64()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} % of a core; {} kB read in {} s ({} from a disk), after {} kB in the first look; \
             other processes looked at meanwhile: {}",
            self.share_of_a_core() * 100.0,
            self.read / 1000,
            self.time.as_secs(),
            self.from_disk,
            self.first_look / 1000,
            self.others,
        )
    }
}

/// Starts an agent, then these proxies, asks each once, and measures the agent once it has looked at
/// all of them.
///
/// # Errors
/// When something does not start, or the agent goes on reading.
pub fn cost_of_idling(stacks: &[&Stack], time: Duration) -> anyhow::Result<Cost> {
    let cgroup = Cgroup::create()?;
    let dir = tempfile::tempdir().context("create a temporary directory")?;
    let names = stacks.iter().flat_map(|stack| ["--proxy", stack.proxy]);
    let options: Vec<&str> = names.chain(cgroup.options()?).collect();
    let address = Loopback::reserve()?.socket(2, 9464);
    let agent = Agent::start(dir.path(), address, &options)?;
    let mut running = Vec::new();
    for (number, stack) in stacks.iter().enumerate() {
        let site = Site::start_in(cgroup.child(&number.to_string())?, Answers::default())?;
        let hops = site.hops_of(stack.kinds);
        let mut proxy = (stack.start)(&site, &hops)?;
        ask(&hops, 1, &mut proxy)?;
        // The proxy ends before the place where it runs.
        running.push((proxy, site));
    }
    let pid = agent.daemon.pid();
    wait_until("the agent to look into every proxy", FIRST_LOOK, || {
        let log = agent.daemon.log();
        let is_known = |stack: &&Stack| {
            looks(&log).any(|line| line.contains(&format!("name=\"{}\"", stack.proxy)))
        };
        Ok(stacks.iter().all(is_known).then_some(()))
    })?;
    let before = wait_for_quiet(pid)?;
    let looked = looks(&agent.daemon.log()).count();
    thread::sleep(time);
    let after = Used::of(pid)?;
    drop(running);
    Ok(Cost {
        time,
        processor: after.processor.saturating_sub(before.processor),
        read: after.read - before.read,
        from_disk: after.from_disk - before.from_disk,
        first_look: before.read,
        others: looks(&agent.daemon.log()).count() - looked,
    })
}

/// What the agent writes of each process that it has looked at.
fn looks(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.contains("evidence of a watched process"))
}

/// Another process of the same proxy may have a program of its own.
fn wait_for_quiet(pid: u32) -> anyhow::Result<Used> {
    let end = Instant::now() + FIRST_LOOK;
    let mut before = Used::of(pid)?;
    while Instant::now() < end {
        interrupt::check()?;
        thread::sleep(TWO_ROUNDS);
        let now = Used::of(pid)?;
        if now.read - before.read < FACTS {
            return Ok(now);
        }
        before = now;
    }
    anyhow::bail!("the agent goes on reading: {} bytes in all", before.read)
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug)]
struct Used {
    processor: Duration,
    read: u64,
    from_disk: u64,
}

impl Used {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let io = read("io")?;
        let counter = |name: &str| -> anyhow::Result<u64> {
            let value = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.and_then(|value| value.parse().ok()).with_context(|| format!("find {name}"))
        };
        // The name, in parentheses, may hold anything; `utime` is the twelfth field after it.
        let stat = read("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("find the name's end")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            processor: Duration::from_millis(ticks * 1000 / per_second),
            read: counter("rchar")?,
            from_disk: counter("read_bytes")?,
        })
    }
}

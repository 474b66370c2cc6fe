//! One proxy after the other, in the order of a first day: the agent, the proxy, requests at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hopsight_core::{
    model::{ConnectionId, Security},
    report::ConnectionReport,
};

use super::{
    judge::Tally,
    site::{Answers, Hop, Site},
    stacks::Stack,
};
use crate::{
    agent::{Agent, VERDICT, is_address},
    http, interrupt,
    process::Daemon,
    wait::wait_until,
};

/// Requests that are under way at a time through one hop, in a burst.
const AT_A_TIME: usize = 8;
/// Between two requests through one hop, in a steady state.
const PACE: Duration = Duration::from_millis(500);

/// How much is asked of each proxy.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Requests through each hop, at once.
    pub burst: usize,
    /// How long it is asked now and then after that.
    pub steady: Duration,
    /// Requests through each hop after the agent was started again; 0: it is not.
    pub restarted: usize,
}

/// What was seen of one proxy.
#[derive(Debug)]
pub struct Report {
    stack: &'static Stack,
    /// How the agent calls it.
    names: BTreeSet<String>,
    burst: Tally,
    steady: Option<Tally>,
    restarted: Option<Tally>,
}

impl Report {
    /// What is not as it has to be, in words.
    #[must_use]
    pub fn complaints(&self, length: Length) -> Vec<String> {
        let mut all = Vec::new();
        let mut complain = |what: String| all.push(format!("{}: {what}", self.stack.name));
        let tallies = [Some(&self.burst), self.steady.as_ref(), self.restarted.as_ref()];
        for wrong in tallies.into_iter().flatten().flat_map(|tally| &tally.wrong) {
            complain(format!("wrong: {wrong}"));
        }
        let Tally { connections, complete, complete_unknown, .. } = self.burst;
        if connections < length.burst {
            complain(format!("{connections} connections only"));
        }
        if complete_unknown * 200 > complete {
            complain(format!("{complete_unknown} of {complete} complete ones unknown"));
        }
        if let Some(steady) = &self.steady
            && steady.unknown() * 100 > steady.connections
        {
            complain(format!("{} of {} unknown", steady.unknown(), steady.connections));
        }
        if let Some(restarted) = &self.restarted {
            let others = restarted.unknown() - restarted.unknown_since_before();
            if others > 0 {
                complain(format!("after a restart {others} unknown without saying so"));
            }
        }
        if self.names != BTreeSet::from([self.stack.proxy.to_owned()]) {
            complain(format!("called {:?} instead of {}", self.names, self.stack.proxy));
        }
        all
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = [
            ("burst", Some(&self.burst)),
            ("steady", self.steady.as_ref()),
            ("restarted", self.restarted.as_ref()),
        ];
        writeln!(f, "{} ({:?})", self.stack.name, self.names)?;
        for (name, tally) in phases {
            if let Some(tally) = tally {
                writeln!(f, "  {name:<10} {tally}")?;
            }
        }
        Ok(())
    }
}

/// Runs an agent beside a proxy; what they wrote is copied to `keep`.
///
/// # Errors
/// When something does not start, or a request through the proxy is not answered with 200.
pub fn run(stack: &'static Stack, length: Length, keep: Option<&Path>) -> anyhow::Result<Report> {
    let site = Site::start(Answers { http2: stack.http2, ..Answers::default() })?;
    let result = run_at(&site, stack, length);
    if let Some(keep) = keep {
        keep_files(site.dir(), &keep.join(stack.name)).context("keep what was written")?;
    }
    result
}

fn run_at(site: &Site, stack: &'static Stack, length: Length) -> anyhow::Result<Report> {
    let hops = site.hops_of(stack.kinds);
    let agent = start_agent(site, stack, "agent")?;
    let mut proxy = (stack.start)(site, &hops)?;
    let mut seen = Seen::default();
    ask(&hops, length.burst, &mut proxy)?;
    let burst = seen.tally(site, &hops, &agent)?;
    let steady = if length.steady.is_zero() {
        None
    } else {
        ask_now_and_then(&hops, length.steady)?;
        Some(seen.tally(site, &hops, &agent)?)
    };
    let names = agent.hops()?.hops.iter().map(|hop| hop.proxy.to_string()).collect();
    let restarted = if length.restarted == 0 {
        None
    } else {
        drop(agent);
        let agent = start_agent(site, stack, "agent-2")?;
        let mut seen = Seen::now(site, &hops)?;
        ask(&hops, length.restarted, &mut proxy)?;
        Some(seen.tally(site, &hops, &agent)?)
    };
    Ok(Report { stack, names, burst, steady, restarted })
}

fn start_agent(site: &Site, stack: &Stack, name: &str) -> anyhow::Result<Agent> {
    let options = [&["--proxy", stack.proxy][..], &site.watched()?].concat();
    Agent::start(&site.dir().join(name), site.spare(9464), &options)
}

/// Sends requests through each hop, several at a time.
pub(super) fn ask(hops: &[Hop], requests: usize, proxy: &mut Daemon) -> anyhow::Result<()> {
    for hop in hops {
        let asked = thread::scope(|scope| {
            let ask_some = |count: usize| (0..count).try_for_each(|_| ask_once(hop));
            let threads: Vec<_> = (0..AT_A_TIME)
                .map(|number| (requests + number) / AT_A_TIME)
                .map(|count| scope.spawn(move || ask_some(count)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        asked.with_context(|| proxy.log())?;
        proxy.ensure_running()?;
    }
    Ok(())
}

/// Sends a request through each hop now and then.
fn ask_now_and_then(hops: &[Hop], time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        interrupt::check()?;
        hops.iter().try_for_each(ask_once)?;
        thread::sleep(PACE);
    }
    Ok(())
}

fn ask_once(hop: &Hop) -> anyhow::Result<()> {
    let answer = http::get(hop.front, "/").with_context(|| format!("ask {}", hop.name))?;
    anyhow::ensure!(answer.status == 200, "{} answered {}", hop.name, answer.status);
    Ok(())
}

/// What was counted before.
#[derive(Default)]
struct Seen {
    reported: HashSet<ConnectionId>,
    /// Lines of each upstream's log.
    logged: [usize; 3],
}

impl Seen {
    /// What the upstreams have logged by now counts no more: nobody watched.
    fn now(site: &Site, hops: &[Hop]) -> anyhow::Result<Self> {
        let mut seen = Self::default();
        for (logged, hop) in seen.logged.iter_mut().zip(hops) {
            *logged = site.truth(hop)?.len();
        }
        Ok(seen)
    }

    /// What was said last of each connection that was not counted yet. Those that go on in a pool
    /// have no final report; of what is unknown that alone counts.
    fn new_reports(&self, hop: &Hop, agent: &Agent) -> anyhow::Result<Vec<ConnectionReport>> {
        let mut last = BTreeMap::new();
        for report in agent.reports()? {
            let is_new = !self.reported.contains(&report.connection);
            let is_known = report.verdict.security != Security::Unknown;
            if is_new && is_address(&report.dst, hop.dial) && (report.is_final || is_known) {
                last.insert(report.connection, report);
            }
        }
        Ok(last.into_values().collect())
    }

    /// What is new since the last time, once all is reported that the upstreams logged.
    fn tally(&mut self, site: &Site, hops: &[Hop], agent: &Agent) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for (number, hop) in hops.iter().enumerate() {
            let log = site.truth(hop)?;
            let new = log.get(self.logged[number]..).unwrap_or_default();
            let reports = wait_until("every connection to be reported", VERDICT, || {
                let reports = self.new_reports(hop, agent)?;
                let answered: HashSet<&str> = reports.iter().map(|report| &*report.src).collect();
                let all = new.iter().all(|seen| answered.contains(&*seen.remote.to_string()));
                Ok(all.then_some(reports))
            })
            .with_context(|| format!("read of {}", hop.name))?;
            tally.add(hop, &reports, new);
            self.reported.extend(reports.iter().map(|report| report.connection));
            self.logged[number] = log.len();
        }
        Ok(tally)
    }
}

/// Copies the plain files of a directory and those below it.
fn keep_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            keep_files(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

//! Evaluates every connection against policy and the proxy's configuration, beside the pipeline.
//!
//! This is the edge around the pure [`hopsight_posture::policy`]: it reads policy files,
//! configurations and `/proc`, and keeps what has to outlive the agent. It has a thread of its own,
//! because the pipeline must not wait; what the queue has no room for is counted and not evaluated.
//! That thread opens no file of a watched process: others read them ([`hopsight_system::readers`]),
//! and a report waits for them for a second at most.

mod chains;
mod configuration;
mod disk;
mod evaluator;
mod instance;
mod kept;
mod lists;
mod loaded;
mod loads;
mod look;
mod looks;
mod named;
mod names;
mod owner;
mod owners;
mod policy_file;
mod process;
mod provisional;
mod proxies;
mod retired;
mod state_file;
#[cfg(test)]
mod tests;
mod users;
mod waiting;
mod wall_clock;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;

pub use policy_file::read_policy;

use self::{
    evaluator::Evaluator, lists::ListDirectory, names::Names, policy_file::PolicyFile,
    proxies::Proxies, waiting::Submitted,
};
use crate::compliance::state_file::StateFile;
use hopsight_core::{model::Timestamp, report::ConnectionReport};
use hopsight_export::{
    Exporter,
    health::Stake,
    metrics::{arrivals::Arrivals, drift::DriftBoard},
};
use hopsight_identity::sources::{PodSources, SourceOptions};
use hopsight_posture::{
    hops::{ends::Ends, evaluation::Evaluation},
    policy::drift,
};
use hopsight_system::{heart::Heart, readers::Readers};

/// Pause between checks of files and clocks.
const TICK: Duration = Duration::from_secs(1);
/// Pause between attempts to name the ends of the reports that wait.
const RETRY: Duration = Duration::from_millis(20);
/// Pause between looks whether what has changed may be saved.
const SAVE: Duration = Duration::from_millis(50);
/// Threads that read of watched processes and their files; each user is at one of them at a time.
/// Few, for each of them may have a large configuration in memory.
const READERS: usize = 4;
/// Reports evaluated before what they changed is published.
const BATCH: usize = 1_024;
/// The state file's name in its directory.
const STATE_FILE: &str = "state.json";

/// What to evaluate connections against, and what to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComplianceOptions {
    /// The operator's policy file; if absent, only the built-in policies apply.
    pub policy: Option<PathBuf>,
    /// Whether an agent that cannot use its policy file has failed.
    pub policy_required: bool,
    /// The operator's directory of revocation lists.
    pub revocation_lists: Option<PathBuf>,
    /// Directory of what outlives the agent, made if it is missing; if absent, nothing does.
    pub state: Option<PathBuf>,
    /// Patience and limits of drift.
    pub drift: drift::Options,
    /// Most reports that may wait to be evaluated.
    pub queue: usize,
    /// Read the private keys of client certificates, to say whether they match.
    pub read_private_keys: bool,
    /// Where names of pods and services come from.
    pub sources: SourceOptions,
}

impl Default for ComplianceOptions {
    fn default() -> Self {
        Self {
            policy: None,
            policy_required: false,
            revocation_lists: None,
            state: None,
            drift: drift::Options::default(),
            queue: 16_384,
            read_private_keys: false,
            sources: SourceOptions::default(),
        }
    }
}

/// The thread that evaluates; dropping this lets it finish what is queued, save and end.
#[derive(Debug)]
pub struct ComplianceThread {
    queue: Option<SyncSender<Submitted>>,
    exporter: Exporter,
    board: Arc<DriftBoard>,
    arrivals: Arrivals,
    thread: Option<JoinHandle<()>>,
}

impl ComplianceThread {
    /// Starts it. A policy file that is broken, or a state that is damaged, does not stop it:
    /// `/readyz` says so.
    ///
    /// # Errors
    /// When the state directory cannot be made, or there can be no further thread.
    pub fn start(options: ComplianceOptions, exporter: &Exporter) -> anyhow::Result<Self> {
        let readers = Readers::start("reader", READERS).context("start the threads that read")?;
        Self::start_with(readers, options, exporter)
    }

    fn start_with(
        readers: Readers,
        options: ComplianceOptions,
        exporter: &Exporter,
    ) -> anyhow::Result<Self> {
        let state = match options.state {
            None => None,
            Some(directory) => {
                fs::create_dir_all(&directory)
                    .with_context(|| format!("make the state directory {}", directory.display()))?;
                Some(StateFile::new(directory.join(STATE_FILE)))
            }
        };
        let board = Arc::new(DriftBoard::default());
        exporter.register(board.clone());
        let names = Names::start().context("start the threads that resolve names")?;
        let health = exporter.health();
        for (thread, hearts) in [("names", names.hearts()), ("reader", readers.hearts())] {
            for heart in hearts {
                health.listen(thread, Stake::Detail, heart.clone());
            }
        }
        let evaluator = Evaluator::new(
            exporter.clone(),
            board.clone(),
            PolicyFile::new(options.policy, options.policy_required),
            Proxies::new(names, PodSources::new(options.sources), options.read_private_keys),
            readers,
            options.drift,
            state,
        );
        let evaluator = evaluator.with_lists(ListDirectory::new(options.revocation_lists));
        let arrivals = Arrivals::default();
        exporter.register(arrivals.clone());
        let heart = Heart::default();
        health.listen("compliance", Stake::Observation, heart.clone());
        let (queue, reports) = sync_channel(options.queue);
        let thread = thread::Builder::new()
            .name("compliance".to_owned())
            .spawn(move || run(evaluator, &reports, &heart))
            .context("start the compliance thread")?;
        let exporter = exporter.clone();
        Ok(Self { queue: Some(queue), exporter, board, arrivals, thread: Some(thread) })
    }

    /// What scrapes show of drift and policy.
    #[must_use]
    pub const fn board(&self) -> &Arc<DriftBoard> {
        &self.board
    }

    /// Hands over what was said about a connection at `now` (the source's clock): its ends are
    /// named, it is counted under these names and evaluated against policy. Never waits; what finds
    /// the queue full is counted as an unknown owner's, and not evaluated.
    pub fn submit(&self, report: Box<ConnectionReport>, now: Timestamp) {
        let age = now.since(report.opened_at);
        let now = Instant::now();
        let opened_at = now.checked_sub(age).unwrap_or(now);
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Submitted { report, opened_at, arrival: self.arrivals.enter() }) {
            Ok(()) => {}
            Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => {
                let report = &refused.report;
                let ends = Ends::of(report);
                let ends = Ends { proxy: owners::unknown(&ends.proxy), ..ends };
                let now = hopsight_system::clock::now();
                self.exporter.record_between(&ends, report, Evaluation::default(), now);
                self.board.count_dropped();
            }
        }
    }
}

impl Drop for ComplianceThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported by it.
            let _ = thread.join();
        }
    }
}

fn run(mut evaluator: Evaluator, reports: &Receiver<Submitted>, heart: &Heart) {
    let mut ticked = Instant::now();
    let mut retried = ticked;
    loop {
        heart.beat();
        let pause = if evaluator.is_waiting() {
            RETRY
        } else if evaluator.is_unsaved() {
            SAVE
        } else {
            TICK
        };
        let left = TICK.saturating_sub(ticked.elapsed()).min(pause);
        match reports.recv_timeout(left) {
            Ok(report) => {
                evaluator.report(report);
                for report in reports.try_iter().take(BATCH) {
                    heart.beat();
                    evaluator.report(report);
                }
                evaluator.show_changes();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if evaluator.is_waiting() && retried.elapsed() >= RETRY {
            retried = Instant::now();
            evaluator.retry();
            evaluator.show_changes();
        }
        evaluator.save_if_due();
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            evaluator.tick();
        }
    }
    evaluator.give_up_waiting();
    evaluator.tick();
    evaluator.save();
    heart.rest();
}

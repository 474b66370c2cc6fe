//! One proxy: the configuration it is running, and whether another one waits on disk.

use std::{
    collections::HashSet,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

pub(super) use super::looks::LookNumber;
use super::{
    configuration::{Configuration, Generation, began_before},
    disk::Disk,
    loaded::{KeptLoads, Loaded},
    loads::Loads,
    look::{Question, Says, Seen},
    looks::Looks,
    names::Names,
    retired::Retired,
};
use hopsight_identity::configured::Configured;
use hopsight_posture::policy::{intent::UpstreamIntent, kind::ProxyKind, time::UnixTime};
use hopsight_system::{
    foreign::Lane,
    process::ProcessFacts,
    readers::{Answer, Readers},
};

/// How long connections wait for the addresses of host names in a new configuration.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);
/// A look that takes so long is told.
const SLOW: Duration = Duration::from_secs(5);
/// A running proxy is asked no more often.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Whether the main process of a proxy runs; where it has ended, others of the proxy run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    Runs,
    Ended,
}

/// A running proxy and the last good configuration it loaded.
#[derive(Debug)]
pub(super) struct Instance {
    kind: ProxyKind,
    master: ProcessFacts,
    /// Whose it is.
    lane: Lane,
    configured: Option<Configured>,
    /// `proxy` label of its hops.
    pub(super) label: Arc<str>,
    current: Configuration,
    /// What the files say by now that the current one names.
    disk: Arc<Disk>,
    /// What workers are running that started before the current one was loaded.
    previous: Option<Configuration>,
    generation: Generation,
    loaded_at: Option<UnixTime>,
    changed_at: Option<UnixTime>,
    pending: bool,
    /// The files were newer than the load when they were first read, or nobody knows whether they were
    /// loaded: whether they are what runs is known only after the next load.
    is_guess: bool,
    /// What was seen of the loads of a proxy that replaces its workers.
    loads: Option<Loads>,
    /// What it has loaded, where that was known for certain when it did.
    loaded: Option<Loaded>,
    /// Labels of upstreams that it had before a restart, until its configuration is known.
    labels_before: HashSet<Arc<str>>,
    main: Main,
    problem: Option<String>,
    /// When the current configuration was adopted.
    adopted_at: Instant,
    /// Labels of upstreams that a newer configuration no longer has.
    retired: Retired,
    /// Whether private keys may be read, to say whether they match their certificates.
    read_keys: bool,
    looks: Looks,
}

impl Instance {
    /// The instance of a master process. Nothing is known of it before the first look.
    pub(super) fn new(
        kind: ProxyKind,
        master: ProcessFacts,
        lane: Lane,
        label: Arc<str>,
        kept: KeptLoads,
        read_keys: bool,
    ) -> Self {
        Self {
            kind,
            master,
            lane,
            configured: None,
            label,
            current: Configuration::default(),
            disk: Arc::default(),
            previous: None,
            generation: Generation::default(),
            loaded_at: None,
            changed_at: None,
            pending: false,
            is_guess: false,
            loads: kept.loads,
            loaded: kept.loaded,
            labels_before: kept.labels,
            main: Main::Runs,
            problem: None,
            adopted_at: Instant::now(),
            retired: Retired::default(),
            read_keys,
            looks: Looks::new(),
        }
    }

    /// What it is.
    pub(super) const fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Whose it is.
    pub(super) const fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether it runs on: its main process does, or others of it do, which go on with what they have
    /// loaded.
    pub(super) fn goes_on(&mut self, has_processes: bool) -> bool {
        self.main = if self.master.key.is_running() { Main::Runs } else { Main::Ended };
        self.main == Main::Runs || has_processes
    }

    /// What is known of its loads, to be kept over a restart.
    pub(super) fn kept_loads(&self) -> KeptLoads {
        let labels = self.current.labels().iter().chain(self.retired.labels());
        let labels = labels.chain(&self.labels_before).cloned().collect();
        KeptLoads { loads: self.loads.clone(), loaded: self.loaded, labels }
    }

    /// What it has loaded, where that was known for certain when it did.
    pub(super) const fn loaded(&self) -> Option<Loaded> {
        self.loaded
    }

    /// Whether its configuration was read.
    pub(super) fn is_read(&self) -> bool {
        !self.current.intent.files.is_empty()
    }

    /// Whether what was read is known to be what it runs.
    pub(super) fn is_certain(&self) -> bool {
        self.is_read() && self.current.loaded_at().is_some()
    }

    /// Whether its configuration has an upstream that this label is of.
    pub(super) fn has(&self, upstream: &str) -> bool {
        self.current.labels().contains(upstream)
    }

    /// The configuration of workers that start now.
    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The configuration of a worker that started then.
    pub(super) fn generation_of(&self, started_at: UnixTime) -> Generation {
        match &self.previous {
            Some(_) if self.current.is_newer_than(started_at) => self.generation.before(),
            _ => self.generation,
        }
    }

    /// The configuration of a worker that started with this one.
    pub(super) fn configuration(&self, generation: Generation) -> &Configuration {
        match &self.previous {
            Some(previous) if generation < self.generation => previous,
            _ => &self.current,
        }
    }

    /// What the files say by now that its configuration names.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The upstreams of its configuration that this label is of.
    pub(super) fn named(&self, label: &str) -> impl Iterator<Item = &UpstreamIntent> {
        self.current.named(label)
    }

    /// Whether its upstreams cannot be told apart yet, because their host names are being looked up.
    pub(super) fn is_resolving(&self, names: &Names) -> bool {
        self.adopted_at.elapsed() < RESOLVE_PATIENCE && names.waits_for(self.current.hosts())
    }

    /// The labels of upstreams that its configuration no longer has, each once, when the workers that
    /// knew them have ended and those that nobody has seen have had time to. Its oldest worker began
    /// at `oldest`; one that nobody has seen for `stands_for` does not count.
    pub(super) fn take_retired(
        &mut self,
        oldest: Option<UnixTime>,
        stands_for: Duration,
    ) -> Vec<Arc<str>> {
        let began = oldest.zip(self.current.loaded_at());
        let has_older = began.is_some_and(|(oldest, loaded_at)| began_before(oldest, loaded_at));
        self.retired.take_over(if has_older { stands_for } else { Duration::ZERO })
    }

    /// Whether the configuration on disk is newer.
    pub(super) fn is_pending(&self) -> bool {
        self.pending && self.main == Main::Runs
    }

    /// What is wrong with its configuration, with the place.
    pub(super) fn problem(&self) -> Option<String> {
        let whose = match self.kind {
            ProxyKind::Nginx | ProxyKind::Apache => {
                format!("{} (master {})", self.kind, self.master.key.pid)
            }
            kind => format!("{kind} (process {})", self.master.key.pid),
        };
        if self.looks.taken.is_some() && self.looks.began_at.elapsed() >= SLOW {
            let seconds = self.looks.began_at.elapsed().as_secs();
            return Some(format!("{whose}: its files have been read for {seconds} s"));
        }
        if self.main == Main::Ended {
            return Some(format!("{whose}: has ended, and processes of it go on without it"));
        }
        let problem = self.problem.as_ref()?;
        Some(format!("{whose}: {problem}"))
    }

    /// Has its files read because a worker was started: the number of the look that will know with
    /// which configuration.
    pub(super) fn look(&mut self, readers: &Readers) -> LookNumber {
        if self.looks.taken.is_some() {
            self.looks.wanted = true;
            return LookNumber(self.looks.begun.0 + 1);
        }
        self.begin(readers, true);
        self.looks.begun
    }

    /// Whether this look is over.
    pub(super) fn has_looked(&self, number: LookNumber) -> bool {
        self.looks.over >= number
    }

    /// Has its files looked at, whether they changed and were loaded.
    pub(super) fn refresh(&mut self, readers: &Readers) {
        let pause = if self.kind.is_asked() { ASK_AGAIN } else { Duration::ZERO };
        if self.main == Main::Runs && self.looks.is_due(pause) {
            self.begin(readers, self.pending || self.problem.is_some());
        }
    }

    fn begin(&mut self, readers: &Readers, read_anyway: bool) {
        let question = Question {
            kind: self.kind,
            master: self.master.clone(),
            configured: self.configured.clone(),
            known: self.current.intent.clone(),
            changed_at: self.changed_at,
            loaded_at: self.loaded_at,
            loads: self.loads.clone(),
            loaded: self.loaded,
            is_guess: self.is_guess,
            disk: self.disk.clone(),
            read_anyway,
            read_keys: self.read_keys,
        };
        self.looks.wanted = false;
        self.looks.begun.0 += 1;
        self.looks.began_at = Instant::now();
        self.looks.taken = readers.ask(self.lane, move || question.look());
        if self.looks.taken.is_none() {
            self.looks.over = self.looks.begun;
            self.problem = Some("too much of its user's waits to be read".to_owned());
        }
    }

    /// About how many bytes its configurations take in memory.
    pub(super) fn size(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |previous| previous.size);
        self.current.size + previous
    }

    /// Takes in what was seen, if a look is over; says whether one is. There is `room` for a
    /// configuration of so many bytes.
    pub(super) fn advance(&mut self, readers: &Readers, names: &mut Names, room: usize) -> bool {
        let Some(Poll::Ready(look)) = self.looks.taken.as_ref().map(Answer::poll) else {
            return false;
        };
        self.looks.end(look.as_ref().and_then(|look| Some(look.as_ref().ok()?.took)));
        match look {
            Some(Ok(look)) => {
                self.configured = Some(look.configured);
                self.disk = look.disk;
                self.loads = look.loads;
                if let Some(seen) = look.seen {
                    self.take(seen, names, room);
                }
            }
            Some(Err(error)) => self.problem = Some(format!("{error:#}")),
            None => self.problem = Some("the thread that reads its files ended".to_owned()),
        }
        if self.looks.wanted {
            self.begin(readers, true);
        }
        true
    }

    fn take(&mut self, seen: Seen, names: &mut Names, room: usize) {
        tracing::debug!(
            master = self.master.key.pid,
            loaded_at = seen.loaded_at.as_secs_f64(),
            in_force = matches!(seen.says, Ok(Says::InForce(..))),
            "looked at the configuration of a proxy"
        );
        self.loaded_at = Some(seen.loaded_at);
        self.changed_at = seen.changed_at;
        let (pending, is_guess) = seen.is_pending_or_guess();
        self.pending = pending;
        match seen.says {
            Ok(Says::InForce(intent, certificates)) => {
                let mut loaded = Configuration::new(intent, certificates, seen.loaded_at);
                loaded.is_other = seen.is_loaded == Some(false);
                loaded.changed_at = seen.changed_at;
                if is_guess {
                    // Changed after the load, perhaps while it was read: nobody knows since when.
                    loaded.loaded_at = None;
                }
                if loaded.size > room {
                    self.problem = Some("its user's configurations are too large".to_owned());
                    return;
                }
                self.problem = None;
                if !is_guess {
                    self.loaded = seen.loaded;
                }
                self.adopt(loaded, is_guess, seen.is_loaded == Some(true), names);
            }
            Ok(Says::Pending) => self.problem = None,
            Err(error) => {
                let what_counts = if self.current.intent.files.is_empty() {
                    "nothing is known of what it intends"
                } else {
                    "the last good configuration counts"
                };
                let problem = format!("{error}; {what_counts}");
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(master = self.master.key.pid, "{problem}");
                }
                self.problem = Some(problem);
            }
        }
    }

    /// `is_running` says that the workers which run are known to have it.
    fn adopt(
        &mut self,
        mut loaded: Configuration,
        is_guess: bool,
        is_running: bool,
        names: &mut Names,
    ) {
        for host in loaded.hosts() {
            names.ask(self.lane, host);
        }
        loaded.name(names);
        let was_guess = std::mem::replace(&mut self.is_guess, is_guess);
        if !is_guess {
            let before = std::mem::take(&mut self.labels_before);
            self.retired.replace(&before, loaded.labels(), Instant::now());
        }
        if was_guess && is_running {
            // Nobody has ever run what was guessed.
            (self.current, self.previous) = (loaded, None);
            return;
        }
        if loaded.intent == self.current.intent {
            // The workers of one load do not all start at the same moment.
            if !was_guess {
                loaded.loaded_at = self.current.loaded_at;
                loaded.changed_at = self.current.changed_at;
            }
            self.current = loaded;
            return;
        }
        let replaced = std::mem::replace(&mut self.current, loaded);
        self.current.tell(&self.label);
        let now = Instant::now();
        self.adopted_at = now;
        let labels = self.current.labels();
        self.retired.replace(replaced.labels(), labels, now);
        self.previous = (!replaced.intent.files.is_empty()).then_some(replaced);
        self.generation = self.generation.next();
    }

    /// Indexes the upstreams again by what is known of their names.
    pub(super) fn name(&mut self, names: &Names) {
        for configuration in self.previous.iter_mut().chain([&mut self.current]) {
            configuration.name(names);
        }
    }
}

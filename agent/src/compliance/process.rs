//! A process that opens connections, as far as it is known.

use std::{sync::Arc, time::Instant};

use super::{
    configuration::Generation,
    instance::{Instance, LookNumber},
    owner::Owner,
};
use hopsight_identity::configured;
use hopsight_posture::{
    policy::{kind::ProxyKind, time::UnixTime},
    workload::pod::{PodIdentity, ProxyIdentity},
};
use hopsight_system::{
    foreign::Lane,
    process::{ProcessFacts, ProcessKey},
    readers::Answer,
};

/// What was found out about a process.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) key: ProcessKey,
    pub(super) whose: Lane,
    pub(super) owner: Owner,
    /// `proxy` label of its hops.
    pub(super) label: Arc<str>,
    /// Container, pod and unit.
    pub(super) identity: Arc<ProxyIdentity>,
    pub(super) worker: Option<Worker>,
    /// When it was first asked for.
    pub(super) since: Instant,
}

/// Who uses a hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// By its main process.
    pub(super) instance: ProcessKey,
    /// Its configuration can be read.
    pub(super) is_configured: bool,
}

/// A process of a proxy whose configuration can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    /// The main process.
    pub(super) master: ProcessKey,
    pub(super) runs: Runs,
    /// When it started, and so loaded the configuration that it runs; absent where it takes in others
    /// as well.
    pub(super) started_at: Option<UnixTime>,
}

/// The configuration that a worker runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Runs {
    /// This one.
    Generation(Generation),
    /// Always the newest.
    Newest,
    /// Which one it is will be known after this look at the files.
    KnownAfter(LookNumber),
}

impl Runs {
    /// What a worker of this proxy runs that is there now, and started then.
    pub(super) fn of(instance: &Instance, started_at: Option<UnixTime>) -> Self {
        match started_at {
            Some(started_at) => Self::Generation(instance.generation_of(started_at)),
            None => Self::Newest,
        }
    }
}

impl Proxy {
    /// When the configuration that the process is running was loaded, if that can be read: when a
    /// worker started.
    pub(super) fn loaded_at(&self) -> Option<UnixTime> {
        self.worker?.started_at
    }

    /// The instance that it is of, by its main process: itself where it is of no other.
    pub(super) fn instance(&self) -> ProcessKey {
        self.worker.map_or(self.key, |worker| worker.master)
    }

    /// It as a user of hops.
    pub(super) fn user(&self) -> User {
        User { instance: self.instance(), is_configured: self.worker.is_some() }
    }

    /// Whose process it is.
    pub(super) const fn whose(&self) -> Lane {
        self.whose
    }

    /// Its pod, where it is known by name.
    pub(super) fn pod(&self) -> Option<&PodIdentity> {
        self.identity.kubernetes.as_ref()
    }
}

/// What was read of a process.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) process: ProcessFacts,
    pub(super) owner: Owner,
    /// If its configuration can be read: what kind of proxy it is, its main process, and whose that is.
    pub(super) main: Option<(ProxyKind, ProcessFacts, Lane)>,
}

impl Facts {
    /// Reads them, on a thread that nobody waits for.
    pub(super) fn read(pid: u32, whose: Lane) -> anyhow::Result<Box<Self>> {
        let process = ProcessFacts::read(pid)?;
        let main = configured::main_of(&process).unwrap_or_else(|error| {
            tracing::debug!(pid, "{error:#}");
            None
        });
        let main = main.and_then(|(kind, facts)| {
            let whose = Lane::of_process(facts.key.pid).ok()?;
            Some((kind, facts, whose))
        });
        // Workers may run as another user than their main process, whose they are.
        let owner = match &main {
            Some((_, main, whose)) => Owner::of(main, *whose),
            None => Owner::of(&process, whose),
        };
        Ok(Box::new(Self { process, owner, main }))
    }
}

/// What is known of a process.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is being read.
    Unread { pid: u32, whose: Lane, since: Instant, facts: Answer<anyhow::Result<Box<Facts>>> },
    /// A source of names has not answered yet; last asked then.
    Unnamed { facts: Box<Facts>, whose: Lane, since: Instant, asked: Instant },
    /// All is known, but perhaps its configuration.
    Known(Box<Proxy>),
    /// It could not be read; tried again after the next `Proxies::tick`.
    Unreadable,
}

impl Entry {
    /// Whose it is, where that is known.
    pub(super) fn whose(&self) -> Option<Lane> {
        match self {
            Self::Unread { whose, .. } | Self::Unnamed { whose, .. } => Some(*whose),
            Self::Known(proxy) => Some(proxy.whose),
            Self::Unreadable => None,
        }
    }

    /// Whether it may still be running.
    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Unread { pid, .. } => Lane::of_process(*pid).is_ok(),
            Self::Unnamed { facts, .. } => facts.process.key.is_running(),
            Self::Known(proxy) => proxy.key.is_running(),
            Self::Unreadable => false,
        }
    }
}

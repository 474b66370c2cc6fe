//! Who has a say in a hop, and what of that outlives the agent.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{MAX_INSTANCES, Proxies};
use crate::compliance::{
    configuration::began_before,
    instance::Instance,
    loaded::{KeptLoads, READERS},
    owner::Owner,
    owners::{Asker, KeptOwners},
    process::{Entry, Proxy, User},
    users::{HopKey, KeptUsers},
};
use hopsight_core::model::{Origin, Process, Timestamp};
use hopsight_posture::{
    hops::{evaluation::Workers, labels},
    policy::time::UnixTime,
};
use hopsight_system::process::{ProcessKey, ticks_now, ticks_of};

/// What outlives the agent of the proxies.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::compliance) struct KeptProxies {
    owners: KeptOwners,
    users: KeptUsers,
    /// Of each instance, by its main process.
    loads: Vec<(ProcessKey, KeptLoads)>,
    /// Whose readers have read what was loaded.
    readers: String,
}

impl Proxies {
    /// The label of a process that is in no pod known by name.
    pub(super) fn own_label(&mut self, process: &Process, asker: Asker<'_>) -> Arc<str> {
        let is_of = |entry: &Entry, whose: &Owner| matches!(entry, Entry::Known(proxy) if proxy.owner == *whose);
        let runs = |whose: &Owner, main: ProcessKey| {
            main.is_running() || self.processes.values().any(|entry| is_of(entry, whose))
        };
        let name = labels::proxy(&Origin::Process(process.clone()));
        let label = self.owners.label(&name, asker, runs, ticks_now());
        self.owners.remember(process, &label);
        label
    }

    /// The label of a process that could not be looked at, or not yet.
    pub(in crate::compliance) fn label_of_unread(&self, origin: &Origin) -> Arc<str> {
        self.owners.label_of_unread(origin)
    }

    /// A process has opened a connection of a hop; says whether that is worth keeping at once: another
    /// configuration has a say in it now, or somebody has another label.
    pub(in crate::compliance) fn note_user(
        &mut self,
        user: User,
        hop: &HopKey,
        now: Timestamp,
    ) -> bool {
        let is_new = self.users.note(hop, user.instance, now) && user.is_configured;
        self.owners.take_change() || is_new
    }

    /// Whether an instance has loaded something since the last time: worth keeping at once.
    pub(in crate::compliance) fn take_load(&mut self) -> bool {
        std::mem::take(&mut self.has_loaded)
    }

    /// Whether the configuration that a process runs says nothing about what others may do: another
    /// proxy of its label has this upstream in its configuration, or has used the hop.
    pub(in crate::compliance) fn has_others(&self, proxy: &Proxy, hop: &HopKey) -> bool {
        let Some(worker) = proxy.worker else { return false };
        let has_it = |(main, instance): (&ProcessKey, &Instance)| {
            *main != worker.master && instance.label == hop.0 && instance.has(&hop.1)
        };
        self.instances.iter().any(has_it) || self.users.has_others(hop, worker.master)
    }

    /// Whether workers of the same proxy run, or are this process, that began before the configuration
    /// was loaded which is in force since then: they go on with an older one.
    pub(in crate::compliance) fn has_older(&self, proxy: &Proxy, since: UnixTime) -> bool {
        let Some(worker) = proxy.worker else { return false };
        let oldest = self.oldest.get(&worker.master).copied();
        [oldest, worker.started_at].into_iter().flatten().any(|began| began_before(began, since))
    }

    /// When the process began, and the oldest worker of the same proxy, of those that run.
    pub(in crate::compliance) fn workers(&self, proxy: &Proxy) -> Option<Workers> {
        let worker = proxy.worker?;
        let own = worker.started_at?;
        let oldest = own.min(*self.oldest.get(&worker.master)?);
        Some(Workers { own: own.as_secs_f64(), oldest: oldest.as_secs_f64() })
    }

    /// Whether one proxy alone uses a hop by now, and all of it that runs began with the configuration
    /// which is in force since then, or later.
    pub(in crate::compliance) fn has_one_user(&self, hop: &HopKey, since: UnixTime) -> bool {
        let mut users = self.users.of(hop);
        let (Some(main), None) = (users.next(), users.next()) else { return false };
        let is_other = |(other, instance): (&ProcessKey, &Instance)| {
            *other != main && instance.label == hop.0 && instance.has(&hop.1)
        };
        self.instances.get(&main).is_some_and(Instance::is_certain)
            && !self.instances.iter().any(is_other)
            && self.oldest.get(&main).is_some_and(|began| !began_before(*began, since))
    }

    /// Whether the configuration of everybody is known who uses a hop.
    pub(in crate::compliance) fn knows_users(&self, hop: &HopKey) -> bool {
        let is_read = |main: &ProcessKey| self.instances.get(main).is_some_and(Instance::is_read);
        self.users.of(hop).all(|main| is_read(&main))
    }

    /// Forgets who used hops that are not there any more.
    pub(in crate::compliance) fn retain_hops(&mut self, is_there: impl Fn(&HopKey) -> bool) {
        self.users.retain_hops(is_there);
    }

    /// Forgets the instances that have ended, with all of their processes, and what was known of them.
    pub(super) fn settle_users(&mut self, now: Timestamp, stands_for: Duration) {
        let known = self.processes.values().filter_map(|entry| match entry {
            Entry::Known(proxy) => Some(&**proxy),
            _ => None,
        });
        let (mut running, mut owners) = (HashSet::<ProcessKey>::new(), HashSet::<&Owner>::new());
        self.oldest.clear();
        for proxy in known {
            running.insert(proxy.instance());
            owners.insert(&proxy.owner);
            if let Some(worker) = proxy.worker
                && let Some(began) = worker.started_at
            {
                let oldest = self.oldest.entry(worker.master).or_insert(began);
                *oldest = began.min(*oldest);
            }
        }
        self.instances.retain(|main, instance| instance.goes_on(running.contains(main)));
        let runs = |main: ProcessKey| running.contains(&main) || main.is_running();
        self.users.settle(runs, now, stands_for);
        self.kept_loads.retain(|main, _| main.is_running());
        let owner_runs = |owner: &Owner, main| owners.contains(owner) || runs(main);
        self.owners.tick(owner_runs, ticks_now(), self.watched_since, ticks_of(stands_for));
    }

    /// What outlives the agent.
    pub(in crate::compliance) fn keep(&self, now: Timestamp) -> KeptProxies {
        let loads = self.instances.iter();
        let seen = loads.map(|(main, instance)| (*main, instance.kept_loads()));
        let unseen = self.kept_loads.iter().map(|(main, loads)| (*main, loads.clone()));
        let mut loads: Vec<_> = seen.chain(unseen).collect();
        loads.sort_by_key(|(main, _)| *main);
        let (owners, users) = (self.owners.keep(), self.users.keep(now));
        KeptProxies { owners, users, loads, readers: READERS.to_owned() }
    }

    /// Goes on with what was kept beside these hops, in this boot of the machine or an earlier one, of
    /// which nothing runs any more.
    pub(in crate::compliance) fn restore(
        &mut self,
        kept: Option<KeptProxies>,
        hops: impl Iterator<Item = HopKey>,
        is_this_boot: bool,
        now: Timestamp,
    ) {
        let Some(KeptProxies { owners, users, loads, readers }) = kept else {
            if is_this_boot {
                hops.for_each(|hop| self.users.note_unknown(&hop, now));
            }
            return;
        };
        self.owners.restore(owners, is_this_boot);
        if is_this_boot {
            self.users.restore(users, now);
            let read_alike = |(main, kept): (ProcessKey, KeptLoads)| {
                (main, if readers == READERS { kept } else { kept.without_fingerprint() })
            };
            self.kept_loads = loads.into_iter().take(MAX_INSTANCES).map(read_alike).collect();
        }
    }
}

//! Which label the processes of an owner have.
//!
//! Any process may call itself `nginx`. So a name alone is the label only of one owner: the first
//! container, unit or account of the system that has it. Others have their owner in the label, and
//! ordinary users always do: what they do is never counted under the name of somebody else.
//!
//! A label stays with its owner, over restarts of the agent and of the owner, for as long as what was
//! seen under it counts. It goes to another one only where that is a container in the place of one
//! that has ended.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::owner::{Owner, network_of};
use hopsight_core::model::{Origin, Process};
use hopsight_posture::hops::labels::{self, OWNER_SEPARATOR};
use hopsight_system::process::ProcessKey;

/// What stands in a label for an owner that could not be found out.
const UNKNOWN: &str = "unknown";
/// Most names, and most names in cgroups, that are remembered.
const MAX_NAMES: usize = 4_096;
/// Most owners of one name that are remembered. The labels of further ones are the same without.
const MAX_CLAIMS: usize = 64;

/// An owner of processes of a name that may have that name as its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    owner: Owner,
    /// The name alone is its label.
    has_name: bool,
    /// Its newest main process.
    main: ProcessKey,
    /// When it was last known to run, in clock ticks after boot.
    ran_at: u64,
}

/// Who has which name.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// By the name of a process.
    claims: HashMap<Arc<str>, Vec<Claim>>,
    /// By cgroup and name: the label of the process that was last looked at there.
    labels: HashMap<(u64, Arc<str>), Arc<str>>,
    /// The agent's own network namespace.
    network: String,
    /// Somebody got another label since this was last asked.
    has_changed: bool,
}

/// What outlives the agent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptOwners {
    names: Vec<(Arc<str>, Vec<Claim>)>,
    cgroups: Vec<(u64, Arc<str>, Arc<str>)>,
}

/// Who asks for a label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) owner: &'a Owner,
    /// Its main process.
    pub(super) main: ProcessKey,
}

impl Owners {
    /// Nobody has a name yet.
    pub(super) fn new() -> Self {
        Self { network: network_of("self"), ..Self::default() }
    }

    /// The label of a process of this name at `now`, in clock ticks after boot; `runs` says whether an
    /// owner with this newest main process has a process.
    pub(super) fn label(
        &mut self,
        name: &Arc<str>,
        asker: Asker<'_>,
        runs: impl Fn(&Owner, ProcessKey) -> bool,
        now: u64,
    ) -> Arc<str> {
        let Asker { owner, main } = asker;
        let text = || owned(name, &owner.text(&self.network));
        if !owner.may_have_a_name() {
            return text();
        }
        if self.claims.len() >= MAX_NAMES && !self.claims.contains_key(name) {
            return text();
        }
        let claims = self.claims.entry(name.clone()).or_default();
        if let Some(claim) = claims.iter_mut().find(|claim| claim.owner == *owner) {
            if main.start_ticks > claim.main.start_ticks {
                claim.main = main;
            }
            claim.ran_at = now;
            return if claim.has_name { name.clone() } else { text() };
        }
        let has_name = match claims.iter().position(|claim| claim.has_name) {
            None => claims.len() < MAX_CLAIMS,
            Some(at) => {
                let has_ended = |claim: &Claim| !runs(&claim.owner, claim.main);
                let follows = is_followed(claims, at, asker, has_ended);
                if follows {
                    claims.remove(at);
                }
                follows
            }
        };
        let label = if has_name { name.clone() } else { text() };
        if claims.len() < MAX_CLAIMS {
            claims.push(Claim { owner: owner.clone(), has_name, main, ran_at: now });
            self.has_changed = true;
        }
        label
    }

    /// Forgets who has not run for `hold` ticks of the time since `watched_since`, and notes who runs
    /// at `now`. Call it about once a second.
    pub(super) fn tick(
        &mut self,
        runs: impl Fn(&Owner, ProcessKey) -> bool,
        now: u64,
        watched_since: u64,
        hold: u64,
    ) {
        for claims in self.claims.values_mut() {
            claims.retain_mut(|claim| {
                if runs(&claim.owner, claim.main) {
                    claim.ran_at = now;
                }
                now.saturating_sub(claim.ran_at.max(watched_since)) <= hold
            });
        }
        self.claims.retain(|_, claims| !claims.is_empty());
    }

    /// Whether somebody got another label since this was last asked.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Remembers the label of a process, if the kernel said in which cgroup it is.
    pub(super) fn remember(&mut self, process: &Process, label: &Arc<str>) {
        if process.cgroup_id == 0 {
            return;
        }
        if self.labels.len() >= MAX_NAMES {
            self.labels.clear();
        }
        self.labels.insert((process.cgroup_id, process.name.clone()), label.clone());
    }

    /// The label of a process that nobody could look at: that of another one of its name in its
    /// cgroup. If there was none, its name, unless that stands for somebody.
    pub(super) fn label_of_unread(&self, origin: &Origin) -> Arc<str> {
        let name = labels::proxy(origin);
        let Origin::Process(process) = origin else { return name };
        match self.labels.get(&(process.cgroup_id, process.name.clone())) {
            Some(label) => label.clone(),
            None if self.claims.contains_key(&name) => unknown(&name),
            None => name,
        }
    }

    /// What outlives the agent.
    pub(super) fn keep(&self) -> KeptOwners {
        let mut names: Vec<_> =
            self.claims.iter().map(|(name, claims)| (name.clone(), claims.clone())).collect();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        let mut cgroups: Vec<_> = self
            .labels
            .iter()
            .map(|((cgroup, name), label)| (*cgroup, name.clone(), label.clone()))
            .collect();
        cgroups.sort();
        KeptOwners { names, cgroups }
    }

    /// Goes on with what was kept, in this boot of the machine or an earlier one.
    pub(super) fn restore(&mut self, kept: KeptOwners, is_this_boot: bool) {
        let is_ours = |text: &Arc<str>| *labels::sanitised(text) == **text;
        let KeptOwners { names, cgroups } = kept;
        for (name, mut claims) in
            names.into_iter().filter(|(name, _)| is_ours(name)).take(MAX_NAMES)
        {
            if !is_this_boot {
                claims.retain(|claim| !claim.owner.ends_with_the_boot());
                for claim in &mut claims {
                    (claim.main, claim.ran_at) = (ProcessKey::default(), 0);
                }
            }
            claims.truncate(MAX_CLAIMS);
            // Of a file that somebody wrote: one has the name at most.
            let mut is_taken = false;
            for claim in &mut claims {
                claim.has_name &= !is_taken;
                is_taken |= claim.has_name;
            }
            if !claims.is_empty() {
                self.claims.insert(name, claims);
            }
        }
        let cgroups = cgroups.into_iter().filter(|(_, _, label)| is_this_boot && is_ours(label));
        let cgroups = cgroups.map(|(cgroup, name, label)| ((cgroup, name), label));
        self.labels.extend(cgroups.take(MAX_NAMES));
    }
}

/// Whether a container takes the place of the one that has the name, `holder` of `claims`: that has
/// ended, it began later, and no other container has ended whose place it may take instead.
fn is_followed(
    claims: &[Claim],
    holder: usize,
    asker: Asker<'_>,
    has_ended: impl Fn(&Claim) -> bool,
) -> bool {
    let is_container = |owner: &Owner| matches!(owner, Owner::Container(_));
    let is_place = |claim: &Claim| is_container(&claim.owner) && has_ended(claim);
    let mut others = claims.iter().enumerate().filter(|(at, _)| *at != holder);
    is_container(asker.owner)
        && is_place(&claims[holder])
        && asker.main.start_ticks > claims[holder].ran_at
        && !others.any(|(_, claim)| is_place(claim))
}

/// The label of what nobody was asked about.
pub(super) fn unknown(name: &str) -> Arc<str> {
    owned(name, UNKNOWN)
}

fn owned(name: &str, owner: &str) -> Arc<str> {
    labels::label(&format!("{name}{OWNER_SEPARATOR}{owner}"))
}

#[cfg(test)]
mod tests;

//! Whose a process is: what tells it from others of its name.
//!
//! Any process may call itself `nginx`. So a name alone is the label only of one owner at a time: the
//! first container, unit or account of the system that has it. Others have their owner in the label,
//! and ordinary users always do: what they do is never counted under the name of somebody else.

use std::{collections::HashMap, fs, sync::Arc};

use hopsight_core::{
    hops::labels::{self, OWNER_SEPARATOR},
    model::{Origin, Process},
    workload::cgroup::CgroupIdentity,
};
use hopsight_system::{foreign::Lane, process::ProcessFacts};

/// User ids below are accounts of the system (`SYS_UID_MAX` of login.defs(5) is 999).
const FIRST_ORDINARY_USER: u32 = 1_000;
/// What stands in a label for an owner that could not be found out.
const UNKNOWN: &str = "unknown";
/// Digits of an id that a label has, as `docker ps` has them.
const SHORT_ID: usize = 12;
/// Most names, and most names in cgroups, that are remembered.
const MAX_NAMES: usize = 4_096;

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// A container's, by its id, or a pod's by its UID where the container is not known.
    Container(String),
    /// A unit's of the service manager.
    Unit(String),
    /// A user's, in a network namespace.
    User(Lane, String),
}

impl Owner {
    /// The owner of a process.
    pub(super) fn of(process: &ProcessFacts, whose: Lane) -> Self {
        let CgroupIdentity { container, pod, unit } = &process.cgroup;
        if let Some(container) = container {
            return Self::Container(container.id.clone());
        }
        if let Some(pod) = pod {
            return Self::Container(pod.uid.clone());
        }
        match unit {
            // A session is its user's, and so is what runs below a user's own manager.
            Some(unit) if !unit.starts_with("user@") && !unit.starts_with("session-") => {
                Self::Unit(unit.clone())
            }
            _ => Self::User(whose, network_of(process.key.pid)),
        }
    }

    /// Whether a name alone may stand for what is theirs.
    fn may_have_a_name(&self) -> bool {
        match self {
            Self::Container(_) | Self::Unit(_) => true,
            Self::User(Lane::User(user), _) => *user < FIRST_ORDINARY_USER,
            Self::User(Lane::Namespaces, _) => false,
        }
    }

    /// In a label; `ours` is the network namespace that most are in.
    fn text(&self, ours: &str) -> String {
        match self {
            Self::Container(id) => id.chars().take(SHORT_ID).collect(),
            Self::Unit(unit) => unit.clone(),
            Self::User(whose, network) => {
                let user = match whose {
                    Lane::User(user) => format!("user-{user}"),
                    Lane::Namespaces => "user-namespace".to_owned(),
                };
                let inode = network.trim_matches(|c: char| !c.is_ascii_digit());
                if network == ours { user } else { format!("{user}-net-{inode}") }
            }
        }
    }
}

/// The network namespace of a process, as its link is called; empty where it is not shown.
fn network_of(pid: impl std::fmt::Display) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/net"));
    link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Who has which name.
#[derive(Debug)]
pub(super) struct Owners {
    /// By the name of a process: for whom it stands alone.
    of_name: HashMap<Arc<str>, Owner>,
    /// By cgroup and name: the label of the process that was last looked at there.
    labels: HashMap<(u64, Arc<str>), Arc<str>>,
    /// The agent's own network namespace.
    network: String,
}

impl Owners {
    /// Nobody has a name yet.
    pub(super) fn new() -> Self {
        let network = network_of("self");
        Self { of_name: HashMap::new(), labels: HashMap::new(), network }
    }

    /// The label of a process of this name; `is_gone` says whether an owner has no process any more.
    pub(super) fn label(
        &mut self,
        name: &Arc<str>,
        owner: &Owner,
        is_gone: impl Fn(&Owner) -> bool,
    ) -> Arc<str> {
        let is_free = match self.of_name.get(name) {
            Some(known) => known == owner || is_gone(known),
            None => self.of_name.len() < MAX_NAMES,
        };
        if is_free && owner.may_have_a_name() {
            self.of_name.insert(name.clone(), owner.clone());
            return name.clone();
        }
        owned(name, &owner.text(&self.network))
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
            None if self.of_name.contains_key(&name) => unknown(&name),
            None => name,
        }
    }
}

/// The label of what nobody was asked about.
pub(super) fn unknown(name: &str) -> Arc<str> {
    owned(name, UNKNOWN)
}

fn owned(name: &str, owner: &str) -> Arc<str> {
    labels::label(&format!("{name}{OWNER_SEPARATOR}{owner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(user: u32) -> Owner {
        Owner::User(Lane::User(user), "net:[1]".to_owned())
    }

    #[test]
    fn nobody_is_counted_under_the_name_of_somebody_else() {
        let mut names = Owners { network: "net:[1]".to_owned(), ..Owners::new() };
        let name: Arc<str> = "nginx".into();
        let unit = Owner::Unit("nginx.service".to_owned());
        let container = Owner::Container("3f2a1b0c9d8e7f6a5b4c".to_owned());
        let elsewhere = Owner::User(Lane::User(0), "net:[2]".to_owned());
        for (case, owner, is_gone, expected) in [
            ("an ordinary user is never first", &user(1_000), false, "nginx@user-1000"),
            (
                "nor is somebody in a namespace of users",
                &Owner::User(Lane::Namespaces, String::new()),
                false,
                "nginx@user-namespace-net-",
            ),
            ("the first", &unit, false, "nginx"),
            ("the same again", &unit, false, "nginx"),
            ("a container beside it", &container, false, "nginx@3f2a1b0c9d8e"),
            ("root beside it", &user(0), false, "nginx@user-0"),
            ("root in another network", &elsewhere, false, "nginx@user-0-net-2"),
            ("after the unit is gone", &container, true, "nginx"),
            ("an ordinary user then", &user(1_000), true, "nginx@user-1000"),
        ] {
            assert_eq!(&*names.label(&name, owner, |_| is_gone), expected, "{case}");
        }
    }

    #[test]
    fn what_could_not_be_looked_at_takes_nobodys_name() {
        let process = |cgroup_id| Process { pid: 1, name: "nginx".into(), cgroup_id };
        let origin = |cgroup_id| Origin::Process(process(cgroup_id));
        let mut names = Owners::new();
        assert_eq!(&*names.label_of_unread(&origin(7)), "nginx", "nobody has it");
        let label = names.label(&"nginx".into(), &Owner::Unit("a.service".into()), |_| false);
        names.remember(&process(7), &label);
        names.remember(&process(0), &label);
        assert_eq!(&*names.label_of_unread(&origin(7)), "nginx", "another one of its cgroup");
        assert_eq!(&*names.label_of_unread(&origin(8)), "nginx@unknown", "from elsewhere");
        assert_eq!(&*names.label_of_unread(&origin(0)), "nginx@unknown", "from nobody knows where");
    }
}

//! Whose a process is: what tells it from others of its name.

use std::fs;

use serde::{Deserialize, Serialize};

use hopsight_posture::workload::cgroup::CgroupIdentity;
use hopsight_system::{foreign::Lane, process::ProcessFacts};

/// User ids below are accounts of the system (`SYS_UID_MAX` of login.defs(5) is 999).
const FIRST_ORDINARY_USER: u32 = 1_000;
/// Digits of an id that a label has, as `docker ps` has them.
const SHORT_ID: usize = 12;

/// Whose a process is. What it is known by is the same after a restart of the agent; a container has
/// its id until it is removed, and a unit its name for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    pub(super) fn may_have_a_name(&self) -> bool {
        match self {
            Self::Container(_) | Self::Unit(_) => true,
            Self::User(Lane::User(user), _) => *user < FIRST_ORDINARY_USER,
            Self::User(Lane::Namespaces, _) => false,
        }
    }

    /// Whether it is known by what a boot of the machine makes anew.
    pub(super) const fn ends_with_the_boot(&self) -> bool {
        matches!(self, Self::User(..))
    }

    /// In a label; `ours` is the network namespace that most are in.
    pub(super) fn text(&self, ours: &str) -> String {
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
pub(super) fn network_of(pid: impl std::fmt::Display) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/net"));
    link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

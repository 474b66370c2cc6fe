//! What the agent is called.

use std::{env, fs};

use serde::{Deserialize, Serialize};

use hopsight_posture::hops::{labels::label, witness::Witness};

/// Where the kernel tells the host name (proc_sys_kernel(5)).
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What the agent is called in `/hops` and events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Name of this node.
    pub node: Option<String>,
    /// Name of the cluster.
    pub cluster: Option<String>,
}

impl Agent {
    /// The same as it is told. A node that has no name here is called as in Kubernetes (`known`), as
    /// the variable `NODE_NAME` says, or by its host name.
    pub(super) fn witness(&self, known: Option<&str>) -> Witness {
        let named = self.node.as_deref().or(known).map(str::to_owned);
        let told = || env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
        let host = || fs::read_to_string(HOST_NAME).ok().filter(|name| !name.trim().is_empty());
        let node = named.or_else(told).or_else(host);
        Witness {
            node: node.map(|name| label(&name)),
            cluster: self.cluster.as_deref().map(label),
            ..Witness::default()
        }
    }

    /// Each rule about the values here, and what to say where it is broken.
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        let is_name =
            |name: &Option<String>| name.as_ref().is_none_or(|name| !name.trim().is_empty());
        [
            (is_name(&self.node), "agent.node must not be empty; leave it out to use NODE_NAME"),
            (
                is_name(&self.cluster),
                "agent.cluster must not be empty; leave it out if it has no name",
            ),
        ]
    }
}

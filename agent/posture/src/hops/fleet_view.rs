//! A hop as a fleet has it: of many nodes in one.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use hopsight_core::model::Security;

/// Who sees a hop of a fleet, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// The cluster, where it has a name.
    pub cluster: Option<Arc<str>>,
    /// The agent, as Prometheus calls it, where the proxy is no workload: then it is another one on each
    /// node.
    pub instance: Option<Arc<str>>,
    /// The proxy, as agents label it.
    pub proxy: Arc<str>,
    /// Nodes by what they see.
    pub nodes: BTreeMap<Security, u64>,
}

//! Which agent says something, and what it says of its own watching: the frame that an answer needs
//! before anybody can rely on it away from the agent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use hopsight_core::tls::fingerprint::Fingerprint;

/// Version of the shape of `/hops` and of events. Fields and words that are added do not change it;
/// what a program that reads them would get wrong does.
pub const SCHEMA_VERSION: u32 = 1;

/// Which agent says something. Every event and every answer of `/hops` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Version of the shape of what follows, [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The node that it watches; `None` where it has no name.
    pub node: Option<Arc<str>>,
    /// The cluster, where it was told.
    pub cluster: Option<Arc<str>>,
    /// Version of the agent.
    pub agent_version: Arc<str>,
}

/// An agent of this version that was not told where it is.
impl Default for Witness {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            node: None,
            cluster: None,
            agent_version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// What an agent says of its own watching. Counts are since it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// When it began, seconds since the Unix epoch.
    pub since: f64,
    /// Whether it was ready, as `/readyz` says it.
    pub ready: bool,
    /// Its parts that were not whole, as `/readyz` names them.
    pub impaired: Vec<Arc<str>>,
    /// Digest of the kernel programs.
    pub kernel_programs_sha256: Fingerprint,
    /// Digest of the policy file in force; `None` where only the built-in policies apply.
    pub policy_sha256: Option<Fingerprint>,
    /// Events that the kernel delivered.
    pub events_received: u64,
    /// What was lost on the way.
    pub lost: Losses,
}

/// What never became part of an answer. Each is a hole in what the agent can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Events that the kernel programs could not deliver.
    pub events: u64,
    /// Events that could not be decoded.
    pub undecodable: u64,
    /// Connections given up because a bound on memory was reached.
    pub connections: u64,
    /// Reports that were not evaluated against policy.
    pub evaluations: u64,
}

impl Losses {
    /// Each loss by its name in JSON.
    #[must_use]
    pub const fn named(self) -> [(&'static str, u64); 4] {
        [
            ("events", self.events),
            ("undecodable", self.undecodable),
            ("connections", self.connections),
            ("evaluations", self.evaluations),
        ]
    }

    /// What was lost since `before`, of the same run of the agent.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            events: self.events.saturating_sub(before.events),
            undecodable: self.undecodable.saturating_sub(before.undecodable),
            connections: self.connections.saturating_sub(before.connections),
            evaluations: self.evaluations.saturating_sub(before.evaluations),
        }
    }
}

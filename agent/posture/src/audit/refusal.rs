//! Why an account is not enough.

use std::sync::Arc;

use serde::Serialize;

use hopsight_core::vocabulary;

vocabulary! {
    /// What is wrong.
    RefusalKind {
        /// It is no statement that can be read.
        Unreadable => "unreadable",
        /// No key that was given has signed it.
        Signature => "signature",
        /// Its chain does not begin where it has to.
        ChainBegin => "chain_begin",
        /// A statement of its chain is missing, or another one stands in its place.
        ChainBroken => "chain_broken",
        /// It is too old.
        Stale => "stale",
        /// It says nothing: no node, no hop, or no connection.
        Nothing => "nothing",
        /// A node that has to be there is not.
        NodeMissing => "node_missing",
        /// What an agent says of its own watching is not known.
        WatchUnknown => "watch_unknown",
        /// An agent was not ready.
        NotReady => "not_ready",
        /// Nobody accounts for a part of the time.
        Unaccounted => "unaccounted",
        /// Something was lost on the way.
        Lost => "lost",
        /// A table was full.
        TableFull => "table_full",
        /// Another policy was in force.
        AnotherPolicy => "another_policy",
        /// It is not known how a hop is protected.
        HopUnknown => "hop_unknown",
        /// A hop is less protected than it has to be, or was.
        Security => "security",
        /// Of too few connections of a hop it is known how they were protected.
        Coverage => "coverage",
        /// What is known of a hop rests on too little.
        Evidence => "evidence",
        /// A proxy is not known to check its upstream's certificate.
        NotVerified => "not_verified",
        /// A hop is not as policy wants it, or is not known to be.
        NotCompliant => "not_compliant",
    }
}

/// One reason why an account is not enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What is wrong.
    pub kind: RefusalKind,
    /// On which node, where it is one's.
    pub node: Option<Arc<str>>,
    /// Of which hop, `PROXY to UPSTREAM`, where it is one's.
    pub hop: Option<Arc<str>>,
    /// For people.
    pub detail: String,
}

impl Refusal {
    /// One that is no node's.
    #[must_use]
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, node: None, hop: None, detail: detail.into() }
    }

    /// The same of a node.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        Self { node: Some(node.into()), ..self }
    }

    /// The same of a hop.
    #[must_use]
    pub fn of(self, hop: &str) -> Self {
        Self { hop: Some(hop.into()), ..self }
    }
}

/// `NODE: HOP: detail`, as far as it is about one.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.node, &self.hop].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.detail)
    }
}

//! What somebody requires of an account.

use hopsight_core::{model::Evidence, tls::fingerprint::Fingerprint, vocabulary};

vocabulary! {
    /// What every hop has to be.
    Demand {
        /// Mutual TLS.
        Mtls => "mtls",
        /// TLS, one-way or mutual.
        Tls => "tls",
        /// TLS, and the proxy checks the upstream's certificate.
        Verified => "verified",
        /// As policy and configuration want it.
        Compliant => "compliant",
    }
}

/// What somebody requires. Nothing here can be left out that would let pass what nobody looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirements {
    /// What every hop has to be; at least one.
    pub demands: Vec<Demand>,
    /// Share of the connections of a hop of which it has to be known how they were protected.
    pub min_coverage: f64,
    /// What verdicts have to rest on at least.
    pub min_evidence: Evidence,
    /// Hops that have to be there.
    pub min_hops: usize,
    /// Seconds at the beginning of the time for which nobody needs to account.
    pub max_unaccounted_seconds: f64,
    /// Whether what is exempt passes.
    pub allow_exempt: bool,
    /// Nodes that have to be there.
    pub nodes: Vec<String>,
    /// Nodes that were there before and need not be any more.
    pub gone: Vec<String>,
    /// Digest of the policy that has to have been in force.
    pub policy: Option<Fingerprint>,
}

impl Default for Requirements {
    fn default() -> Self {
        Self {
            demands: vec![Demand::Mtls],
            min_coverage: 1.0,
            min_evidence: Evidence::Carried,
            min_hops: 1,
            max_unaccounted_seconds: 0.0,
            allow_exempt: false,
            nodes: Vec::new(),
            gone: Vec::new(),
            policy: None,
        }
    }
}

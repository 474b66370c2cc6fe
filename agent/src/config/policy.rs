//! What connections are evaluated against, and how drift is kept.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Hops;
use crate::compliance::ComplianceOptions;
use hopsight_posture::{hops::table::MAX_OVERFLOW_HOPS, policy::drift};

/// What connections are evaluated against, and how drift is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// The policy file; if absent, only the built-in policies apply.
    pub file: Option<PathBuf>,
    /// Whether an agent that cannot use its policy file is not ready.
    pub required: bool,
    /// Directory of revocation lists; if absent, only those are known that configurations name.
    pub revocation_lists: Option<PathBuf>,
    /// Directory in which hops and open drift survive a restart; if absent, nothing does.
    pub state_directory: Option<PathBuf>,
    /// Most connection reports that may wait to be evaluated.
    pub queue: usize,
    /// Seconds without an offending connection before a drift counts as remedied.
    pub settle_seconds: u64,
    /// Seconds for which only resumed sessions may be seen before that becomes a drift.
    pub resumed_unseen_after_seconds: u64,
    /// Seconds without any connection after which an open drift is given up.
    pub forget_after_seconds: u64,
    /// Closed drifts that are kept.
    pub max_closed: usize,
    /// Read the private keys of client certificates, to say whether they match.
    pub read_private_keys: bool,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let ComplianceOptions {
            policy,
            policy_required,
            revocation_lists,
            state,
            drift,
            queue,
            read_private_keys,
            ..
        } = ComplianceOptions::default();
        Self {
            file: policy,
            required: policy_required,
            revocation_lists,
            state_directory: state,
            queue,
            settle_seconds: drift.settle.as_secs(),
            resumed_unseen_after_seconds: drift.resumed_unseen_after.as_secs(),
            forget_after_seconds: drift.forget_after.as_secs(),
            max_closed: drift.max_closed,
            read_private_keys,
        }
    }
}

impl PolicyConfig {
    /// The same, as the compliance thread takes it.
    #[must_use]
    pub fn options(&self, hops: Hops) -> ComplianceOptions {
        ComplianceOptions {
            policy: self.file.clone(),
            policy_required: self.required,
            revocation_lists: self.revocation_lists.clone(),
            state: self.state_directory.clone(),
            drift: drift::Options {
                settle: Duration::from_secs(self.settle_seconds),
                stands_for: Duration::from_secs(hops.treatment_seconds),
                resumed_unseen_after: Duration::from_secs(self.resumed_unseen_after_seconds),
                forget_after: Duration::from_secs(self.forget_after_seconds),
                // Those that stand for many have room beside the others.
                max_hops: hops.max_hops + MAX_OVERFLOW_HOPS,
                max_closed: self.max_closed,
            },
            queue: self.queue,
            read_private_keys: self.read_private_keys,
            ..ComplianceOptions::default()
        }
    }

    /// Whether it names the policy file that it requires.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn has_what_it_requires(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.required || self.file.is_some(),
            "a policy file is required and none is named: set policy.file, or start with --policy"
        );
        Ok(())
    }

    /// Each rule about the values here, and what to say where it is broken.
    pub(super) const fn rules(&self) -> [(bool, &'static str); 4] {
        [
            (self.queue >= 1, "policy.queue must be at least 1"),
            (
                self.settle_seconds >= 1 && self.settle_seconds <= 3_600,
                "policy.settle_seconds must be between 1 and 3600",
            ),
            (self.forget_after_seconds >= 60, "policy.forget_after_seconds must be at least 60"),
            (self.max_closed <= 100_000, "policy.max_closed must be at most 100000"),
        ]
    }
}

//! What a proxy has loaded, kept over restarts of the agent.
//!
//! What runs is told from what lies on disk by the times of files. A file that was taken out of an
//! included directory has none, nor has a symbolic link that was set back to older files: whoever
//! looked before knows what they said when they were loaded.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::loads::Loads;
use hopsight_posture::policy::intent::Intent;

/// Whose readers made a fingerprint: others may make another one of the same files.
pub(super) const READERS: &str = env!("CARGO_PKG_VERSION");

/// A configuration that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loaded {
    /// When the workers started with it, in clock ticks after boot.
    at: u64,
    /// Of what it says.
    fingerprint: u64,
}

impl Loaded {
    /// What workers run that started then.
    pub(super) fn new(at: u64, intent: &Intent) -> Self {
        let mut hasher = DefaultHasher::new();
        format!("{intent:?}").hash(&mut hasher);
        Self { at, fingerprint: hasher.finish() }
    }

    /// Whether both are of the workers that started then.
    pub(super) fn is_of_the_load_of(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

/// What outlives the agent of the loads of an instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptLoads {
    /// What was seen of them, of an nginx.
    #[serde(default)]
    pub(super) loads: Option<Loads>,
    /// What it has loaded, where that was known for certain when it did.
    #[serde(default)]
    pub(super) loaded: Option<Loaded>,
    /// Labels of the upstreams in its configuration, and of those that were taken out of it lately.
    #[serde(default)]
    pub(super) labels: HashSet<Arc<str>>,
}

impl KeptLoads {
    /// The same where other readers have read it.
    pub(super) fn without_fingerprint(self) -> Self {
        Self { loaded: None, ..self }
    }
}

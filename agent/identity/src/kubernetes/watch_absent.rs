//! In place of the watches, in a build without them.

use super::{KubernetesOptions, SharedTables};
use crate::source_state::NameSourceState;

/// Never started.
#[derive(Debug)]
pub struct Watch {
    tables: SharedTables,
}

impl Watch {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &KubernetesOptions) -> anyhow::Result<Self> {
        anyhow::bail!(
            "this hopsight was built without the Kubernetes API (cargo feature `kubernetes`)"
        )
    }

    /// The state of the watches.
    #[must_use]
    pub fn state(&self) -> NameSourceState {
        NameSourceState::Starting
    }

    /// Nothing.
    #[must_use]
    pub const fn tables(&self) -> &SharedTables {
        &self.tables
    }
}

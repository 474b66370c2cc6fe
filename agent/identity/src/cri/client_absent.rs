//! In place of the client, in a build without it.

use std::path::Path;

use hopsight_posture::workload::pods::PodTable;

/// Never made.
#[derive(Debug)]
pub struct CriClient {
    known: PodTable,
}

impl CriClient {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &Path, _: &[String]) -> anyhow::Result<Self> {
        anyhow::bail!("this hopsight was built without CRI (cargo feature `cri`)")
    }

    /// What was known when it was last asked.
    #[must_use]
    pub const fn known(&self) -> &PodTable {
        &self.known
    }

    /// Asks for everything again.
    ///
    /// # Errors
    /// Never reached.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

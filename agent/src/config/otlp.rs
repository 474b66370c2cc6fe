//! Export to an OpenTelemetry collector.

use serde::{Deserialize, Serialize};

/// Export to an OpenTelemetry collector, where the build has it (cargo feature `otlp`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Base URL of its OTLP/HTTP receiver; if absent, nothing is exported.
    pub endpoint: Option<String>,
    /// Seconds between exports of the metrics; 0 for none.
    pub metrics_interval_seconds: u64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: None, metrics_interval_seconds: 60 }
    }
}

#[cfg(feature = "otlp")]
impl Otlp {
    /// What to export to, if anything.
    ///
    /// # Errors
    /// The endpoint is no URL that can be exported to.
    pub fn options(&self) -> anyhow::Result<Option<hopsight_export::otlp::OtlpOptions>> {
        use hopsight_export::otlp::{Endpoint, OtlpOptions};

        let Some(url) = &self.endpoint else { return Ok(None) };
        let endpoint =
            Endpoint::parse(url).map_err(|why| anyhow::anyhow!("otlp.endpoint: {why}"))?;
        let metrics_interval = std::time::Duration::from_secs(self.metrics_interval_seconds);
        Ok(Some(OtlpOptions { endpoint, metrics_interval }))
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.options().map(drop)
    }
}

#[cfg(not(feature = "otlp"))]
impl Otlp {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.endpoint.is_none(),
            "otlp.endpoint: this hopsight was built without the cargo feature otlp"
        );
        Ok(())
    }
}

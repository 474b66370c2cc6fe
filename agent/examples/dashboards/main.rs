//! Writes the Grafana dashboards: `cargo run -p hopsight --example dashboards -- DIR`.
//!
//! They are made by a program so that every query names its metric by the constant in the
//! catalogue, and every panel follows the same rules.

mod agent;
mod grafana;
mod hop;
mod overview;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args().nth(1).context("say into which directory")?;
    for dashboard in [overview::dashboard(), hop::dashboard(), agent::dashboard()] {
        let path = std::path::Path::new(&dir).join(format!("{}.json", dashboard.uid));
        let text = serde_json::to_string_pretty(&dashboard.json())? + "\n";
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

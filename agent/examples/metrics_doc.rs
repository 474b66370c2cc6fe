//! Writes METRICS.md from the metric catalogue.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../METRICS.md");
    std::fs::write(path, hopsight::export::metrics::markdown()).context("write METRICS.md")
}

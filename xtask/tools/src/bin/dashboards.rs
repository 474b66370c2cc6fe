//! Writes the Grafana dashboards: `cargo run -p hopsight-tools --bin dashboards -- DIR`.

use std::{fs, path::Path};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let dir = std::env::args().nth(1).context("say into which directory")?;
    for (name, text) in hopsight_tools::dashboards::files()? {
        let path = Path::new(&dir).join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

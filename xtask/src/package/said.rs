//! What the binary says of itself, as files that go with it.

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::command::output;

/// The files, and what the binary is asked for each. `package.metadata.deb` of the agent has them too.
const FILES: [(&str, &[&str]); 5] = [
    ("hopsight.1", &["man"]),
    ("hopsight.bash", &["completions", "bash"]),
    ("_hopsight", &["completions", "zsh"]),
    ("hopsight.fish", &["completions", "fish"]),
    ("hopsight.toml", &["config"]),
];

/// Writes them to a directory; their names.
pub(super) fn write(binary: &Path, dir: &Path) -> anyhow::Result<Vec<&'static str>> {
    let program = binary.to_str().context("the path is not UTF-8")?;
    for (name, arguments) in FILES {
        let file = dir.join(name);
        let text = output(program, arguments)
            .with_context(|| format!("run {program} {}", arguments.join(" ")))?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(FILES.map(|(name, _)| name).into())
}

//! The recorded handshakes of `fixtures/handshakes`, of which synthetic traffic is made.

use std::{fs, path::Path};

use anyhow::Context as _;
use hopsight::model::{Direction, Event};

/// One recorded connection.
#[derive(Clone, Debug)]
pub struct Script {
    /// Name of its file, without ending.
    pub name: String,
    /// What both sides said, in turn.
    pub said: Vec<(Direction, Vec<u8>)>,
}

/// Every recording, by name.
///
/// # Errors
/// If a file cannot be read.
pub fn scripts() -> anyhow::Result<Vec<Script>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handshakes");
    let mut files = fs::read_dir(&directory)
        .context("open fixtures/handshakes")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    files.iter().map(|path| script(path)).collect()
}

fn script(path: &Path) -> anyhow::Result<Script> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>()?;
    let first = events.iter().find_map(|event| match event {
        Event::Opened { flow, .. } => Some(*flow),
        _ => None,
    });
    let said = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Segment { flow, direction, bytes, .. } if Some(flow) == first => {
                Some((direction, bytes))
            }
            _ => None,
        })
        .collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Script { name, said })
}

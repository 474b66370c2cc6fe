//! The recorded handshakes of `agent/core/fixtures/handshakes`, of which synthetic traffic is made.

pub mod events;

use std::{fs, path::Path};

use anyhow::Context as _;
use hopsight_core::model::{Direction, Event};

const DIRECTORY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent/core/fixtures/handshakes");

/// One recorded connection.
#[derive(Clone, Debug)]
pub struct Script {
    /// What both sides said, in turn.
    pub said: Vec<(Direction, Vec<u8>)>,
}

/// Every recording, by name.
///
/// # Errors
/// If a file cannot be read.
pub fn scripts() -> anyhow::Result<Vec<Script>> {
    let mut names = fs::read_dir(DIRECTORY)
        .with_context(|| format!("open {DIRECTORY}"))?
        .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().display().to_string()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("list {DIRECTORY}"))?;
    names.sort();
    names.iter().map(|name| script(name)).collect()
}

/// The recording of this name.
///
/// # Errors
/// If its file cannot be read.
pub fn script(name: &str) -> anyhow::Result<Script> {
    let path = Path::new(DIRECTORY).join(format!("{name}.jsonl"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>()?;
    let first = events.iter().find_map(|event| match event {
        Event::Opened { connection, .. } => Some(*connection),
        _ => None,
    });
    let said = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Segment { connection, direction, bytes, .. } if Some(connection) == first => {
                Some((direction, bytes))
            }
            _ => None,
        })
        .collect();
    Ok(Script { said })
}

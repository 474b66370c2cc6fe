//! Where the captures are that others made. They are not ours to ship: tests read them where they
//! are present (the folder in `HOPSIGHT_SHARED`, else `../shared` beside the workspace).

use std::path::PathBuf;

/// The folder of captures; it may not exist.
pub fn corpus() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("HOPSIGHT_SHARED").map_or_else(|| beside.into(), PathBuf::from);
    shared.join("corpus")
}

use std::path::PathBuf;

/// The folder of captures and recordings that others made: the one in `HOPSIGHT_SHARED`, else
/// `shared` beside the workspace. They are not ours to ship, so it may not exist.
#[must_use]
pub fn shared() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    std::env::var_os("HOPSIGHT_SHARED").map_or_else(|| beside.into(), PathBuf::from)
}

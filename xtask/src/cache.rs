//! Where downloads live between runs, outside of the tree.

use std::{env, path::PathBuf};

use anyhow::Context as _;

/// The user's cache directory of hopsight.
///
/// # Errors
/// Where neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn directory() -> anyhow::Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(cache.context("find the cache directory; set HOME")?.join("hopsight"))
}

//! Where the files of a configuration come from.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Where the files of a configuration come from. Paths are absolute, as the proxy sees them.
pub trait ConfigFiles {
    /// The content of one file.
    ///
    /// # Errors
    /// As `read(2)` has them; the reader adds the path and the place where it is named.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files matching a pattern (see [`glob::matches`](super::glob::matches), applied to each
    /// part of the path; a leading `.` is matched only by a `.`), sorted by name like `glob(3)`. No
    /// match is no error.
    ///
    /// # Errors
    /// When a directory exists and cannot be listed.
    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
}

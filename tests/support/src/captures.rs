use std::{
    fs,
    path::{Path, PathBuf},
};

/// The captures in and below `folder`, by name; none where it cannot be listed.
#[must_use]
pub fn captures(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(captures(&path));
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap") {
            found.push(path);
        }
    }
    found.sort();
    found
}

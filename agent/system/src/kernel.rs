//! The running kernel.

use std::fs;

/// Linux versions as `(major, minor)`.
pub type Version = (u32, u32);

/// The text of a small file, without its line end; empty where there is no file.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// The version in a kernel release such as `6.1.0-18-amd64`; `None` where it has none.
#[must_use]
pub fn parse_version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Version of the running kernel; `None` where it does not say.
#[must_use]
pub fn running_kernel() -> Option<Version> {
    parse_version(&read("/proc/sys/kernel/osrelease"))
}

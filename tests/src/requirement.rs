//! What a live test needs of the machine, and how it is skipped without.

use std::{env, path::Path};

/// Whether the test can run. If not, says so on standard error.
///
/// # Panics
/// In continuous integration (`CI` set and not `false`), where a skipped live test is a failure.
#[must_use]
pub fn met(test: &str, programs: &[&str]) -> bool {
    let missing = missing(programs);
    if missing.is_empty() {
        return true;
    }
    let line = format!("SKIP: {test}: {}", missing.join("; "));
    let ci = env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "{line} (`cargo xtask setup` as root installs what is missing)");
    eprintln!("{line}");
    false
}

fn missing(programs: &[&str]) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("needs root".to_owned());
    }
    for program in programs.iter().chain(&["setpriv"]) {
        if !installed(program) {
            missing.push(format!("{program} is not installed"));
        }
    }
    missing
}

/// Whether the program is on `PATH`.
#[must_use]
pub fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
}

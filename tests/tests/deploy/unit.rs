//! The systemd unit.

use std::{path::Path, process::Command};

use hopsight_tests::requirement;

/// What `systemd-analyze security` may say at most: 0.0 is locked away, 10.0 is open. The agent's
/// capabilities, the machine's network and /proc are what is left.
const EXPOSURE: f64 = 3.5;

#[test]
fn the_unit_is_valid_and_hardened() {
    if !requirement::met("the_unit_is_valid_and_hardened", &["systemd-analyze"]) {
        return;
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/deploy/hopsight.service");
    // `verify` wants program and manual page to be there.
    let text = std::fs::read_to_string(&unit).unwrap();
    let text = text.replace("/usr/bin/hopsight", "/bin/true").replace("Documentation=", "# ");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("hopsight.service");
    std::fs::write(&copy, text).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = words.lines().filter(|line| line.contains("hopsight.service")).collect();
    assert!(output.status.success() && ours.is_empty(), "{words}");

    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let level = words.lines().rev().find_map(|line| line.split_once("Overall exposure level for "));
    let level = level.and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or("none");
    println!("exposure level {level}");
    let level: f64 = level.parse().unwrap_or_else(|_| panic!("{words}"));
    assert!(level <= EXPOSURE, "{words}");
}

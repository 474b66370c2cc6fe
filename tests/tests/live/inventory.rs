//! The inventory, from end to end.

use std::{path::Path, process::Command, time::Instant};

use hopsight_tests::agent::{self, MadeUp};
use serde_json::Value;

/// What the command line writes: of these files, or of the agent there.
pub fn inventory(arguments: &[&str]) -> Value {
    let program = agent::binary().unwrap();
    let output = Command::new(program).arg("inventory").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines<'i>(inventory: &'i Value, of: &str) -> &'i [Value] {
    inventory[of].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn a_capture_has_an_inventory() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/capture/fixtures/stacks");
    let capture = fixtures.join("block-padding.pcap");
    let inventory = inventory(&[capture.to_str().unwrap()]);
    assert_eq!(lines(&inventory, "sources").len(), 1, "{inventory:#}");
    let cryptography = lines(&inventory, "cryptography");
    assert!(cryptography.iter().any(|line| line["version"] == "1.3"), "{inventory:#}");
    assert!(cryptography.iter().all(|line| line["group"].is_string()), "{inventory:#}");
    let encrypted = |line: &Value| line["absent"] == "encrypted";
    assert!(lines(&inventory, "certificates").iter().any(encrypted), "{inventory:#}");
}

#[test]
fn an_agent_with_many_hops_has_an_inventory() {
    const HOPS: u64 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let agent = MadeUp::start(dir.path(), HOPS).unwrap();
    let asked_at = Instant::now();
    let inventory = inventory(&["--address", &agent.http.to_string()]);
    println!("an inventory of {HOPS} hops took {:?}", asked_at.elapsed());
    assert_eq!(lines(&inventory, "sources")[0]["hops"], HOPS);
    assert!(lines(&inventory, "cryptography").len() >= HOPS.try_into().unwrap());
}

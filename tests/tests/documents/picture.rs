//! The picture of the architecture is what its script draws.

use std::{path::Path, process::Command};

use hopsight_tests::golden;

#[test]
fn the_picture_is_what_its_script_draws() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/docs");
    let Ok(drawn) = Command::new("python3").arg(docs.join("architecture.py")).output() else {
        let why = "there is no Python";
        return hopsight_test_support::not_run("the_picture_is_what_its_script_draws", why);
    };
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let picture = String::from_utf8(drawn.stdout).unwrap();
    golden::file(&docs.join("architecture.svg"), &picture).unwrap();
}

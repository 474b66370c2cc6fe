//! Placement on real libraries, and on instructions assembled by hand.

use super::*;

fn placement_of(path: &std::path::Path) -> Option<Placement> {
    let file = std::fs::read(path).ok()?;
    of_library(&Image::parse(&file).unwrap())
}

#[test]
fn dump() {
    for path in std::env::var("LIBS").unwrap_or_default().split(':') {
        println!("{path} {:#x?}", placement_of(path.as_ref()));
    }
    let file = std::fs::read("/usr/sbin/nginx").unwrap();
    println!("{:#x?}", of_application(&Image::parse(&file).unwrap()));
}

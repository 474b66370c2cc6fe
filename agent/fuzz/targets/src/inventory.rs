//! Saved answers of `/hops`, which anybody may have written.

use hopsight_export::inventory::{Inventory, Source};
use hopsight_posture::hops::table::Snapshot;

/// An inventory of any hops: a page without scripts, documents that can be read again, and nothing in
/// them that moves a cursor.
pub fn inventory(data: &[u8]) {
    let Ok(hops) = serde_json::from_slice::<Snapshot>(data) else { return };
    let name = String::from_utf8_lossy(data).chars().take(100).collect();
    let inventory = Inventory::of(vec![Source { name, hops }]);
    let page = inventory.html(1.8e9);
    assert!(!page.contains("<script") && page.ends_with("</html>\n"));
    for json in [inventory.json(), inventory.cyclonedx(1.8e9)] {
        let Ok(json) = json else { panic!("it has a JSON form") };
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
    let Ok(table) = inventory.csv() else { panic!("it is written to memory") };
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table}");
}

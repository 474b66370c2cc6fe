//! The Grafana dashboards, made by a program so that every query names its metric by the constant
//! in the catalogue, and every panel follows the same rules.

mod agent;
mod certificates;
mod grafana;
mod hop;
mod overview;

/// Name and text of each dashboard's file.
///
/// # Errors
/// Never in practice: the values are made of text and numbers.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let dashboards = [overview::dashboard(), hop::dashboard(), agent::dashboard()];
    let files = dashboards.iter().map(|dashboard| {
        let text = serde_json::to_string_pretty(&dashboard.json())? + "\n";
        Ok((format!("{}.json", dashboard.uid), text))
    });
    files.collect()
}

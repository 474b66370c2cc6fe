//! A table of a report, RFC 4180.

use super::Report;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A line for each hop.
    Hops,
    /// A line for each node.
    Nodes,
    /// A line for each drift.
    Drift,
    /// A line for each hop that is exempt.
    Exemptions,
}

/// Writes it with a heading line.
pub(super) fn write(report: &Report, table: Table) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let rows: Vec<serde_json::Value> = match table {
        Table::Hops => values(&report.hops)?,
        Table::Nodes => values(&report.nodes)?,
        Table::Drift => values(&report.drift)?,
        Table::Exemptions => values(&report.exemptions)?,
    };
    out.write_record(headings(table))?;
    for row in rows {
        out.write_record(headings(table).iter().map(|heading| cell(&field(&row, heading))))?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

fn values(lines: &[impl serde::Serialize]) -> anyhow::Result<Vec<serde_json::Value>> {
    Ok(lines.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

/// The fields of a line in JSON, in the order of the columns; a dot leads into an object.
const fn headings(table: Table) -> &'static [&'static str] {
    match table {
        Table::Hops => &[
            "node",
            "proxy",
            "upstream",
            "name",
            "security",
            "client_auth",
            "evidence",
            "server_verified",
            "tls_version",
            "security_since",
            "last_seen",
            "known_connections",
            "unknown_connections",
            "failed_connections",
            "worse_connections",
            "reason",
            "compliance",
            "policy",
            "violations",
        ],
        Table::Nodes => &[
            "node",
            "cluster",
            "source",
            "agent_version",
            "from",
            "to",
            "watching_since",
            "ready",
            "impaired",
            "unaccounted_seconds",
            "events_received",
            "lost.events",
            "lost.undecodable",
            "lost.connections",
            "lost.evaluations",
            "beyond_table",
            "kernel_programs_sha256",
            "policy_sha256",
            "hops",
            "coverage.known",
            "coverage.unknown",
        ],
        Table::Drift => &[
            "node",
            "proxy",
            "upstream",
            "rule",
            "detail",
            "place",
            "state",
            "since",
            "preexisting",
            "detected_at",
            "closed_at",
            "end",
            "open_seconds",
            "remediation_seconds",
        ],
        Table::Exemptions => &[
            "node",
            "proxy",
            "upstream",
            "exemption",
            "rules",
            "owner",
            "reason",
            "last_day",
            "has_ended",
        ],
    }
}

fn field(row: &serde_json::Value, heading: &str) -> serde_json::Value {
    heading.split('.').try_fold(row, |value, key| value.get(key)).cloned().unwrap_or_default()
}

fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => crate::inventory::csv::text(text),
        serde_json::Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

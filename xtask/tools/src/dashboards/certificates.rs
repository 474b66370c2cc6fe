//! Certificates by their ends, and hops by the cryptography that they use.

use hopsight_export::metrics::catalogue::{
    CERTIFICATE_NOT_AFTER, CERTIFICATE_NOT_BEFORE, HOPS_CRYPTOGRAPHY,
};
use serde_json::json;

use super::grafana::{Panel, Query, select};

/// The columns of a table of certificates, with the label of each.
const COLUMNS: [(&str, &str); 7] = [
    ("Value", "left"),
    ("side", "side"),
    ("proxy", "proxy"),
    ("upstream", "upstream"),
    ("instance", "agent"),
    ("namespace", "namespace"),
    ("cluster", "cluster"),
];

/// What ends first.
pub fn certificates() -> Vec<Panel> {
    vec![lifetimes(), ends()]
}

/// Shares, for an hour's certificate is renewed with minutes left, and a year's with weeks.
fn lifetimes() -> Panel {
    let [end, begin] =
        [CERTIFICATE_NOT_AFTER, CERTIFICATE_NOT_BEFORE].map(|metric| select(metric.info, ""));
    let mut panel = Panel::table(
        "Certificates by lifetime left",
        "Share of the lifetime that is left, the least first. The alerts go by it.",
        "percentunit",
        Query::table(format!(
            "sort(min by (cluster, namespace, instance, proxy, upstream, side) \
             (({end} - time()) / ({end} - {begin})))"
        )),
        &COLUMNS,
    );
    panel.overrides.push(json!({
        "matcher": { "id": "byName", "options": "left" },
        "properties": [
            { "id": "min", "value": 0 },
            { "id": "max", "value": 1 },
            { "id": "custom.cellOptions", "value": { "type": "gauge", "mode": "basic" } },
            { "id": "thresholds", "value": { "mode": "absolute", "steps": [
                { "color": "red", "value": null },
                { "color": "orange", "value": 0.1 },
                { "color": "green", "value": 0.2 },
            ]}},
        ],
    }));
    panel
}

/// How many hops use what.
pub fn cryptography() -> Vec<Panel> {
    let hops = |matchers| select(HOPS_CRYPTOGRAPHY.info, matchers);
    let by = |label: &str| format!("sum by ({label}) ({})", hops(""));
    let share =
        format!("(sum({}) or vector(0)) / sum({})", hops(r#"post_quantum="yes""#), hops(""));
    let shares = |title, description, label, legend| {
        Panel::shares(title, description, "short", vec![Query::series(by(label), legend)])
    };
    vec![
        Panel::number(
            "Post-quantum hops",
            "Share of TLS hops on which every key exchange in use is hybrid or ML-KEM alone.",
            "percentunit",
            Query::series(share, ""),
            &[("text", 0.0), ("green", 1.0)],
        ),
        shares(
            "Hops by group",
            "The group of the weakest key exchange in use, or why there is none.",
            "group",
            "{{group}}",
        ),
        shares("Hops by version", "The oldest TLS version in use.", "version", "{{version}}"),
        shares(
            "Why not post-quantum",
            "Who decided: the proxy that did not offer it, or the upstream that chose otherwise.",
            "post_quantum",
            "{{post_quantum}}",
        ),
    ]
}

fn ends() -> Panel {
    let left = format!(
        "sort(min by (cluster, namespace, instance, proxy, upstream, side) ({} - time()))",
        select(CERTIFICATE_NOT_AFTER.info, "")
    );
    let mut panel = Panel::table(
        "Certificates by end of validity",
        "Time left of the certificate last seen on each side; client is the proxy.",
        "s",
        Query::table(left),
        &COLUMNS,
    );
    panel.overrides.push(json!({
        "matcher": { "id": "byName", "options": "left" },
        "properties": [
            { "id": "custom.cellOptions", "value": { "type": "color-text" } },
            { "id": "thresholds", "value": { "mode": "absolute", "steps": [
                { "color": "red", "value": null },
                { "color": "orange", "value": 259_200 },
                { "color": "green", "value": 1_209_600 },
            ]}},
        ],
    }));
    panel
}

//! Hop detail: one hop, or the few that are chosen.

use hopsight_export::metrics::catalogue::{
    CERTIFICATE_NOT_AFTER, DRIFT_OPEN, HOP_LAST_SEEN, HOP_SECURITY, HOP_SECURITY_SINCE,
    HOP_SERVER_VERIFIED, INTENT_INFO, POLICY_VIOLATION, UPSTREAM_ALERTS, UPSTREAM_CONNECTIONS,
    UPSTREAM_HANDSHAKE_FAILURES, UPSTREAM_RESUMED_CONNECTIONS, UPSTREAM_TLS_CONNECTIONS,
    UPSTREAM_UNKNOWN,
};
use serde_json::json;

use super::grafana::{Dashboard, Panel, Query, rate, security_mappings, security_rank, select};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "hopsight-hop",
        title: "hopsight / Hop detail",
        description: "What one hop is, since when, what that rests on, and why connections fail.",
        variables: vec![("proxy", HOP_SECURITY.info), ("upstream", HOP_SECURITY.info)],
        rows: vec![
            ("Security", security()),
            ("Policy and drift", policy()),
            ("Connections", connections()),
            ("Failures", failures()),
        ],
    }
}

fn by(labels: &str, series: &str) -> String {
    format!("sum by ({labels}) ({series})")
}

fn security() -> Vec<Panel> {
    let mut timeline = Panel::lines(
        "Security over time",
        "The worst of the hop's servers in use. A gap means that no agent knew the hop.",
        "short",
        vec![Query::series(security_rank(HOP_SECURITY.info), "{{proxy}} → {{upstream}}")],
    )
    .sized(24, 6);
    timeline.kind = "state-timeline";
    timeline.defaults = json!({ "mappings": security_mappings(), "custom": { "fillOpacity": 80 } });
    timeline.options = json!({ "showValue": "auto", "mergeValues": true, "rowHeight": 0.8 });
    let oldest = |metric| format!("time() - min({})", select(metric, ""));
    vec![
        timeline,
        Panel::number(
            "Unchanged for",
            "Time since the security last changed.",
            "s",
            Query::series(format!("time() - max({})", select(HOP_SECURITY_SINCE.info, "")), ""),
            &[("text", 0.0)],
        ),
        Panel::number(
            "Last seen",
            "Time since the last report on the hop.",
            "s",
            Query::series(format!("time() - max({})", select(HOP_LAST_SEEN.info, "")), ""),
            &[("green", 0.0), ("orange", 3600.0)],
        ),
        Panel::number(
            "Longest silent",
            "Time since the last report on whichever of the chosen hops has been silent longest.",
            "s",
            Query::series(oldest(HOP_LAST_SEEN.info), ""),
            &[("green", 0.0), ("orange", 3600.0)],
        ),
        certificate("Certificate of the proxy: left", "client"),
        certificate("Certificate of the upstream: left", "server"),
        Panel::number(
            "Upstream not verified",
            "How many of the chosen hops carry on although the upstream's certificate was not checked.",
            "short",
            Query::series(
                format!(
                    "sum({}) or vector(0)",
                    select(HOP_SERVER_VERIFIED.info, r#"server_verified="no""#)
                ),
                "",
            ),
            &[("green", 0.0), ("orange", 1.0)],
        ),
    ]
}

fn policy() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Violations",
            "1 while a rule is violated.",
            "short",
            vec![Query::series(
                format!("max by (proxy, upstream, rule) ({})", select(POLICY_VIOLATION.info, "")),
                "{{rule}}: {{proxy}} → {{upstream}}",
            )],
        ),
        Panel::lines(
            "Open for",
            "Time since the first offending connection of an open violation.",
            "s",
            vec![Query::series(
                format!("max by (proxy, upstream, rule) ({})", select(DRIFT_OPEN.info, "")),
                "{{rule}}: {{proxy}} → {{upstream}}",
            )],
        ),
        Panel::table(
            "What the proxy's configuration intends",
            "Name, scheme, client certificate and verification, as the configuration says.",
            "short",
            Query::table(format!(
                "max by (instance, proxy, upstream, name, scheme, client_certificate, verify) ({})",
                select(INTENT_INFO.info, "")
            )),
            &[
                ("proxy", "proxy"),
                ("upstream", "upstream"),
                ("name", "name"),
                ("scheme", "scheme"),
                ("client_certificate", "client certificate"),
                ("verify", "verifies"),
                ("instance", "agent"),
                ("Value", "known"),
            ],
        )
        .sized(24, 6),
    ]
}

fn certificate(title: &'static str, side: &str) -> Panel {
    let left = select(CERTIFICATE_NOT_AFTER.info, &format!(r#"side="{side}""#));
    Panel::number(
        title,
        "Time until the certificate last seen expires; the earliest of the chosen hops.",
        "s",
        Query::series(format!("min({left} - time())"), ""),
        &[("red", 0.0), ("orange", 259_200.0), ("green", 1_209_600.0)],
    )
}

fn connections() -> Vec<Panel> {
    let resumed = rate(UPSTREAM_RESUMED_CONNECTIONS.info, "");
    let tls = rate(UPSTREAM_TLS_CONNECTIONS.info, "");
    vec![
        Panel::lines(
            "Connections by client authentication",
            "What the proxy did about a client certificate. requested_not_presented: the upstream asked in vain.",
            "cps",
            vec![Query::series(
                by("client_auth", &rate(UPSTREAM_CONNECTIONS.info, "")),
                "{{client_auth}}",
            )],
        ),
        Panel::lines(
            "Connections by security and evidence",
            "What the verdicts rest on.",
            "cps",
            vec![Query::series(
                by("security, evidence", &rate(UPSTREAM_CONNECTIONS.info, "")),
                "{{security}}, {{evidence}}",
            )],
        ),
        Panel::lines(
            "Versions and cipher suites",
            "As negotiated.",
            "cps",
            vec![Query::series(by("version, cipher", &tls), "{{version}} {{cipher}}")],
        ),
        Panel::lines(
            "Resumed share",
            "Share of TLS connections that resumed a session. They show no certificates: their verdict is carried.",
            "percentunit",
            vec![Query::series(format!("sum({resumed}) / sum({tls})"), "resumed")],
        ),
    ]
}

fn failures() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Handshakes by outcome",
            "rejected: the upstream refused the proxy's certificate or its absence.",
            "cps",
            vec![Query::series(by("outcome", &rate(UPSTREAM_CONNECTIONS.info, "")), "{{outcome}}")],
        ),
        Panel::lines(
            "Rejected and failed handshakes, by reason",
            "The alert that ended them, where one was seen.",
            "cps",
            vec![Query::series(
                by("reason", &rate(UPSTREAM_HANDSHAKE_FAILURES.info, "")),
                "{{reason}}",
            )],
        ),
        Panel::lines(
            "Alerts",
            "By sender: client is the proxy, server the upstream.",
            "cps",
            vec![Query::series(
                by("from, alert", &rate(UPSTREAM_ALERTS.info, "")),
                "{{alert}} from {{from}}",
            )],
        ),
        Panel::lines(
            "Unknown, by reason",
            "Why connections of the hop stay unknown.",
            "cps",
            vec![Query::series(by("reason", &rate(UPSTREAM_UNKNOWN.info, "")), "{{reason}}")],
        ),
    ]
}

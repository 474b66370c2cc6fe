//! Upstream TLS overview: how much is protected, and which hops are not.

use hopsight_export::metrics::catalogue::{
    DRIFT_DETECTION, DRIFT_OPEN, DRIFT_REMEDIATION, HOP_EXEMPT_UNTIL, HOP_SECURITY,
    HOP_SERVER_VERIFIED, HOPS_OVERFLOWED, POLICY_MATCHED_HOPS, POLICY_VIOLATION,
    PROXY_CONFIG_PENDING_RELOAD, UPSTREAM_CONNECTIONS, UPSTREAM_HANDSHAKE_FAILURES,
    UPSTREAM_TLS_CONNECTIONS, UPSTREAM_UNKNOWN,
};
use serde_json::json;

use super::{
    certificates,
    grafana::{Dashboard, Panel, Query, quantile, rate, security_mappings, security_rank, select},
};

/// The rate of connections whose handshake was accepted, or of which that is not known because
/// nothing is.
fn working() -> String {
    let of = |matchers| rate(UPSTREAM_CONNECTIONS.info, matchers);
    let unknown = of(r#"outcome="incomplete", security="unknown""#);
    format!("({} or {unknown})", of(r#"outcome="established""#))
}

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "hopsight-overview",
        title: "hopsight / Upstream TLS overview",
        description: "How the hops from proxies to upstreams are protected, and which are not.",
        variables: vec![("proxy", HOP_SECURITY.info), ("upstream", HOP_SECURITY.info)],
        rows: vec![
            ("Now", now()),
            ("Hops, worst first", vec![hops()]),
            ("Policy", policy()),
            ("Connections", connections()),
            ("Certificates", certificates::certificates()),
            ("Cryptography", certificates::cryptography()),
        ],
    }
}

fn now() -> Vec<Panel> {
    let hops = |security: &str| {
        Query::series(
            format!(
                "sum({}) or vector(0)",
                select(HOP_SECURITY.info, &format!(r#"security="{security}""#))
            ),
            "",
        )
    };
    let unverified = select(HOP_SERVER_VERIFIED.info, r#"server_verified="no""#);
    let unknown =
        rate(UPSTREAM_CONNECTIONS.info, r#"security="unknown", outcome!~"rejected|failed""#);
    let all = working();
    vec![
        Panel::number(
            "Plaintext hops",
            "Hops with a server in use to which application bytes went without TLS.",
            "short",
            hops("plaintext"),
            &[("green", 0.0), ("red", 1.0)],
        ),
        Panel::number(
            "Unknown hops",
            "Hops of which no connection has shown the security. They are counted as nothing else.",
            "short",
            hops("unknown"),
            &[("green", 0.0), ("purple", 1.0)],
        ),
        Panel::number(
            "One-way TLS hops",
            "Hops on which only the upstream presents a certificate.",
            "short",
            hops("tls"),
            &[("text", 0.0)],
        ),
        Panel::number(
            "Mutual TLS hops",
            "Hops on which the proxy's certificate was seen or proven, and accepted.",
            "short",
            hops("mtls"),
            &[("text", 0.0), ("green", 1.0)],
        ),
        Panel::number(
            "Unverified hops",
            "TLS hops whose proxy carries on although the upstream's certificate was not checked.",
            "short",
            Query::series(format!("sum({unverified}) or vector(0)"), ""),
            &[("green", 0.0), ("orange", 1.0)],
        ),
        Panel::number(
            "Coverage",
            "Share of connections whose security is known.",
            "percentunit",
            Query::series(format!("1 - (sum({unknown}) or vector(0)) / sum({all})"), ""),
            &[("red", 0.0), ("orange", 0.8), ("green", 0.95)],
        ),
    ]
}

fn hops() -> Panel {
    let mut panel = Panel::table(
        "Hops, worst first",
        "Every hop with its current security: plaintext, unknown, one-way, mutual. A click opens its detail.",
        "short",
        Query::table(format!("sort_desc({})", security_rank(HOP_SECURITY.info))),
        &[
            ("Value", "security"),
            ("proxy", "proxy"),
            ("upstream", "upstream"),
            ("instance", "agent"),
            ("namespace", "namespace"),
            ("cluster", "cluster"),
        ],
    );
    panel.overrides.push(json!({
        "matcher": { "id": "byName", "options": "security" },
        "properties": [
            { "id": "mappings", "value": security_mappings() },
            { "id": "custom.cellOptions", "value": { "type": "color-text" } },
        ],
    }));
    panel.overrides.push(json!({
        "matcher": { "id": "byName", "options": "upstream" },
        "properties": [{ "id": "links", "value": [{
            "title": "Hop detail",
            "url": "/d/hopsight-hop?${__url_time_range}&var-datasource=${datasource}\
                &var-proxy=${__data.fields.proxy}&var-upstream=${__data.fields.upstream}",
        }]}],
    }));
    panel
}

fn policy() -> Vec<Panel> {
    let pending = select(PROXY_CONFIG_PENDING_RELOAD.info, "");
    let open = select(DRIFT_OPEN.info, "");
    let drifts = Panel::table(
        "Open violations, longest first",
        "Hops that are not what policy or configuration requires, and for how long.",
        "s",
        Query::table(format!(
            "sort_desc(max by (cluster, namespace, instance, proxy, upstream, rule) ({open}))"
        )),
        &[
            ("Value", "open for"),
            ("rule", "rule"),
            ("proxy", "proxy"),
            ("upstream", "upstream"),
            ("instance", "agent"),
            ("namespace", "namespace"),
            ("cluster", "cluster"),
        ],
    );
    let violated = select(POLICY_VIOLATION.info, "");
    let workloads = Panel::table(
        "Violations by workload",
        "Each wrong workload once, with the number of agents that see it: what the alerts say.",
        "short",
        Query::table(format!(
            "sort_desc(sum by (cluster, proxy_namespace, proxy_workload, proxy, upstream, rule) \
             ({violated}))"
        )),
        &[
            ("Value", "agents"),
            ("rule", "rule"),
            ("proxy", "proxy"),
            ("upstream", "upstream"),
            ("proxy_namespace", "namespace"),
            ("proxy_workload", "workload"),
            ("cluster", "cluster"),
        ],
    );
    let matched = select(POLICY_MATCHED_HOPS.info, "");
    let until = select(HOP_EXEMPT_UNTIL.info, "");
    let exempt = Panel::table(
        "Exempt hops",
        "Hops that are not what policy requires, and who answers for them until when.",
        "s",
        Query::table(format!(
            "sort(min by (cluster, proxy, upstream, exemption, owner) ({until}) - time())"
        )),
        &[
            ("Value", "ends in"),
            ("owner", "owner"),
            ("exemption", "exemption"),
            ("proxy", "proxy"),
            ("upstream", "upstream"),
            ("cluster", "cluster"),
        ],
    );
    let number = |title, description, unit, expr: String, steps: &[(&str, f64)]| {
        Panel::number(title, description, unit, Query::series(expr, ""), steps).sized(6, 5)
    };
    vec![
        number(
            "Open violations",
            "Violations open now, counted per rule and hop.",
            "short",
            format!("sum({}) or vector(0)", select(POLICY_VIOLATION.info, "")),
            &[("green", 0.0), ("red", 1.0)],
        ),
        number(
            "Time to detection, 95 %",
            "From the cause of a violation to its detection.",
            "s",
            quantile(DRIFT_DETECTION.info, "0.95"),
            &[("text", 0.0)],
        ),
        number(
            "Time to remediation, 95 %",
            "From the detection of a violation to the first good connection after it.",
            "s",
            quantile(DRIFT_REMEDIATION.info, "0.95"),
            &[("text", 0.0)],
        ),
        number(
            "Configurations not loaded",
            "Proxies whose configuration on disk is newer than the one they are running.",
            "short",
            format!("sum({pending}) or vector(0)"),
            &[("green", 0.0), ("orange", 1.0)],
        ),
        number(
            "Policies without a hop",
            "Policies of the policy file that apply to no hop on any agent: what they require is required of nobody.",
            "short",
            format!("count(sum by (policy) ({matched}) == 0) or vector(0)"),
            &[("green", 0.0), ("orange", 1.0)],
        ),
        workloads,
        drifts,
        exempt,
    ]
}

fn connections() -> Vec<Panel> {
    let by = |label: &str, series: String| format!("sum by ({label}) ({series})");
    vec![
        Panel::shares(
            "Connections by security",
            "Shares of finished connections that were accepted, or of which nothing is known.",
            "cps",
            vec![Query::series(by("security", working()), "{{security}}")],
        ),
        Panel::shares(
            "Evidence",
            "What the verdicts rest on: bytes on the wire, the proxy's TLS library, record lengths, or the session that was resumed.",
            "cps",
            vec![Query::series(
                by("evidence", rate(UPSTREAM_CONNECTIONS.info, "")),
                "{{evidence}}",
            )],
        ),
        Panel::lines(
            "Unknown, by reason",
            "Why connections stay unknown. capture_lost and evicted are the agent's own limits.",
            "cps",
            vec![Query::series(by("reason", rate(UPSTREAM_UNKNOWN.info, "")), "{{reason}}")],
        ),
        Panel::lines(
            "Rejected and failed handshakes, by reason",
            "The alert that ended them, where one was seen.",
            "cps",
            vec![Query::series(
                by("reason", rate(UPSTREAM_HANDSHAKE_FAILURES.info, "")),
                "{{reason}}",
            )],
        ),
        Panel::shares(
            "TLS versions",
            "Negotiated versions, not offered ones.",
            "cps",
            vec![Query::series(
                by("version", rate(UPSTREAM_TLS_CONNECTIONS.info, "")),
                "{{version}}",
            )],
        ),
        Panel::shares(
            "Cipher suites",
            "Negotiated cipher suites, the ten most used.",
            "cps",
            vec![Query::series(
                format!("topk(10, {})", by("cipher", rate(UPSTREAM_TLS_CONNECTIONS.info, ""))),
                "{{cipher}}",
            )],
        ),
        Panel::lines(
            "Connections beyond the limit on hops",
            "Counted under upstream=\"~other\" because the agent's hop table was full.",
            "cps",
            vec![Query::series(by("instance", rate(HOPS_OVERFLOWED.info, "")), "{{instance}}")],
        ),
    ]
}

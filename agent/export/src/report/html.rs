//! The report as a page that is printed as well as read: one document without scripts and without
//! external requests.

use std::fmt::Write as _;

use hopsight_core::model::{Security, ServerVerified};

use super::{DriftState, Report, map};
use crate::{
    inventory::html::{self as inventory, STYLE},
    markup::Text,
    time,
};

const OWN_STYLE: &str = include_str!("style.css");

/// The parts, by their anchors.
const PARTS: [(&str, &str); 8] = [
    ("summary", "Summary"),
    ("nodes", "What was watched, and what was lost"),
    ("map", "Map"),
    ("hops", "Hops"),
    ("drift", "Drift"),
    ("exemptions", "Exemptions"),
    ("inventory", "Certificates and cryptography"),
    ("requirements", "Requirements of others"),
];

/// The page.
pub(super) fn page(report: &Report, now: f64) -> String {
    let mut out = String::new();
    out += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <title>hopsight: how hops are protected</title>\n\
        <link rel=\"icon\" href=\"data:,\">\n<style>\n";
    out += STYLE;
    out += OWN_STYLE;
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "</style>\n</head>\n<body>\n<header><h1>How hops are protected</h1>\n\
         <p>{} to {}. Written {} by {}.</p>\n<nav>",
        Text(&report.from),
        Text(&report.to),
        Text(&report.written),
        report.written_by
    );
    for (anchor, title) in PARTS {
        let _ = write!(out, "<a href=\"#{anchor}\">{title}</a> ");
    }
    out += "</nav></header>\n<main>\n";
    summary(&mut out, report);
    nodes(&mut out, report);
    heading(&mut out, "map");
    map::draw(&mut out, &report.hops);
    hops(&mut out, report);
    drift(&mut out, report);
    exemptions(&mut out, report);
    heading(&mut out, "inventory");
    inventory::body(&mut out, &report.inventory, now);
    requirements(&mut out, report);
    out += "</main>\n</body>\n</html>\n";
    out
}

fn heading(out: &mut String, anchor: &str) {
    let title = PARTS.iter().find(|(name, _)| *name == anchor).map_or("", |(_, title)| title);
    let _ = writeln!(out, "<h2 id=\"{anchor}\">{title}</h2>");
}

fn summary(out: &mut String, report: &Report) {
    let summary = &report.summary;
    heading(out, "summary");
    *out += "<div class=\"chips\">\n";
    for (security, words) in [
        (Security::Plaintext, "hops: plaintext"),
        (Security::Unknown, "hops: not known"),
        (Security::Tls, "hops: one-way TLS"),
        (Security::Mtls, "hops: mutual TLS"),
    ] {
        let count = summary.hops.get(&security).copied().unwrap_or_default();
        let _ = writeln!(out, "<div class=\"chip {security}\"><b>{count}</b>{words}</div>");
    }
    // What nobody said is not nothing.
    let (lost, class) = match (summary.lost, summary.nodes_in_doubt) {
        (0, 0) => ("0".to_owned(), "good"),
        (0, _) => ("?".to_owned(), "unknown"),
        (lost, 0) => (lost.to_string(), "bad"),
        (lost, _) => (format!("{lost} or more"), "bad"),
    };
    let share = summary.coverage.share().map_or("no connection".to_owned(), |share| {
        // Rounded down: what is not all is not shown as all.
        format!("{} %", (share * 10_000.0).floor() / 100.0)
    });
    let _ = writeln!(
        out,
        "<div class=\"chip\"><b>{share}</b>of {} connections known</div>\n\
         <div class=\"chip {class}\"><b>{lost}</b>lost; {} of {} nodes in doubt</div>\n\
         <div class=\"chip\"><b>{}</b>drifts open, {} ended</div>\n\
         <div class=\"chip\"><b>{}</b>hops exempt</div>\n</div>",
        summary.coverage.total(),
        summary.nodes_in_doubt,
        report.nodes.len(),
        summary.open_drifts,
        summary.closed_drifts,
        summary.exempt_hops,
    );
    for note in &report.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", Text(note));
    }
    if report.hops.is_empty() {
        *out += "<p class=\"note\">There is no hop: this says nothing about how anything is protected.</p>\n";
    }
    *out += "<h3>Connections by what their verdicts rest on</h3>\n";
    begin(out, &["Security", "Evidence", "Connections"]);
    for graded in &summary.connections {
        let _ = writeln!(
            out,
            "<tr><td class=\"{security}\">{security}</td><td>{}</td><td class=\"number\">{}</td></tr>",
            graded.evidence,
            graded.connections,
            security = graded.security,
        );
    }
    end(out);
}

fn begin(out: &mut String, headings: &[&str]) {
    *out += "<div class=\"scroll\"><table><thead><tr>";
    for heading in headings {
        let _ = write!(out, "<th>{heading}</th>");
    }
    *out += "</tr></thead>\n<tbody>\n";
}

fn end(out: &mut String) {
    *out += "</tbody></table></div>\n";
}

fn nodes(out: &mut String, report: &Report) {
    heading(out, "nodes");
    begin(
        out,
        &[
            "Node",
            "Cluster",
            "Agent",
            "From",
            "To",
            "Ready",
            "Unaccounted",
            "Lost",
            "Known",
            "Hops",
            "Policy",
            "Kernel programs",
        ],
    );
    for node in &report.nodes {
        let known = node.coverage.share().map_or_else(String::new, |share| format!("{share:.4}"));
        let (ready, class) = match (node.ready, node.impaired.is_empty()) {
            (None, _) => ("not said".to_owned(), "unknown"),
            (Some(false), _) => (format!("no: {}", node.impaired.join(", ")), "bad"),
            (Some(true), true) => ("yes".to_owned(), "good"),
            (Some(true), false) => (format!("yes, but {}", node.impaired.join(", ")), "middling"),
        };
        let lost = node.lost.map(|lost| {
            let named = lost.named().into_iter().filter(|(_, count)| *count > 0);
            named.map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>()
        });
        let beyond =
            (node.beyond_table > 0).then(|| format!("{} beyond the table", node.beyond_table));
        let (lost, lost_class) = match lost {
            None => ("not said".to_owned(), "unknown"),
            Some(lost) if lost.is_empty() && beyond.is_none() => ("nothing".to_owned(), "good"),
            Some(lost) => (lost.into_iter().chain(beyond).collect::<Vec<_>>().join(", "), "bad"),
        };
        let unaccounted = node.unaccounted_seconds.map_or("not said".to_owned(), time::age);
        let digest = |digest: Option<_>| {
            let text = digest
                .map(|digest: hopsight_core::tls::fingerprint::Fingerprint| digest.to_string());
            let text = text.unwrap_or_default();
            format!("<code title=\"{text}\">{}</code>", text.get(..12).unwrap_or_default())
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{unaccounted}</td>\
             <td class=\"{lost_class}\">{}</td><td class=\"number\">{known}</td><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>",
            Text(&node.node),
            Text(node.cluster.as_deref().unwrap_or_default()),
            Text(node.agent_version.as_deref().unwrap_or("not said")),
            Text(&node.from),
            Text(&node.to),
            Text(&ready),
            Text(&lost),
            node.hops,
            match (node.policy_sha256, node.ready) {
                (Some(sha256), _) => digest(Some(sha256)),
                (None, Some(_)) => "built-in".to_owned(),
                (None, None) => "not said".to_owned(),
            },
            digest(node.kernel_programs_sha256),
        );
    }
    end(out);
}

fn hops(out: &mut String, report: &Report) {
    heading(out, "hops");
    *out += "<p>The worst come first. A hop is its worst treatment in use; connections are those of this time.</p>\n";
    begin(
        out,
        &[
            "Node",
            "Proxy",
            "Upstream",
            "Security",
            "Client auth",
            "Verified",
            "Evidence",
            "Version",
            "Since",
            "Known",
            "Unknown",
            "Worse",
            "Failed",
            "Policy",
        ],
    );
    for hop in &report.hops {
        let verified = match hop.server_verified {
            ServerVerified::No if hop.security != Security::Plaintext => "bad",
            _ => "",
        };
        let policy = match (hop.compliance, hop.violations.is_empty()) {
            (None, _) => "not evaluated".to_owned(),
            (Some(status), true) => status.to_string(),
            (Some(_), false) => {
                hop.violations.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", ")
            }
        };
        let reason = hop.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td title=\"{}\">{}</td><td class=\"{security}\">{security}{reason}</td><td>{}</td>\
             <td class=\"{verified}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"{}\">{}</td></tr>",
            Text(&hop.node),
            Text(&hop.proxy),
            Text(&hop.upstream),
            Text(hop.name.as_deref().unwrap_or(&hop.upstream)),
            hop.client_auth,
            hop.server_verified,
            hop.evidence,
            Text(hop.tls_version.as_deref().unwrap_or_default()),
            Text(hop.security_since.get(..16).unwrap_or_default()),
            hop.known_connections,
            hop.unknown_connections,
            hop.worse_connections,
            hop.failed_connections,
            if hop.violations.is_empty() { "" } else { "bad" },
            Text(&policy),
            security = hop.security,
        );
    }
    end(out);
}

fn drift(out: &mut String, report: &Report) {
    heading(out, "drift");
    if report.drift.is_empty() {
        *out += "<p>None that is told: files of events tell of those that ended.</p>\n";
        return;
    }
    begin(
        out,
        &[
            "Node",
            "Proxy",
            "Upstream",
            "Rule",
            "How",
            "Place",
            "State",
            "Since",
            "Ended",
            "How long",
            "Mended after",
        ],
    );
    for entry in &report.drift {
        let (state, class) = match (entry.state, entry.end) {
            (DriftState::Open, _) => ("open".to_owned(), "bad"),
            (DriftState::EndUntold, _) => ("over, not told when".to_owned(), "unknown"),
            (DriftState::Closed, end) => {
                let end = end.and_then(|end| serde_json::to_value(end).ok());
                let end = end.and_then(|end| end.as_str().map(|end| end.replace('_', " ")));
                (end.unwrap_or_default(), "good")
            }
        };
        let at_least = if entry.preexisting { " at least" } else { "" };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{}</td>\
             <td>{}</td><td>{}</td><td>{}{at_least}</td><td>{}</td></tr>",
            Text(&entry.node),
            Text(&entry.proxy),
            Text(&entry.upstream),
            entry.rule.as_str(),
            Text(&entry.detail),
            Text(entry.place.as_deref().unwrap_or_default()),
            Text(&state),
            Text(&entry.since),
            Text(entry.closed_at.as_deref().unwrap_or_default()),
            time::age(entry.open_seconds),
            entry.remediation_seconds.map_or_else(String::new, time::age),
        );
    }
    end(out);
}

fn exemptions(out: &mut String, report: &Report) {
    heading(out, "exemptions");
    if report.exemptions.is_empty() {
        *out += "<p>No hop is exempt.</p>\n";
        return;
    }
    begin(
        out,
        &["Last day", "Owner", "Reason", "Exempt from", "Node", "Proxy", "Upstream", "Exemption"],
    );
    for line in &report.exemptions {
        let rules: Vec<_> = line.rules.iter().map(|rule| rule.as_str()).collect();
        let (class, over) = if line.has_ended { ("bad", " (over)") } else { ("", "") };
        let _ = writeln!(
            out,
            "<tr><td class=\"date {class}\">{}{over}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(&line.last_day),
            Text(&line.owner),
            Text(&line.reason),
            rules.join(", "),
            Text(&line.node),
            Text(&line.proxy),
            Text(&line.upstream),
            Text(&line.exemption),
        );
    }
    end(out);
}

fn requirements(out: &mut String, report: &Report) {
    heading(out, "requirements");
    *out += "<p>What this report shows of what others require, in our words. It supports an assessment; it makes none.</p>\n";
    for one in &report.requirements {
        let _ = writeln!(
            out,
            "<section class=\"requirement\"><h3>{}: {}</h3>\n<dl><dt>Asks for</dt><dd>{}</dd>\n<dt>Shown here</dt>",
            one.framework, one.requirement, one.asks
        );
        for shown in &one.shows {
            let _ = writeln!(out, "<dd>{}</dd>", Text(shown));
        }
        let _ =
            writeln!(out, "<dt>Rests on</dt><dd>{}</dd>\n<dt>Not shown</dt>", Text(&one.rests_on));
        for missing in &one.does_not_show {
            let _ = writeln!(out, "<dd>{missing}</dd>");
        }
        *out += "</dl></section>\n";
    }
}

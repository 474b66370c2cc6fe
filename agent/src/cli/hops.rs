//! `hopsight hops`: the hop table of a running agent.

mod filter;
mod none;
mod older;

use std::{cmp::Reverse, io::Write as _, process::ExitCode, sync::Arc};

use anyhow::Context as _;

pub use self::filter::{HopFilter, mentions};
use super::{
    gate::GateArgs,
    paint::{ColorChoice, Style},
    table::{Cell, Table},
};
use hopsight_core::{
    model::{Reason, Security, ServerVerified},
    report::Verdict,
    tls::certificate_facts::{CertificateAbsence, CertificateFacts},
};
use hopsight_export::time;
use hopsight_posture::{
    hops::{context::HopViolation, hop::Hop, labels, onward::ContinuesEncrypted, table::Snapshot},
    policy::drift::Compliance,
};

/// Arguments of `hopsight hops`.
#[derive(Debug, clap::Args)]
pub struct HopsArgs {
    #[command(flatten)]
    selection: HopFilter,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,

    #[command(flatten)]
    gate: GateArgs,
}

/// Orders of the hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Violations, and of them and the others plaintext, unknown, one-way, mutual.
    WorstFirst,
    /// Last seen first.
    NewestFirst,
    /// By proxy and upstream.
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per hop.
    Table,
    /// The same with everything known about each hop.
    Wide,
    /// The agent's answer.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Asks the agent.
///
/// # Errors
/// The agent does not answer, or not with hops.
pub fn fetch(selection: &HopFilter) -> anyhow::Result<Snapshot> {
    let json = selection.agent.get("/hops")?;
    let mut snapshot: Snapshot = serde_json::from_str(&json)
        .context("understand the answer (is the agent of the same version?)")?;
    selection.retain(&mut snapshot);
    order(&mut snapshot, Sort::WorstFirst);
    Ok(snapshot)
}

/// Runs `hopsight hops`; exit code 1 if its gate does not open.
///
/// # Errors
/// The agent does not answer, is asked about a gate and not ready, or standard output cannot be
/// written.
pub fn hops(args: &HopsArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    let snapshot = fetch(&args.selection)?;
    if args.gate.needs_readiness() {
        // What a blind agent does not show is no proof.
        args.selection.agent.get("/readyz").context("see whether the agent is ready")?;
    }
    let text = match args.output {
        Format::Table | Format::Wide if snapshot.hops.is_empty() => {
            none::no_hops(args.selection.is_narrow()).into()
        }
        Format::Table => lines(&snapshot, false, color.for_stdout()),
        Format::Wide => lines(&snapshot, true, color.for_stdout()),
        Format::Json => serde_json::to_string_pretty(&snapshot)? + "\n",
        Format::Yaml => serde_saphyr::to_string(&snapshot).context("write YAML")?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    let complaints = args.gate.complaints(&snapshot, args.selection.is_narrow());
    for complaint in &complaints {
        eprintln!("hopsight: {}", labels::printable(complaint, usize::MAX));
    }
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn lines(snapshot: &Snapshot, wide: bool, colors: bool) -> String {
    let mut lines = table(snapshot, wide).lines(colors);
    let more = snapshot.totals.overflowed_connections;
    if more > 0 {
        lines.push(format!(
            "note: the limit of {} hops was reached; {more} connections are counted under ~other",
            snapshot.max_hops
        ));
    }
    lines.extend(older::notes(snapshot));
    lines.join("\n") + "\n"
}

/// Puts the hops in this order; hops that are equal in it go by proxy and upstream.
pub fn order(snapshot: &mut Snapshot, sort: Sort) {
    let place = |hop: &Hop| (hop.proxy.clone(), hop.upstream.clone());
    let hops = &mut snapshot.hops;
    hops.sort_by_cached_key(|hop| place(hop));
    match sort {
        Sort::WorstFirst => {
            hops.sort_by_key(|hop| (violations_of(hop).next().is_none(), rank(hop.state.security)));
        }
        Sort::NewestFirst => hops.sort_by(|a, b| b.last_seen.total_cmp(&a.last_seen)),
        Sort::Name => {}
    }
}

const fn rank(security: Security) -> u8 {
    match security {
        Security::Plaintext => 0,
        Security::Unknown => 1,
        Security::Tls => 2,
        Security::Mtls => 3,
    }
}

/// Text of others, harmless to a terminal.
#[must_use]
pub fn clean(text: &str) -> String {
    labels::printable(text, usize::MAX).into_owned()
}

/// The hops as a table, in the order of the snapshot.
#[must_use]
pub fn table(snapshot: &Snapshot, wide: bool) -> Table {
    let mut headings = vec![
        "PROXY",
        "UPSTREAM",
        "SECURITY",
        "CLIENT AUTH",
        "EVIDENCE",
        "VERIFIED",
        "VERSION",
        "CONNS",
        "FAILED",
        "LAST SEEN",
    ];
    if wide {
        headings.extend([
            "SINCE",
            "CIPHER",
            "GROUP",
            "SNI",
            "ALPN",
            "PROTOCOL",
            "RULE",
            "UPSTREAM CERTIFICATE",
            "ENDS",
            "CLIENT CERTIFICATE",
            "ENDS",
            "LAST ALERT",
            "UNKNOWN BECAUSE",
            "NAME",
            "COMPLIANCE",
            "VIOLATIONS",
            "TREATMENTS",
            "SERVERS",
            "POD",
            "CONFIGURED CERTIFICATE",
        ]);
    }
    let mut table = Table::new(headings);
    for hop in &snapshot.hops {
        let mut row = narrow(hop, snapshot.at);
        if wide {
            row.extend(rest(hop, snapshot.at));
        }
        table.push(row);
    }
    table
}

fn narrow(hop: &Arc<Hop>, now: f64) -> Vec<Cell> {
    let state = &hop.state;
    let (client_auth, evidence) = hop
        .not_working()
        .map_or((state.client_auth, state.evidence), |said| (said.client_auth, said.evidence));
    let failed = hop.counts.failed();
    let verified = match state.server_verified {
        ServerVerified::No => Style::Red,
        ServerVerified::Yes | ServerVerified::Unknown => Style::Plain,
    };
    vec![
        (*hop.proxy).into(),
        (*hop.upstream).into(),
        Cell::styled(security(hop), Style::of(state.security)),
        client_auth.as_str().into(),
        evidence.as_str().into(),
        Cell::styled(state.server_verified.as_str(), verified),
        state.tls_version.as_deref().unwrap_or_default().into(),
        hop.counts.count_of(|_| true).to_string().into(),
        Cell::styled(failed.to_string(), if failed > 0 { Style::Red } else { Style::Plain }),
        time::age(now - hop.last_seen).into(),
    ]
}

fn rest(hop: &Arc<Hop>, now: f64) -> Vec<Cell> {
    let state = &hop.state;
    let text = |value: Option<&str>| Cell::from(value.unwrap_or_default());
    // Its subject, or why there is none.
    let subject = |facts: Option<&CertificateFacts>, absent: Option<CertificateAbsence>| {
        let why = || absent.map(|absent| format!("({})", absent.as_str().replace('_', " ")));
        facts.map(|facts| facts.subject.clone()).or_else(why).unwrap_or_default().into()
    };
    let server_certificate = hop.server_certificate.as_deref();
    let client_certificate = hop.client_certificate.as_deref();
    let protocol = [&state.proxy_protocol, &state.starttls, &state.protocol];
    let protocol: Vec<_> = protocol.into_iter().flatten().map(|word| &**word).collect();
    let alert = hop.counts.last_alert.as_ref().map(|last| {
        let (from, name) = (&last.alert.from, &last.alert.description);
        format!("{name} from {from} {} ago", time::age(now - last.at))
    });
    let mut reasons: Vec<_> = hop.counts.unknown_reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| Reverse(**count));
    let reasons: Vec<_> =
        reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    vec![
        time::age(now - hop.security_since).into(),
        text(state.cipher.as_deref()),
        text(group(hop)),
        text(state.sni.as_deref()),
        text(state.alpn.as_deref()),
        protocol.join("+").into(),
        text(state.rule.as_deref()),
        subject(server_certificate, hop.server_certificate_absent),
        ends(server_certificate, now),
        subject(client_certificate, hop.client_certificate_absent),
        ends(client_certificate, now),
        alert.unwrap_or_default().into(),
        reasons.join(", ").into(),
        hop.context.name.as_deref().unwrap_or_default().into(),
        compliance(hop),
        violations(hop, now).into(),
        shares(hop).into(),
        servers(hop).into(),
        pod(hop).into(),
        configured(hop),
    ]
}

/// The group of the newest key exchange that was seen.
fn group(hop: &Hop) -> Option<&str> {
    let kinds = hop.cryptography.kinds().iter().filter(|kind| kind.group.is_some());
    let newest = kinds.max_by(|one, other| one.last_seen.total_cmp(&other.last_seen))?;
    newest.group.as_deref()
}

/// The worst treatment in use; that others are used beside it; whether plaintext goes on encrypted.
/// Of a hop on which nothing has worked, what its newest connection was, and how that ended.
fn security(hop: &Hop) -> String {
    if let Some(Verdict { security, outcome, reason, .. }) = hop.not_working() {
        let end = reason.map_or(outcome.as_str(), Reason::as_str);
        return format!("{security} ({end})");
    }
    let word = hop.state.security.as_str();
    let mixed = if hop.is_mixed_security() { " (mixed)" } else { "" };
    let onward = match hop.continues_encrypted {
        Some(ContinuesEncrypted::Yes) => " (goes on encrypted)",
        Some(ContinuesEncrypted::Unknown) => " (mesh takes over)",
        None => "",
    };
    format!("{word}{mixed}{onward}")
}

/// How much of the hop each kind of security has, worst first, where there are several.
fn shares(hop: &Hop) -> String {
    if !hop.is_mixed_security() {
        return String::new();
    }
    let shares = hop.shares().into_iter().map(|share| share.to_string());
    shares.collect::<Vec<_>>().join("; ")
}

/// The addresses behind the upstream, with what differs from the hop.
fn servers(hop: &Hop) -> String {
    let words = hop.servers.iter().map(|server| {
        let differs = (server.security != hop.state.security).then(|| server.security.to_string());
        let by = server.onward.as_ref().map(|onward| format!("by {}", onward.by));
        match differs.into_iter().chain(by).collect::<Vec<_>>().join(", ") {
            notes if notes.is_empty() => server.address.to_string(),
            notes => format!("{} ({notes})", server.address),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Pod and container of the proxy; its unit, if it is in none that is known.
fn pod(hop: &Hop) -> String {
    let Some(identity) = &hop.context.proxy_identity else { return String::new() };
    match &identity.kubernetes {
        None => identity.cgroup.unit.clone().unwrap_or_default(),
        Some(pod) => {
            let container = pod.container.as_ref().map(|name| format!(" {name}"));
            format!("{}/{}{}", pod.namespace, pod.pod, container.unwrap_or_default())
        }
    }
}

/// What is wrong with the configured client certificate, or where its chain leads.
fn configured(hop: &Hop) -> Cell {
    match hop.context.configured_certificate.as_deref() {
        None => Cell::default(),
        Some(finding) if finding.problems.is_empty() => {
            format!("chain {}, key {}", finding.chain, finding.key).into()
        }
        Some(finding) => Cell::styled(finding.problems.join("; "), Style::Red),
    }
}

fn compliance(hop: &Hop) -> Cell {
    let Some(compliance) = &hop.context.compliance else { return Cell::default() };
    let style = match compliance.status {
        Compliance::Compliant => Style::Green,
        Compliance::Violation => Style::Red,
        Compliance::Exempt => Style::Yellow,
        Compliance::Unknown => Style::Magenta,
    };
    let exemption = compliance.exemption.iter().map(|one| {
        let until = i64::try_from(one.until).unwrap_or(i64::MAX);
        // The day it ends with, not the one that begins then.
        format!(", {} until {}", labels::printable(&one.owner, 64), time::date(until - 1))
    });
    let words = format!("{}{}", compliance.status, exemption.collect::<String>());
    Cell::styled(words, style)
}

/// Each rule that is violated, since when, and the line of the configuration to look at.
fn violations(hop: &Hop, now: f64) -> String {
    let words = violations_of(hop).map(|violation| {
        let place = violation.place.as_ref().map(|place| format!(" at {place}"));
        let age = time::age(now - violation.since);
        let longer = if violation.preexisting { " at least" } else { "" };
        format!("{} for {age}{longer}{}", violation.rule, place.unwrap_or_default())
    });
    words.collect::<Vec<_>>().join(", ")
}

fn violations_of(hop: &Hop) -> impl Iterator<Item = &HopViolation> {
    hop.context.compliance.iter().flat_map(|compliance| &compliance.violations)
}

/// When a certificate expires: red once it has, yellow when the alerts fire: no more than a fifth of its
/// lifetime is left, nor than two weeks.
fn ends(facts: Option<&CertificateFacts>, now: f64) -> Cell {
    let Some(facts) = facts else { return Cell::default() };
    #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
    let [left, fifth] =
        [facts.not_after as f64 - now, (facts.not_after - facts.not_before) as f64 / 5.0];
    let style = if left < 0.0 {
        Style::Red
    } else if left < fifth.min(1_209_600.0) {
        Style::Yellow
    } else {
        Style::Plain
    };
    Cell::styled(time::date(facts.not_after), style)
}

#[cfg(test)]
mod tests;

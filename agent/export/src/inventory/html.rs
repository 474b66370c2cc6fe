//! The inventory as a page for people: one document without scripts and without external requests.

use std::{collections::BTreeMap, fmt::Write as _};

use hopsight_core::{
    model::Security,
    tls::{
        certificate_facts::CertificateAbsence,
        cryptography::{GroupAbsence, SignatureAbsence},
        group::is_post_quantum,
    },
};
use hopsight_posture::policy::certificate::{ChainWord, RevocationWord};

use super::{CertificateLine, CryptographyLine, Inventory, Readiness, Use, why};
use crate::{markup::Text, time};

/// How it looks, light, dark and printed.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The page, written at `now` (seconds since the Unix epoch).
pub(super) fn page(inventory: &Inventory, now: f64) -> String {
    let mut out = String::new();
    out += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <title>hopsight: certificates and cryptography in use</title>\n\
        <link rel=\"icon\" href=\"data:,\">\n<style>\n";
    out += STYLE;
    out += "</style>\n</head>\n<body>\n<header><h1>Certificates and cryptography in use</h1>\n";
    let _ = write!(out, "<p>Written {}. ", Text(&time::minute(now)));
    let hops: usize = inventory.sources.iter().map(|source| source.hops).sum();
    let _ =
        writeln!(out, "{hops} hops of {} sources.</p></header>\n<main>", inventory.sources.len());
    body(&mut out, inventory, now);
    sources(&mut out, inventory);
    out += "</main>\n</body>\n</html>\n";
    out
}

/// What it lists, for another page.
pub(crate) fn body(out: &mut String, inventory: &Inventory, now: f64) {
    readiness(out, inventory.readiness);
    shares(out, &inventory.cryptography);
    certificates(out, &inventory.certificates, now);
    unseen(out, &inventory.certificates);
    cryptography(out, &inventory.cryptography);
}

fn readiness(out: &mut String, readiness: Readiness) {
    let Readiness { post_quantum, mixed, classical, plaintext, unknown } = readiness;
    *out += "<h2>Safe from quantum computers</h2>\n<div class=\"chips\">\n";
    for (class, count, words) in [
        ("good", post_quantum, "hops: every key is post-quantum"),
        ("middling", mixed, "hops: some keys are"),
        ("middling", classical, "hops: no key is"),
        ("bad", plaintext, "hops: some of it in the clear"),
        ("unknown", unknown, "hops: not known"),
    ] {
        let _ = writeln!(out, "<div class=\"chip {class}\"><b>{count}</b>{words}</div>");
    }
    *out += "</div>\n";
}

/// Connections by version and by group, as bars.
fn shares(out: &mut String, lines: &[CryptographyLine]) {
    let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        let absent = || line.group_absent.map_or("not known", GroupAbsence::as_str);
        let group = if line.post_quantum.is_none() { "in the clear" } else { absent() };
        *groups.entry(line.group.as_deref().unwrap_or(group)).or_default() += line.used.connections;
        let version = match (&line.version, line.post_quantum) {
            (Some(version), _) => format!("TLS {version}"),
            (None, None) => "in the clear".to_owned(),
            (None, Some(_)) => "not known".to_owned(),
        };
        *versions.entry(version).or_default() += line.used.connections;
    }
    *out += "<div class=\"columns\">\n";
    let groups = groups.into_iter().map(|(name, count)| (name.to_owned(), count));
    bars(out, "Connections by group of the key exchange", groups.collect());
    bars(out, "Connections by version", versions.into_iter().collect());
    *out += "</div>\n";
}

fn bars(out: &mut String, heading: &str, mut all: Vec<(String, u64)>) {
    all.retain(|(_, count)| *count > 0);
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let total: u64 = all.iter().map(|(_, count)| count).sum();
    let _ = writeln!(out, "<section><h3>{heading}</h3>\n<table class=\"bars\">");
    for (name, count) in all {
        let percent = count * 100 / total.max(1);
        let class = match name.as_str() {
            "in the clear" => "bad",
            name if is_post_quantum(name) => "good",
            _ => "plain",
        };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td><span class=\"bar {class}\" style=\"width:{percent}%\">\
             </span></td><td class=\"number\">{count}</td></tr>",
            Text(&name)
        );
    }
    *out += "</table></section>\n";
}

/// Those that end first come first.
fn certificates(out: &mut String, lines: &[CertificateLine], now: f64) {
    let mut lines: Vec<_> = lines.iter().filter(|line| line.subject.is_some()).collect();
    lines.sort_by_key(|line| line.validity.map(|(_, not_after)| not_after));
    *out += "<h2>Certificates</h2>\n<p>What ends first comes first.</p>\n<div class=\"scroll\"><table>\n\
        <thead><tr><th>Ends</th><th>Lifetime left</th><th>Proxy</th><th>Upstream</th><th>Whose</th>\
        <th>Subject</th><th>Issuer</th><th>Names</th><th>Chain</th><th>Key</th><th>Signature</th><th>SHA-256</th>\
        <th>Evidence</th><th>Connections</th></tr></thead>\n<tbody>\n";
    for line in lines {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let share = line.validity.map_or(0, |validity| percent_left(validity, now));
        let class = match share {
            0 => "bad",
            1..=20 => "middling",
            _ => "good",
        };
        let sha256 = line.sha256.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><td class=\"date {class}\">{}</td><td class=\"share\"><span class=\"lifetime\"><span class=\"bar {class}\" \
             style=\"width:{share}%\"></span></span> {share} %</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td{}</td><td>{}</td><td>{}</td><td><code title=\"{}\">{}</code></td>{}</tr>",
            Text(line.validity.map(|(_, end)| time::date(end)).unwrap_or_default().as_str()),
            Text(&line.hop.proxy),
            Text(&line.hop.upstream),
            Text(&line.role.as_str().replace('_', " ")),
            Text(&text(&line.subject)),
            Text(&text(&line.issuer)),
            Text(&line.names(" ")),
            chain(line),
            Text(&text(&line.public_key)),
            Text(&text(&line.signature)),
            Text(&sha256),
            Text(sha256.get(..16).unwrap_or_default()),
            used(&line.used),
        );
    }
    *out += "</tbody></table></div>\n";
}

/// The rest of the cell that says where a chain leads, and whether it is revoked.
fn chain(line: &CertificateLine) -> String {
    let words = [line.chain.map(ChainWord::as_str), line.revocation.map(RevocationWord::as_str)];
    let is_bad = line.chain.is_some_and(ChainWord::is_broken)
        || line.revocation == Some(RevocationWord::Revoked);
    let class = if is_bad { " class=\"bad\"" } else { "" };
    let words = words.into_iter().flatten().map(|word| word.replace('_', " "));
    format!("{class}>{}", words.collect::<Vec<_>>().join(", "))
}

/// Of a lifetime, in whole percent; 0 for none and for what has ended.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a lifetime, between 0 and 100"
)]
fn percent_left((not_before, not_after): (i64, i64), now: f64) -> u8 {
    let lifetime = not_after.saturating_sub(not_before).max(1) as f64;
    ((not_after as f64 - now) / lifetime * 100.0).clamp(0.0, 100.0).ceil() as u8
}

/// Hops of which a certificate is not known.
fn unseen(out: &mut String, lines: &[CertificateLine]) {
    let mut lines = lines
        .iter()
        .filter(|line| line.subject.is_none() && line.hop.security != Security::Plaintext)
        .peekable();
    if lines.peek().is_none() {
        return;
    }
    *out += "<details><summary>Hops of which a certificate was not seen</summary>\n\
        <div class=\"scroll\"><table><thead><tr><th>Proxy</th><th>Upstream</th><th>Whose</th>\
        <th>Because</th></tr></thead>\n<tbody>\n";
    for line in lines {
        let because = line.absent.map_or("not seen", CertificateAbsence::as_str).replace('_', " ");
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{because}</td></tr>",
            Text(&line.hop.proxy),
            Text(&line.hop.upstream),
            line.role,
        );
    }
    *out += "</tbody></table></div></details>\n";
}

fn cryptography(out: &mut String, lines: &[CryptographyLine]) {
    *out += "<h2>Cryptography</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Proxy</th>\
        <th>Upstream</th><th>Security</th><th>Version</th><th>Cipher suite</th><th>Group</th>\
        <th>Upstream signs with</th><th>Proxy signs with</th><th>Post-quantum</th><th>Evidence</th>\
        <th>Connections</th></tr></thead>\n<tbody>\n";
    for line in lines {
        let or_absent = |value: Option<&str>, absent: Option<&str>| match (value, absent) {
            (Some(value), _) => Text(value).to_string(),
            (None, Some(absent)) => format!("<i>{}</i>", absent.replace('_', " ")),
            (None, None) => String::new(),
        };
        let because = line.post_quantum.map_or("it is in the clear", why);
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{security}\">{security}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{because}</td>{}</tr>",
            Text(&line.hop.proxy),
            Text(&line.hop.upstream),
            or_absent(line.version.as_deref(), None),
            or_absent(line.cipher.as_deref(), None),
            or_absent(line.group.as_deref(), line.group_absent.map(GroupAbsence::as_str)),
            or_absent(
                line.server_signature.as_deref(),
                line.server_signature_absent.map(SignatureAbsence::as_str)
            ),
            or_absent(
                line.client_signature.as_deref(),
                line.client_signature_absent.map(SignatureAbsence::as_str)
            ),
            used(&line.used),
            security = line.hop.security,
        );
    }
    *out += "</tbody></table></div>\n";
}

/// The cells that say what a line rests on.
fn used(used: &Use) -> String {
    let Use { evidence, connections, of_connections, first_seen, last_seen } = used;
    let time = |time: &Option<String>| time.clone().unwrap_or_default();
    let (first, last) = (time(first_seen), time(last_seen));
    format!(
        "<td>{evidence}</td><td class=\"number\" title=\"{} to {}\">{connections} of {of_connections}</td>",
        Text(&first),
        Text(&last)
    )
}

fn sources(out: &mut String, inventory: &Inventory) {
    *out += "<h2>Sources</h2>\n<table><thead><tr><th>Source</th><th>As of</th><th>Hops</th></tr></thead>\n<tbody>\n";
    for source in &inventory.sources {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td></tr>",
            Text(&source.source),
            Text(&source.at),
            source.hops
        );
    }
    *out += "</tbody></table>\n";
}

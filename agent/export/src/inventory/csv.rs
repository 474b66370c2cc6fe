//! The inventory as one table.

use hopsight_core::tls::{
    certificate_facts::CertificateAbsence,
    cryptography::{GroupAbsence, PostQuantum, SignatureAbsence},
};
use hopsight_posture::policy::certificate::{ChainWord, RevocationWord};

use super::{CertificateLine, CryptographyLine, HopName, Inventory, Use, why};

const HEADINGS: [&str; 38] = [
    "kind",
    "source",
    "proxy",
    "upstream",
    "security",
    "role",
    "absent",
    "subject",
    "issuer",
    "serial",
    "sha256",
    "sans",
    "spiffe_id",
    "not_before",
    "not_after",
    "public_key",
    "signature",
    "key_usage",
    "extended_key_usage",
    "position",
    "chain_length",
    "chain",
    "revocation",
    "version",
    "cipher",
    "group",
    "group_absent",
    "server_signature",
    "server_signature_absent",
    "client_signature",
    "client_signature_absent",
    "post_quantum",
    "post_quantum_because",
    "evidence",
    "connections",
    "of_connections",
    "first_seen",
    "last_seen",
];
/// Columns that only certificates have, and those that only cryptography has.
const OF_CERTIFICATES: usize = 18;
const OF_CRYPTOGRAPHY: usize = 10;

/// The inventory with a line for each of its lines.
pub(super) fn table(inventory: &Inventory) -> anyhow::Result<String> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(HEADINGS)?;
    let empty = |cells: usize| std::iter::repeat_n(String::new(), cells);
    for line in &inventory.certificates {
        let cells = beginning("certificate", &line.hop).into_iter().chain(certificate(line));
        table.write_record(cells.chain(empty(OF_CRYPTOGRAPHY)).chain(used(&line.used)))?;
    }
    for line in &inventory.cryptography {
        let cells = beginning("cryptography", &line.hop).into_iter().chain(empty(OF_CERTIFICATES));
        table.write_record(cells.chain(cryptography(line)).chain(used(&line.used)))?;
    }
    Ok(String::from_utf8(table.into_inner()?)?)
}

/// A text that others may have chosen. A spreadsheet takes one that begins like a formula for one.
pub(crate) fn text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

fn beginning(kind: &str, hop: &HopName) -> [String; 5] {
    let HopName { source, proxy, upstream, security } = hop;
    [kind.to_owned(), text(source), text(proxy), text(upstream), security.to_string()]
}

fn certificate(line: &CertificateLine) -> [String; OF_CERTIFICATES] {
    let known = |value: &Option<String>| value.as_deref().map(text).unwrap_or_default();
    let is_there = line.subject.is_some();
    let number = |number: usize| if is_there { number.to_string() } else { String::new() };
    let words = |words: Option<Vec<&'static str>>| words.unwrap_or_default().join(" ");
    let key_usage = line.key_usage.as_ref().map(|all| all.iter().map(|one| one.as_str()).collect());
    let purposes = line.extended_key_usage.as_ref();
    let purposes = purposes.map(|all| all.iter().map(|one| one.as_str()).collect());
    [
        line.role.to_string(),
        line.absent.map_or("", CertificateAbsence::as_str).to_owned(),
        known(&line.subject),
        known(&line.issuer),
        known(&line.serial),
        line.sha256.as_ref().map(ToString::to_string).unwrap_or_default(),
        text(&line.names(" ")),
        known(&line.spiffe_id),
        known(&line.not_before),
        known(&line.not_after),
        known(&line.public_key),
        known(&line.signature),
        words(key_usage),
        words(purposes),
        number(line.position),
        number(line.chain_length),
        line.chain.map_or("", ChainWord::as_str).to_owned(),
        line.revocation.map_or("", RevocationWord::as_str).to_owned(),
    ]
}

fn cryptography(line: &CryptographyLine) -> [String; OF_CRYPTOGRAPHY] {
    let known = |value: Option<&str>| value.map(text).unwrap_or_default();
    [
        known(line.version.as_deref()),
        known(line.cipher.as_deref()),
        known(line.group.as_deref()),
        known(line.group_absent.map(GroupAbsence::as_str)),
        known(line.server_signature.as_deref()),
        known(line.server_signature_absent.map(SignatureAbsence::as_str)),
        known(line.client_signature.as_deref()),
        known(line.client_signature_absent.map(SignatureAbsence::as_str)),
        known(line.post_quantum.map(PostQuantum::as_str)),
        known(line.post_quantum.map(why)),
    ]
}

fn used(used: &Use) -> [String; 5] {
    let known = |time: &Option<String>| time.clone().unwrap_or_default();
    [
        used.evidence.to_string(),
        used.connections.to_string(),
        used.of_connections.to_string(),
        known(&used.first_seen),
        known(&used.last_seen),
    ]
}

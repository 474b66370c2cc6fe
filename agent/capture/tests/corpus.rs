//! Captures that others made, each connection with its expected verdict, through replay.
//!
//! Where they are not present it says so.

#[path = "support/reports.rs"]
mod reports;

use std::collections::{BTreeMap, HashMap};

use hopsight_core::{
    model::{Outcome, Security},
    report::ConnectionReport,
};
use reports::reports;

/// File, client, reason.
type Difference = (&'static str, &'static str, &'static str);

/// Connections on which we differ from the table, and why. Everything else must fit, and none of
/// these.
const DIFFERENCES: &[Difference] = &[
    (
        "arkime/arkime_synthetic.pcap",
        "10.0.38.100:54344",
        "the bytes are the HTTP/2 preface in the clear; only the port suggests TLS",
    ),
    ("arkime/arkime_synthetic.pcap", "10.0.44.100:54346", MID_STREAM),
    ("arkime/arkime_synthetic.pcap", "10.0.10.100:54326", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.0.14.100:54330", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.2.10.100:55010", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.3.2.100:56002", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.20.22.100:50400", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.0.12.100:54328", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.3.1.100:56001", NEGOTIATING),
    ("arkime/arkime_synthetic.pcap", "10.20.16.100:49800", NEGOTIATING),
    (
        "arkime/arkime_synthetic.pcap",
        "10.0.17.100:54333",
        "a made-up packet of TNS without its type: 26 bytes that say too little",
    ),
    (
        "arkime/arkime_synthetic.pcap",
        "10.9.14.2:502",
        "Modbus with its roles reversed: the first bytes refuse a request that was never made",
    ),
    (
        "arkime/openvpn_synthetic.pcap",
        "203.0.113.7:51002",
        "OpenVPN encrypts in a framing of its own: neither TLS nor clear text",
    ),
    (
        "arkime/openvpn_synthetic.pcap",
        "2001:db8:1::7:51003",
        "OpenVPN encrypts in a framing of its own: neither TLS nor clear text",
    ),
    (
        "hotplace/tls12__tls12no_renogotiation.pcapng",
        "::1:13185",
        "the handshake succeeds; what fails is a later renegotiation, under encryption",
    ),
    ("arkime/arkime_synthetic.pcap", "10.0.4.100:54322", SSH),
    ("arkime/arkime_synthetic.pcap", "10.2.7.100:55007", SSH),
    ("arkime/arkime_synthetic.pcap", "10.4.1.100:57001", SSH),
    ("arkime/arkime_synthetic.pcap", "10.9.7.1:49407", SSH),
    ("arkime/arkime_synthetic.pcap", "10.20.27.100:56000", SSH),
    ("nDPI/tls_heur__shadowsocks-tcp.pcapng", "127.0.0.1:40164", EVENLY_SPREAD),
    ("nDPI/tls_heur__vmess-tcp.pcapng", "127.0.0.1:40818", EVENLY_SPREAD),
    ("nDPI/whatsapp_login_call.pcap", "192.168.2.4:49202", EVENLY_SPREAD),
    ("nDPI/anyconnect-vpn.pcap", "10.0.0.227:56320", MID_STREAM),
    ("nDPI/tls_certificate_too_long.pcap", "192.168.1.121:52721", MID_STREAM),
    (
        "arkime/arkime_synthetic.pcap",
        "10.0.5.100:54323",
        "SMTP that ends, without a close, where STARTTLS may still come",
    ),
    (
        "arkime/arkime_synthetic.pcap",
        "10.4.7.100:57008",
        "LDAP that ends, without a close, after a bind without a password: StartTLS may still come",
    ),
    (
        "zeek/globus-url-copy.pcap",
        "192.168.57.103:60108",
        "FTP whose commands are sealed by GSSAPI (RFC 2228)",
    ),
    (
        "zeek/globus-url-copy.pcap",
        "192.168.57.103:35391",
        "both sides present certificates under TLS_RSA_WITH_NULL_SHA, which encrypts nothing",
    ),
    ("zeek/mqtt.pcap", "10.0.1.4:49327", MID_STREAM),
    ("zeek/mqtt.pcap", "10.0.1.4:49330", MID_STREAM),
    (
        "zeek/tls__ocsp-response-only.pcap",
        "192.168.6.109:34334",
        "half of the connection is missing: a gap stays unknown",
    ),
    (
        "zeek/tls__tls1.2-protocol-violation.pcap",
        "10.0.0.80:56637",
        "the server's Certificate message has a false length: malformed stays unknown",
    ),
];

const SSH: &str = "SSH encrypts by itself: unknown{encrypted_not_tls}";
const EVENLY_SPREAD: &str = "it encrypts by itself, and nothing of it is clear text: \
                             unknown{unrecognised}";
const NEGOTIATING: &str = "the capture ends in a negotiation (MySQL greeting, SOCKS, RDP, \
                           SMB, TNS) after which encryption may begin: unknown{truncated}";
const MID_STREAM: &str = "its beginning was not captured, and the first bytes seen are not \
                          unmistakable: unknown{mid_stream}";

/// What the table's word allows us to say.
fn fits(expected: &str, report: &ConnectionReport) -> bool {
    let verdict = &report.verdict;
    match expected {
        "plaintext" => verdict.security == Security::Plaintext,
        "tls-one-way" => verdict.security == Security::Tls,
        "mtls" => verdict.security == Security::Mtls,
        "resumed" => report.resumed == Some(true),
        "failed" => matches!(verdict.outcome, Outcome::Failed | Outcome::Rejected),
        // The table could not tell; an answer with evidence is welcome for TLS, but clear text
        // must not be claimed.
        _ => verdict.security != Security::Plaintext,
    }
}

fn said(report: &ConnectionReport) -> String {
    let resumed = if report.resumed == Some(true) { " resumed" } else { "" };
    format!("{}{resumed}", reports::said(report))
}

#[test]
fn verdicts_fit_the_known_truth() {
    let corpus = hopsight_test_support::shared().join("corpus");
    let Ok(table) = std::fs::read_to_string(corpus.join("TRUTH.tsv")) else {
        hopsight_test_support::not_run(
            "foreign captures",
            &format!("no corpus at {}", corpus.display()),
        );
        return;
    };
    let mut replayed: HashMap<String, Vec<ConnectionReport>> = HashMap::new();
    let mut rows = BTreeMap::<String, [u32; 2]>::new();
    let mut wrong = Vec::new();
    let mut explained = hopsight_test_support::Explained::new(DIFFERENCES);
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, client, server, "tcp", expected, ..] = fields[..] else { continue };
        let reports =
            replayed.entry(file.to_owned()).or_insert_with(|| reports(&corpus.join(file)));
        let is_this = |difference: &Difference| difference.0 == file && difference.1 == client;
        let strip = |address: &str| address.replace(['[', ']'], "");
        let found = reports.iter().find(|report| {
            strip(&report.src) == client && strip(&report.dst) == server
                || strip(&report.src) == server && strip(&report.dst) == client
        });
        let seen = found.map_or_else(|| "not seen".to_owned(), said);
        let fit = found.map_or(expected == "unknown", |report| fits(expected, report));
        rows.entry(format!("{expected:<12} {seen}")).or_default()[usize::from(!fit)] += 1;
        if fit {
            continue;
        }
        if !explained.explains(is_this) {
            wrong.push(format!("{file} {client} {server}: expected {expected}, said {seen}"));
        }
    }
    println!("expected     said -> fits / differs");
    for (row, [fit, differ]) in rows {
        println!("{row} -> {fit} / {differ}");
    }
    for (file, client, reason) in DIFFERENCES {
        println!("known difference: {file} {client}: {reason}");
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    explained.assert_none_is_stale();
}

//! Facts of every connection beside what tshark reads of it, over captures that others made.
//!
//! Without the captures or without tshark it says so.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use hopsight_capture::replay;
use hopsight_core::{
    report::ConnectionReport,
    tls::{group::NamedGroup, hello::cipher_name},
};

/// File, client, fact, reason.
type Difference = (&'static str, &'static str, &'static str, &'static str);

/// Where we differ from tshark, and why. Everything else must agree, and none of these.
const DIFFERENCES: &[Difference] = &[
    ("arkime/arkime_synthetic.pcap", "10.20.30.100:59000", "serial", BROKEN_CERTIFICATE),
    ("arkime/arkime_synthetic.pcap", "10.9.19.1:49621", "cipher", BROKEN_HELLO),
    ("arkime/arkime_synthetic.pcap", "10.9.19.1:49621", "version", BROKEN_HELLO),
    ("nDPI/443-opvn.pcap", "192.168.1.84:52973", "cipher", OPENVPN),
    ("nDPI/443-opvn.pcap", "192.168.1.84:52973", "groups", OPENVPN),
    ("nDPI/443-opvn.pcap", "192.168.1.84:52973", "resumed", OPENVPN),
    ("nDPI/443-opvn.pcap", "192.168.1.84:52973", "version", OPENVPN),
    ("nDPI/openvpn.pcap", "10.181.235.122:39772", "cipher", OPENVPN),
    ("nDPI/openvpn.pcap", "10.181.235.122:39772", "groups", OPENVPN),
    ("nDPI/openvpn.pcap", "10.181.235.122:39772", "serial", OPENVPN),
    ("nDPI/openvpn.pcap", "10.181.235.122:39772", "version", OPENVPN),
    ("nDPI/openvpn_nohmac_tcp.pcapng", "10.181.235.122:39772", "cipher", OPENVPN),
    ("nDPI/openvpn_nohmac_tcp.pcapng", "10.181.235.122:39772", "groups", OPENVPN),
    ("nDPI/openvpn_nohmac_tcp.pcapng", "10.181.235.122:39772", "serial", OPENVPN),
    ("nDPI/openvpn_nohmac_tcp.pcapng", "10.181.235.122:39772", "version", OPENVPN),
    (
        "nDPI/tls_1.2_unidirectional_server_no_cert.pcapng",
        "192.168.12.156:39958",
        "resumed",
        "one direction only: a resumption is said once both have finished",
    ),
    (
        "nDPI/tls_invalid_reads.pcap",
        "10.191.139.17:58552",
        "sni",
        "inside of a GTP tunnel, which is not looked into",
    ),
    ("nDPI/tls_invalid_reads.pcap", "192.168.10.101:3967", "cipher", CUT),
    ("nDPI/tls_invalid_reads.pcap", "192.168.10.101:3967", "version", CUT),
    (
        "zeek/tls__chrome-63.0.3211.0-canary-tls_experiment.pcap",
        "192.168.0.2:62873",
        "resumed",
        "a draft of TLS 1.3: the session id that it echoes is for compatibility (RFC 8446 \
         appendix D.4)",
    ),
    (
        "zeek/tls__tls-fragmented-handshake.pcap",
        "192.168.6.86:61454",
        "group",
        "its Certificate message is longer than is kept, and nothing is read behind it",
    ),
    (
        "zeek/tls__tls1.2-protocol-violation.pcap",
        "10.0.0.80:56637",
        "resumed",
        "the server's Certificate message has a false length and is not read by tshark, which \
         takes its absence for a resumption",
    ),
];

const OPENVPN: &str = "TLS inside of OpenVPN's framing, which is not read here";
const BROKEN_CERTIFICATE: &str = "the Certificate message has no valid X.509 certificate";
const BROKEN_HELLO: &str = "the ServerHello has an empty supported_versions: malformed; tshark takes the number of \
                            the next extension for the version";
const CUT: &str = "the packets are cut short, and tshark reads on after what is missing";

const FIELDS: [&str; 18] = [
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tls.handshake.type",
    "tls.handshake.version",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.ciphersuite",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "x509af.serialNumber",
    "tls.resumed",
    "tls.handshake.extensions_supported_group",
    "tls.handshake.extensions_key_share_group",
    "tls.handshake.server_named_curve",
];

/// What tshark reads of one connection; several values where it has several handshakes.
#[derive(Debug, Default)]
struct Seen {
    client: String,
    server: String,
    facts: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Seen {
    fn add(&mut self, fact: &'static str, value: impl Into<String>) {
        self.facts.entry(fact).or_default().insert(value.into());
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x")?;
    u32::from_str_radix(digits, 16).ok().and_then(|number| u16::try_from(number).ok())
}

/// The version's name as in reports.
fn version(text: &str) -> String {
    number(text)
        .map_or_else(|| text.to_owned(), |n| hopsight_core::tls::hello::TlsVersion(n).to_string())
}

fn tshark(file: &Path) -> Option<Vec<Seen>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", "tls.handshake && tcp", "-T", "fields"]);
    command.args(["-E", "separator=|", "-E", "occurrence=a"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output().ok()?;
    let mut streams: BTreeMap<u32, Seen> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [stream, ip4, ip6, port, to4, to6, to_port, kinds, versions, supported, rest @ ..] =
            &fields[..]
        else {
            continue;
        };
        let [ciphers, names, protocols, serials, resumed, groups, shares, curves] = rest else {
            continue;
        };
        let Ok(stream) = stream.parse() else { continue };
        let seen = streams.entry(stream).or_default();
        let first = |list: &str| list.split(',').next().unwrap_or_default().to_owned();
        // In a tunnel the inner addresses come last.
        let last = |list: &str| list.split(',').next_back().unwrap_or_default().to_owned();
        let from = format!("{}{}:{port}", last(ip4), last(ip6));
        let to = format!("{}{}:{to_port}", last(to4), last(to6));
        if !resumed.is_empty() {
            seen.add("resumed", "true");
        }
        let kinds: Vec<&str> = kinds.split(',').collect();
        // A curve of TLS up to 1.2; a share of TLS 1.3.
        let chosen = if kinds.first() == Some(&"2") { first(shares) } else { String::new() };
        for group in [first(curves), chosen].iter().filter_map(|group| number(group)) {
            seen.add("group", NamedGroup(group).name());
        }
        match kinds.first() {
            Some(&"1") => {
                (seen.client, seen.server) = (from, to);
                if !names.is_empty() {
                    seen.add("sni", first(names));
                }
                let offered =
                    groups.split(',').filter_map(number).filter(|one| one & 0x0f0f != 0x0a0a);
                let offered: Vec<_> = offered.map(|one| NamedGroup(one).name()).collect();
                if !offered.is_empty() {
                    seen.add("groups", offered.join(" "));
                }
            }
            Some(&"2") => {
                if seen.client.is_empty() {
                    (seen.client, seen.server) = (to, from);
                }
                let chosen = if supported.is_empty() { versions } else { supported };
                seen.add("version", version(&first(chosen)));
                if let Some(cipher) = number(&first(ciphers)) {
                    seen.add("cipher", cipher_name(cipher));
                }
                if !protocols.is_empty() {
                    seen.add("alpn", first(protocols));
                }
                if !serials.is_empty() {
                    seen.add("serial", first(serials).trim_start_matches('0'));
                }
            }
            Some(&"11") if !serials.is_empty() && from == seen.server => {
                seen.add("serial", first(serials).trim_start_matches('0'));
            }
            _ => {}
        }
    }
    Some(streams.into_values().collect())
}

fn ours(report: &ConnectionReport) -> BTreeMap<&'static str, String> {
    let serial = report.server_certificate.as_ref().map(|facts| &facts.serial);
    let facts = [
        (
            "group",
            report
                .cryptography
                .group
                .as_deref()
                .filter(|name| !name.starts_with("dh"))
                .map(str::to_owned),
        ),
        ("groups", Some(report.cryptography.offered_groups.join(" "))),
        ("sni", report.sni.as_deref().map(str::to_owned)),
        ("version", report.tls_version.as_deref().map(str::to_owned)),
        ("cipher", report.cipher.as_deref().map(str::to_owned)),
        ("alpn", report.alpn.as_deref().map(str::to_owned)),
        ("serial", serial.map(|serial| serial.trim_start_matches('0').to_owned())),
        ("resumed", report.resumed.filter(|resumed| *resumed).map(|_| "true".to_owned())),
    ];
    facts.into_iter().filter_map(|(fact, value)| Some((fact, value?))).collect()
}

/// What tshark reads of each capture. It takes one processor for a minute.
fn read_by_tshark(captures: &[PathBuf]) -> Vec<Vec<Seen>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let taken = numbers.map_while(|number| Some((number, captures.get(number)?)));
        taken.map(|(number, path)| (number, tshark(path).expect("run tshark"))).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut read: Vec<(usize, Vec<Seen>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    read.sort_by_key(|(number, _)| *number);
    read.into_iter().map(|(_, seen)| seen).collect()
}

#[test]
fn facts_agree_with_tshark() {
    let corpus = hopsight_test_support::shared().join("corpus");
    if !corpus.exists() {
        hopsight_test_support::not_run(
            "foreign captures",
            &format!("no corpus at {}", corpus.display()),
        );
        return;
    }
    if Command::new("tshark").arg("-v").output().is_err() {
        hopsight_test_support::not_run("comparison with tshark", "tshark is not installed");
        return;
    }
    let mut tally: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut explained = hopsight_test_support::Explained::new(DIFFERENCES);
    let captures = hopsight_test_support::captures(&corpus);
    let read = read_by_tshark(&captures);
    for (path, read) in captures.iter().zip(read) {
        let name = path.strip_prefix(&corpus).expect("below").to_string_lossy().into_owned();
        let mut reports: HashMap<(String, String), Vec<ConnectionReport>> = HashMap::new();
        replay::replay(path, replay::limits(), &mut |report| {
            let strip = |address: &str| address.replace(['[', ']'], "");
            let key = (strip(&report.src), strip(&report.dst));
            reports.entry(key).or_default().push(report);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        for seen in read {
            let key = (seen.client.clone(), seen.server.clone());
            let all: Vec<_> = reports.get(&key).into_iter().flatten().map(ours).collect();
            for (fact, values) in &seen.facts {
                let said: BTreeSet<&String> =
                    all.iter().filter_map(|facts| facts.get(fact)).collect();
                let agrees = said.iter().any(|value| values.contains(*value));
                let is_this = |(file, client, what, _): &Difference| {
                    (*file, *client, *what) == (name.as_str(), seen.client.as_str(), *fact)
                };
                let word = if agrees { "agree" } else { "differ" };
                *tally.entry(format!("{fact:<8} {word}")).or_default() += 1;
                if agrees {
                    continue;
                }
                if !explained.explains(is_this) {
                    wrong.push(format!(
                        "(\"{name}\", \"{}\", \"{fact}\", \"\"): tshark {values:?}, we {said:?}",
                        seen.client
                    ));
                }
            }
        }
    }
    for (row, count) in &tally {
        println!("{row} {count}");
    }
    for (file, client, fact, reason) in DIFFERENCES {
        println!("known difference: {file} {client} {fact}: {reason}");
    }
    assert!(tally.values().sum::<u32>() > 100, "tshark read next to nothing");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    explained.assert_none_is_stale();
}

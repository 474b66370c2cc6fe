use hopsight_core::{
    model::{Evidence, Security},
    report::ConnectionReport,
    tls::{
        certificate_facts::{CertificateAbsence, CertificateFacts, IssuerFacts},
        cryptography::{CryptographyFacts, GroupAbsence, SignatureAbsence},
        fingerprint::Fingerprint,
    },
};
use hopsight_posture::hops::{
    table::{HopLimits, HopTable},
    testing::{at, certificate, report, to},
};

use super::*;

fn issuer() -> IssuerFacts {
    IssuerFacts {
        subject: "CN=Sub".into(),
        issuer: "CN=Root".into(),
        serial: "02".into(),
        not_before: 0,
        not_after: 9_000,
        public_key: "p384".into(),
        signature: "ecdsa-with-SHA384".into(),
        sha256: Fingerprint::of(b"sub"),
    }
}

fn mutual() -> ConnectionReport {
    let mut report = report(1, Security::Mtls);
    report.tls_version = Some("1.3".into());
    report.cipher = Some("TLS_AES_128_GCM_SHA256".into());
    report.cryptography = CryptographyFacts {
        offered_groups: vec!["X25519MLKEM768".into()],
        group: Some("X25519MLKEM768".into()),
        server_signature: Some("ed25519".into()),
        client_signature: Some("ed25519".into()),
        ..CryptographyFacts::default()
    };
    let facts = CertificateFacts {
        sans: vec!["DNS:payments".into(), "URI:spiffe://mesh/payments".into()],
        sha256: Some(Fingerprint::of(b"payments")),
        issuers: vec![issuer().into()],
        chain_length: 2,
        ..certificate("payments", 5_000)
    };
    report.server_certificate = Some(facts.into());
    report.client_certificate = Some(certificate("=edge<script>", 2_000).into());
    report
}

fn one_way() -> ConnectionReport {
    let mut report = to(report(2, Security::Tls), "10.0.0.2:443");
    report.cryptography = CryptographyFacts {
        group_absent: Some(GroupAbsence::KeyTransport),
        server_signature_absent: Some(SignatureAbsence::NotSent),
        client_signature_absent: Some(SignatureAbsence::NotSent),
        ..CryptographyFacts::default()
    };
    report.server_certificate_absent = Some(CertificateAbsence::Unreadable);
    report
}

fn inventory() -> Inventory {
    let mut table = HopTable::new(HopLimits::default());
    for (report, seconds) in [
        (mutual(), 10.0),
        (mutual(), 20.0),
        (one_way(), 30.0),
        (to(report(3, Security::Plaintext), "10.0.0.3:80"), 40.0),
        (to(report(4, Security::Unknown), "10.0.0.4:443"), 50.0),
    ] {
        let mut report = report;
        if report.verdict.security == Security::Unknown {
            report.tls_version = None;
        }
        table.record(&report, at(seconds));
    }
    let hops = table.snapshot(100.0);
    Inventory::of(vec![Source { name: "node-1:9464".into(), hops }])
}

#[test]
fn every_hop_has_lines_and_says_what_is_not_known() {
    let inventory = inventory();
    let certificates = inventory.certificates.iter().map(|line| {
        let subject = line.subject.as_deref().unwrap_or("");
        let absent = line.absent.map_or("", CertificateAbsence::as_str);
        let Use { evidence, connections, of_connections, .. } = line.used;
        let used = (evidence.as_str(), connections, of_connections);
        (&*line.hop.upstream, line.role.as_str(), subject, absent, used)
    });
    assert_eq!(
        certificates.collect::<Vec<_>>(),
        [
            ("10.0.0.1:443", "upstream", "CN=payments", "", ("library", 2, 2)),
            ("10.0.0.1:443", "upstream_issuer", "CN=Sub", "", ("library", 2, 2)),
            ("10.0.0.1:443", "proxy", "CN==edge<script>", "", ("library", 2, 2)),
            ("10.0.0.2:443", "upstream", "", "unreadable", ("none", 0, 1)),
            ("10.0.0.2:443", "proxy", "", "", ("none", 0, 1)),
            ("10.0.0.4:443", "upstream", "", "", ("none", 0, 1)),
            ("10.0.0.4:443", "proxy", "", "", ("none", 0, 1)),
        ]
    );
    let payments = &inventory.certificates[0];
    assert_eq!(payments.spiffe_id.as_deref(), Some("spiffe://mesh/payments"));
    assert_eq!(payments.used.first_seen.as_deref(), Some("1970-01-01T00:00:10.000Z"));
    assert_eq!(payments.used.last_seen.as_deref(), Some("1970-01-01T00:00:20.000Z"));
    let cryptography = inventory.cryptography.iter().map(|line| {
        let version = line.version.as_deref().unwrap_or("");
        let group = line.group.as_deref().or(line.group_absent.map(GroupAbsence::as_str));
        let word = line.post_quantum.map_or("in the clear", PostQuantum::as_str);
        (&*line.hop.upstream, version, group.unwrap_or(""), word, line.used.connections)
    });
    assert_eq!(
        cryptography.collect::<Vec<_>>(),
        [
            ("10.0.0.1:443", "1.3", "X25519MLKEM768", "yes", 2),
            ("10.0.0.2:443", "1.2", "key_transport", "proxy_below_tls13", 1),
            ("10.0.0.3:80", "", "", "in the clear", 1),
            ("10.0.0.4:443", "", "", "unknown", 0),
        ]
    );
    let expected = Readiness { post_quantum: 1, mixed: 0, classical: 1, plaintext: 1, unknown: 1 };
    assert_eq!(inventory.readiness, expected);
}

#[test]
fn a_table_has_the_same_columns_in_every_line_and_no_formulas() {
    let mut inventory = inventory();
    inventory.certificates[2].subject = Some("=cmd|' /C calc'!A0".into());
    inventory.certificates[2].sans = vec!["DNS:a".into(), "URI:x DNS:b, DNS:c".into()];
    let csv = inventory.csv().unwrap();
    let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
    let headings = reader.headers().unwrap().clone();
    let column = |name: &str| headings.iter().position(|heading| heading == name).unwrap();
    let rows: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), inventory.certificates.len() + inventory.cryptography.len());
    assert_eq!(&rows[0][column("sha256")], Fingerprint::of(b"payments").to_string());
    assert_eq!(&rows[2][column("subject")], "'=cmd|' /C calc'!A0");
    assert_eq!(&rows[2][column("sans")], "DNS:a URI:x\\20DNS:b,\\20DNS:c", "two names");
    assert_eq!(inventory.certificates[2].names(", "), "DNS:a, URI:x DNS:b\\2C DNS:c");
    let used = rows.last().unwrap();
    assert_eq!((&used[column("kind")], &used[column("post_quantum")]), ("cryptography", "unknown"));
}

#[test]
fn a_page_shows_text_of_others_as_text() {
    let page = inventory().html(1_000.0);
    assert!(page.contains("CN==edge&lt;script&gt;") && !page.contains("<script"), "{page}");
    for forbidden in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("the proxy does not offer TLS 1.3"));
}

#[test]
fn a_bill_of_materials_names_each_thing_once() {
    let text = inventory().cyclonedx(1_000.0).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&text).unwrap();
    let components = bill["components"].as_array().unwrap();
    let mut references: Vec<_> =
        components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
    let known = references.clone();
    references.sort_unstable();
    references.dedup();
    assert_eq!(references.len(), known.len());
    let find = |reference: &str| components.iter().find(|one| one["bom-ref"] == reference).unwrap();
    let suite = "protocol:tls:1.3:TLS_AES_128_GCM_SHA256:X25519MLKEM768:ed25519:ed25519";
    let suite = &find(suite)["cryptoProperties"]["protocolProperties"]["cipherSuites"][0];
    assert_eq!(suite["tlsGroups"], serde_json::json!(["X25519MLKEM768"]));
    assert_eq!(suite["tlsSignatureSchemes"], serde_json::json!(["ed25519"]));
    assert_eq!(suite["identifiers"], serde_json::json!(["0x13", "0x01"]));
    let hybrid = &find("algorithm:group:X25519MLKEM768")["cryptoProperties"]["algorithmProperties"];
    assert_eq!(
        (&hybrid["primitive"], &hybrid["nistQuantumSecurityLevel"]),
        (&"combiner".into(), &3.into())
    );
    let payments = find(&format!("certificate:{}", Fingerprint::of(b"payments")));
    assert_eq!(payments["evidence"]["occurrences"][0]["location"], "nginx -> 10.0.0.1:443");
    // Whatever depends on something depends on what is there.
    for dependency in bill["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(known.contains(&on.as_str().unwrap()), "{on}");
        }
    }
    assert_eq!(bill["services"].as_array().unwrap().len(), 4);
    assert_eq!(Evidence::None.as_str(), "none");
}

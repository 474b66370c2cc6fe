//! Reports for tests, written as the words that matter.

#![expect(clippy::missing_panics_doc, reason = "they take literals; a wrong one fails its test")]

use std::time::Duration;

use hopsight_core::{
    model::{
        ClientAuth, ConnectionId, Evidence, Origin, Outcome, Process, Reason, Security,
        ServerVerified, Timestamp,
    },
    report::{AlertFacts, CarriedBy, CarriedFrom, ConnectionReport, Verdict},
    tls::{certificate_facts::CertificateFacts, cryptography::CryptographyFacts},
};

use crate::hops::moment::Moment;

/// The moment at which both clocks show this many seconds.
pub fn at(seconds: f64) -> Moment {
    let monotonic = Duration::from_secs_f64(seconds).as_nanos().try_into().map(Timestamp);
    Moment { unix_seconds: seconds, monotonic: monotonic.expect("a small number") }
}

/// A final report of connection `number`, decided at second `number`, from `nginx` to `10.0.0.1:443`.
#[must_use]
pub fn report(number: u64, security: Security) -> ConnectionReport {
    let (client_auth, reason) = match security {
        Security::Mtls => (ClientAuth::Presented, None),
        Security::Tls | Security::Plaintext => (ClientAuth::NotRequested, None),
        Security::Unknown => (ClientAuth::Unknown, Some(Reason::EncryptedHandshake)),
    };
    let is_tls = security != Security::Plaintext;
    ConnectionReport {
        connection: ConnectionId(number),
        origin: process("nginx"),
        src: "10.0.0.9:40000".into(),
        dst: "10.0.0.1:443".into(),
        destination: "10.0.0.1:443".parse().expect("literal"),
        tunnel: None,
        opened_at: Timestamp(number * 1_000_000_000),
        decided_at: Timestamp(number * 1_000_000_000),
        verdict: Verdict {
            security,
            client_auth,
            outcome: Outcome::Established,
            evidence: if security == Security::Unknown { Evidence::None } else { Evidence::Wire },
            server_verified: ServerVerified::Unknown,
            reason,
        },
        is_final: true,
        rule: None,
        carried_from: None,
        unseen: None,
        wire_client_auth: None,
        tls_version: is_tls.then(|| "1.2".into()),
        offered_versions: vec![],
        cipher: is_tls.then(|| "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into()),
        cryptography: CryptographyFacts::default(),
        sni: None,
        alpn: None,
        offered_alpn: vec![],
        resumed: is_tls.then_some(false),
        early_data: None,
        alert: None,
        server_certificate: None,
        server_certificate_absent: None,
        server_chain: None,
        client_certificate: None,
        client_certificate_absent: None,
        client_chain: None,
        requested_authorities: None,
        server_timestamps: 0,
        server_staple: None,
        verify_error: None,
        protocol: (!is_tls).then(|| "http/1".into()),
        starttls: None,
        proxy_protocol: None,
    }
}

/// An origin with this process name.
#[must_use]
pub fn process(name: &str) -> Origin {
    Origin::Process(Process { pid: 1, name: name.into(), cgroup_id: 0 })
}

/// The same report, refused by the server with `unknown_ca`.
#[must_use]
pub fn rejected(mut report: ConnectionReport) -> ConnectionReport {
    report.verdict.outcome = Outcome::Rejected;
    report.alert =
        Some(AlertFacts { from: "server".into(), description: "unknown_ca".into(), code: 48 });
    report
}

/// The same report, not yet the last of its connection.
#[must_use]
pub fn early(mut report: ConnectionReport) -> ConnectionReport {
    report.is_final = false;
    report
}

/// The same report of a session whose full handshake is that old, in seconds.
#[must_use]
pub fn carried(mut report: ConnectionReport, age_seconds: f64) -> ConnectionReport {
    report.resumed = Some(true);
    report.verdict.evidence = Evidence::Carried;
    report.carried_from = Some(CarriedFrom {
        evidence: Evidence::Library,
        age_seconds,
        by: CarriedBy::Session,
        at: Timestamp(0),
        pid: Some(1),
        client_certificate: None,
        server_certificate: None,
    });
    report
}

/// The same report for another upstream.
#[must_use]
pub fn to(mut report: ConnectionReport, destination: &str) -> ConnectionReport {
    report.destination = destination.parse().expect("an address");
    report.dst = destination.into();
    report
}

/// A certificate for `CN=name` that ends at `not_after`.
#[must_use]
pub fn certificate(name: &str, not_after: i64) -> CertificateFacts {
    CertificateFacts {
        subject: format!("CN={name}"),
        issuer: "CN=Test CA".into(),
        sans: vec![format!("DNS:{name}")],
        serial: "01".into(),
        not_before: not_after - 86_400,
        not_after,
        public_key: "p256".into(),
        signature: "ecdsa-with-SHA256".into(),
        chain_length: 1,
        ..CertificateFacts::default()
    }
}

//! Made-up connections, the same in every run.

use std::net::SocketAddr;

use hopsight_core::{
    model::{
        ClientAuth, ConnectionId, Evidence, Origin, Outcome, Process, Reason, Security,
        ServerVerified, Timestamp,
    },
    report::{AlertFacts, CarriedBy, CarriedFrom, ConnectionReport, Verdict},
    tls::{
        certificate_facts::{CertificateFacts, IssuerFacts},
        cryptography::{CryptographyFacts, SignatureAbsence},
        fingerprint::Fingerprint,
        key_usage::{ExtendedKeyUse, KeyUse},
    },
};

const PROXIES: [&str; 6] = ["nginx", "envoy", "haproxy", "traefik", "caddy", "edge-gateway"];
const NAMES: [&str; 8] =
    ["users", "billing", "search", "cart", "ledger", "mail", "auth", "inventory"];

/// Spreads small numbers (Knuth's multiplicative hash).
#[must_use]
pub const fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
}

/// Connection number `connection`, of hop number `hop`: most are mutual, some of everything else.
#[must_use]
pub fn connection(hop: u64, connection: u64) -> ConnectionReport {
    let kind = if hop < 3 { hop * 4 } else { hash(hop) % 20 };
    let (security, client_auth, evidence, reason) = match kind {
        0 => (Security::Mtls, ClientAuth::Presented, Evidence::Library, None),
        4 => (Security::Tls, ClientAuth::NotRequested, Evidence::Inferred, None),
        8 => (Security::Plaintext, ClientAuth::NotRequested, Evidence::Wire, None),
        5 => (Security::Tls, ClientAuth::RequestedNotPresented, Evidence::Wire, None),
        6 => (Security::Unknown, ClientAuth::Unknown, Evidence::None, Some(Reason::MidStream)),
        7 => (Security::Mtls, ClientAuth::Presented, Evidence::Carried, None),
        _ => (Security::Mtls, ClientAuth::Presented, Evidence::Wire, None),
    };
    let is_rejected = kind == 9 && connection.is_multiple_of(3);
    let is_tls = security != Security::Plaintext;
    let version = if matches!(evidence, Evidence::Wire) { "1.2" } else { "1.3" };
    let pick = |list: &[&str], number: u64| {
        list[usize::try_from(number).unwrap_or(0) % list.len()].to_owned()
    };
    let name = pick(&NAMES, hash(hop + 7));
    let proxy = if hop < 3 { PROXIES[0].to_owned() } else { pick(&PROXIES, hash(hop + 1)) };
    let [.., high, low] = hop.to_be_bytes();
    let port = if is_tls { 8443 } else { 8080 };
    let destination = SocketAddr::from(([10, 42, high, low], port));
    ConnectionReport {
        connection: ConnectionId(connection),
        origin: Origin::Process(Process { pid: 100, name: proxy.into(), cgroup_id: 1 }),
        src: "10.0.0.9:40000".into(),
        dst: destination.to_string(),
        destination,
        opened_at: Timestamp(connection * 1_000_000),
        decided_at: Timestamp(connection * 1_000_000 + 900_000),
        verdict: Verdict {
            security,
            client_auth,
            outcome: if is_rejected { Outcome::Rejected } else { Outcome::Established },
            evidence,
            server_verified: match kind {
                4 => ServerVerified::No,
                0 => ServerVerified::Yes,
                _ => ServerVerified::Unknown,
            },
            reason,
        },
        tunnel: None,
        is_final: true,
        rule: (evidence == Evidence::Inferred).then(|| "client_finished_only".into()),
        carried_from: (evidence == Evidence::Carried).then(|| CarriedFrom {
            evidence: Evidence::Library,
            age_seconds: 300.0,
            by: CarriedBy::Session,
            at: Timestamp(connection * 1_000_000),
            pid: Some(100),
            client_certificate: None,
            server_certificate: None,
        }),
        unseen: None,
        wire_client_auth: None,
        tls_version: is_tls.then(|| version.into()),
        offered_versions: vec![],
        cipher: is_tls.then(|| "TLS_AES_256_GCM_SHA384".into()),
        cryptography: if is_tls {
            cryptography(hop, version, security, evidence)
        } else {
            CryptographyFacts::default()
        },
        sni: is_tls.then(|| format!("{name}.internal.example").into()),
        alpn: None,
        offered_alpn: vec![],
        resumed: is_tls.then_some(evidence == Evidence::Carried),
        early_data: None,
        alert: is_rejected.then(|| AlertFacts {
            from: "server".into(),
            description: "unknown_ca".into(),
            code: 48,
        }),
        server_certificate: is_tls.then(|| certificate(&name, 20 + hop % 400).into()),
        server_certificate_absent: None,
        server_chain: None,
        client_certificate: (security == Security::Mtls)
            .then(|| certificate("proxy", 12 + hop % 9 * 30).into()),
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

fn certificate(name: &str, days_left: u64) -> CertificateFacts {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    CertificateFacts {
        subject: format!("CN={name}.internal.example"),
        issuer: "CN=Example Internal CA".into(),
        sans: vec![format!("DNS:{name}.internal.example")],
        serial: "4f0a".into(),
        not_before: now - 90 * 86_400,
        not_after: now + i64::try_from(days_left).unwrap_or(0) * 86_400,
        public_key: "p256".into(),
        signature: "ecdsa-with-SHA256".into(),
        chain_length: 2,
        sha256: Some(Fingerprint::of(name.as_bytes())),
        key_usage: Some([KeyUse::DigitalSignature].into()),
        extended_key_usage: Some([ExtendedKeyUse::ServerAuth, ExtendedKeyUse::ClientAuth].into()),
        key_sha256: Some(Fingerprint::of(name.as_bytes())),
        timestamps: 0,
        issuers: vec![issuer(now).into()],
    }
}

fn issuer(now: i64) -> IssuerFacts {
    IssuerFacts {
        subject: "CN=Example Internal CA".into(),
        issuer: "CN=Example Root".into(),
        serial: "03".into(),
        not_before: now - 400 * 86_400,
        not_after: now + 1_400 * 86_400,
        public_key: "p384".into(),
        signature: "ecdsa-with-SHA384".into(),
        sha256: Fingerprint::of(b"Example Internal CA"),
    }
}

/// Every third hop is hybrid, and every seventh would be if its upstream wanted to.
fn cryptography(
    hop: u64,
    version: &str,
    security: Security,
    evidence: Evidence,
) -> CryptographyFacts {
    let is_1_3 = version == "1.3";
    let offers_hybrid = is_1_3 && (hop.is_multiple_of(3) || hop.is_multiple_of(7));
    let offered: &[&str] = if offers_hybrid {
        &["X25519MLKEM768", "x25519", "secp256r1"]
    } else {
        &["x25519", "secp256r1"]
    };
    let group = if is_1_3 && hop.is_multiple_of(3) { "X25519MLKEM768" } else { "x25519" };
    let signed =
        || (!is_1_3 || evidence == Evidence::Library).then(|| "ecdsa_secp256r1_sha256".into());
    let hidden = |is_sent: bool| match (is_sent, is_1_3 && evidence != Evidence::Library) {
        (false, _) => Some(SignatureAbsence::NotSent),
        (true, true) => Some(SignatureAbsence::Encrypted),
        (true, false) => None,
    };
    let is_mutual = security == Security::Mtls;
    CryptographyFacts {
        offered_groups: offered.iter().map(|name| (*name).to_owned().into()).collect(),
        group: Some(group.to_owned().into()),
        server_signature: signed(),
        server_signature_absent: hidden(true),
        client_signature: if is_mutual { signed() } else { None },
        client_signature_absent: hidden(is_mutual),
        ..CryptographyFacts::default()
    }
}

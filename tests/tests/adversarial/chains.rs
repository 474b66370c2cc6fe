//! Certificates as large as OpenSSL takes them, in handshakes that succeed.

use hopsight_tests::{
    agent::Agent,
    case,
    pki::Pki,
    requirement,
    topology::{Network, Topology},
};

/// Within what a probe copies of one call. (Up to TLS 1.2 OpenSSL hashes both sides' certificates
/// in one call.)
const LARGE: usize = 60 * 1024;
/// Beyond that, and beyond `capture.handshake_bytes`, but not `capture.flight_bytes`. OpenSSL takes
/// chains of up to 100 KiB (SSL_CTX_set_max_cert_list(3)).
const LARGER: usize = 80 * 1024;

const CASES: &[&str] = &["tls12", "tls12-optional", "mtls12", "tls13", "tls13-optional", "mtls13"];

#[test]
fn large_chains_are_judged_rightly() {
    if !requirement::met("large_chains_are_judged_rightly", &["nginx"]) {
        return;
    }
    for (whose, server, client) in [
        ("the upstream's", LARGE, 0),
        ("the proxy's", 0, LARGE),
        ("both", LARGE, LARGE),
        ("the upstream's, larger", LARGER, 0),
        ("the proxy's, larger", 0, LARGER),
    ] {
        let cases = case::named(CASES);
        let topology =
            Topology::start_with(&cases, Network::Ipv4, |dir| Pki::padded(dir, server, client))
                .unwrap();
        for (mode, options) in [("library", &[][..]), ("wire", &["--no-library"])] {
            let agent = Agent::watching(&topology, mode, options).unwrap();
            for hop in &topology.hops {
                hop.request_once().unwrap();
                let reports = agent.wait_finals(hop.dial, 1).unwrap();
                let report = reports.last().unwrap();
                let verdict = report.verdict;
                println!(
                    "{whose}, {mode}, {}: {} {} {} {:?}",
                    hop.case.name,
                    verdict.security,
                    verdict.client_auth,
                    verdict.evidence,
                    verdict.reason
                );
                let context = format!("{whose}, {mode}, {}: {report:#?}", hop.case.name);
                let expected = hop.case.expected;
                assert_eq!(verdict.security, expected.security, "{context}");
                assert_eq!(verdict.client_auth, expected.client_auth, "{context}");
            }
        }
    }
}

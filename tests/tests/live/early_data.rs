//! Early data that the server refuses stands before the client's flight, and may be as long as
//! a certificate.

use hopsight_core::model::{ClientAuth, Evidence, Reason, Security};
use hopsight_tests::{
    agent::{Agent, VERDICT},
    cgroup::Cgroup,
    early_data::{self, EarlyData},
    loopback::Loopback,
    pki::Pki,
    process::Daemon,
    requirement,
    wait::wait_until,
};

/// As long as a Finished, as no message, as certificates, and as much as the server permits.
const LENGTHS: [usize; 5] = [36, 600, 900, 5000, 16_384];

#[test]
fn refused_early_data_is_no_certificate() {
    if !requirement::met("refused_early_data_is_no_certificate", &["openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let block = Loopback::reserve().unwrap();
    let cgroup = Cgroup::create().unwrap();
    let agent = |name: &str, host: u8, library: &str| {
        let own = ["--proxy", early_data::CLIENT, "--library", library];
        let options = [cgroup.options().unwrap().as_slice(), &own].concat();
        Agent::start(&dir.path().join(name), block.socket(host, 9464), &options).unwrap()
    };
    let (lengths_only, with_library) = (agent("lengths", 1, "off"), agent("library", 2, "auto"));
    // A library is looked into once a watched process uses it, and as long as one does: between two
    // clients there would be none.
    let [chain, key] = [&pki.server.chain, &pki.server.key].map(|path| path.to_str().unwrap());
    let accept = block.socket(3, 9999).to_string();
    let args = ["s_server", "-accept", &accept, "-cert", chain, "-key", key];
    let log = dir.path().join("idle.log");
    let _idle = Daemon::spawn_at(&cgroup.place(), early_data::CLIENT, args, &log).unwrap();
    let mut port = 20_000;
    wait_until("the library to be probed", VERDICT, || {
        port += 2;
        let addresses = [port, port + 1].map(|port| block.socket(3, port));
        early_data::ALL[0].run(
            &dir.path().join("openssl"),
            &pki,
            &cgroup,
            addresses,
            LENGTHS[0],
        )?;
        let reports = with_library.wait_finals(addresses[1], 1)?;
        let probed = reports.iter().any(|report| report.verdict.evidence == Evidence::Library);
        Ok(probed.then_some(()))
    })
    .unwrap();
    for (index, case) in early_data::ALL.iter().enumerate() {
        for (round, bytes) in LENGTHS.into_iter().enumerate() {
            let port = 10_000 + 2 * u16::try_from(index * LENGTHS.len() + round).unwrap();
            let addresses = [port, port + 1].map(|port| block.socket(3, port));
            case.run(&dir.path().join("openssl"), &pki, &cgroup, addresses, bytes).unwrap();
            for (agent, lengths) in [(&lengths_only, true), (&with_library, false)] {
                let reports = agent.wait_finals(addresses[1], 1).unwrap();
                let [report] = reports.as_slice() else { panic!("{reports:#?}") };
                let verdict = report.verdict;
                let context = format!("{}, {bytes} bytes: {report:#?}", case.name);
                if lengths && !case.is_told_by_lengths() {
                    let said = (verdict.security, verdict.reason);
                    assert_eq!(said, (Security::Unknown, Some(Reason::Ambiguous)), "{context}");
                    continue;
                }
                assert_eq!(verdict.security, security(case), "{context}");
                assert_eq!(verdict.client_auth, case.client_auth, "{context}");
                let evidence = if lengths { Evidence::Inferred } else { Evidence::Library };
                assert_eq!(verdict.evidence, evidence, "{context}");
            }
        }
    }
}

fn security(case: &EarlyData) -> Security {
    if case.client_auth == ClientAuth::Presented { Security::Mtls } else { Security::Tls }
}

//! An upstream that ends the connection in answer to the client's certificate, without an alert:
//! the proxy has presented it, and nothing was accepted.

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security},
    report::ConnectionReport,
};
use hopsight_posture::{hops::hop::Hop, policy::drift::Compliance};
use hopsight_tests::{
    agent::{Agent, VERDICT},
    cgroup::Cgroup,
    dropping::{Dropping, Ending},
    haproxy::Haproxy,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    requirement,
    wait::wait_until,
};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

const POLICY: &str = "[[policies]]\nname = \"must-be-mutual\"\nrequire = \"mtls\"\n";

/// Version, how the upstream ends, and the last part of its address and of the proxy's port.
const CASES: [(&str, &SupportedProtocolVersion, Ending, u8); 4] = [
    ("TLS 1.2, RST", &TLS12, Ending::Rst, 12),
    ("TLS 1.2, FIN", &TLS12, Ending::Fin, 13),
    ("TLS 1.3, RST", &TLS13, Ending::Rst, 14),
    ("TLS 1.3, FIN", &TLS13, Ending::Fin, 15),
];
/// Requests to each.
const REQUESTS: usize = 3;

#[test]
fn what_the_upstream_drops_is_never_established() {
    let test = "what_the_upstream_drops_is_never_established";
    if !requirement::met(test, &["nginx", "haproxy"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let block = Loopback::reserve().unwrap();
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let config = dir.path().join("hopsight.toml");
    std::fs::write(&config, format!("[policy]\nfile = {:?}\n", utf8(&policy).unwrap())).unwrap();
    let cgroup = Cgroup::create().unwrap();
    let agent = |name: &str, host: u8, library: &str| {
        let config = utf8(&config).unwrap();
        let options = ["--proxy", "nginx", "--proxy", "haproxy", "--library", library];
        let options = [&options[..], &["--config", config], &cgroup.options().unwrap()].concat();
        Agent::start(&dir.path().join(name), block.socket(host, 9464), &options).unwrap()
    };
    let agents = [agent("lengths", 1, "off"), agent("library", 2, "auto")];
    // The same upstream for both proxies: a hop each.
    let upstream = |host: u8| block.socket(host, 8443);
    let fronts = |host: u8| [7000, 8000].map(|port| block.socket(3, port + u16::from(host)));
    let _upstreams: Vec<_> = CASES
        .iter()
        .map(|(_, version, ending, host)| {
            Dropping::start(upstream(*host), version, *ending, &pki).unwrap()
        })
        .collect();
    let (chain, key) = (utf8(&pki.client.chain).unwrap(), utf8(&pki.client.key).unwrap());
    let bundle = utf8(&pki.client.bundle).unwrap();
    let (mut servers, mut sections) = (String::new(), String::new());
    for (.., host) in CASES {
        let [nginx, haproxy] = fronts(host);
        let upstream = upstream(host);
        servers += &format!(
            "server {{ listen {nginx}; location / {{ proxy_pass https://{upstream}; \
             proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_certificate {chain}; \
             proxy_ssl_certificate_key {key}; }} }}\n"
        );
        sections += &format!(
            "listen h{host}\nbind {haproxy}\nserver upstream {upstream} ssl verify none crt {bundle}\n"
        );
    }
    let config = nginx::Config { http: servers, ..nginx::Config::default() };
    let [first, _] = fronts(CASES[0].3);
    let _nginx = Nginx::start(&dir.path().join("nginx"), &config, &cgroup.place(), first).unwrap();
    let [_, first] = fronts(CASES[0].3);
    let _haproxy =
        Haproxy::start(&dir.path().join("haproxy"), &sections, &cgroup.place(), first).unwrap();
    // A library is looked into once a watched process uses it.
    let (.., probed) = CASES[2];
    wait_until("the library to be probed", VERDICT, || {
        http::get(fronts(probed)[0], "/")?;
        let reports = agents[1].finals(upstream(probed))?;
        let shown = reports.iter().any(|report| report.verdict.evidence == Evidence::Library);
        Ok(shown.then_some(()))
    })
    .unwrap();
    for (.., host) in CASES {
        for front in fronts(host) {
            for _ in 0..REQUESTS {
                let answer = http::get(front, "/").unwrap();
                assert!(matches!(answer.status, 502 | 503), "{answer:?}");
            }
        }
    }
    for (name, version, _, host) in CASES {
        for agent in &agents {
            let finals = agent.wait_finals(upstream(host), 2 * REQUESTS).unwrap();
            let reports = agent.reports().unwrap();
            let dst = upstream(host).to_string();
            for report in reports.iter().filter(|report| report.dst == dst) {
                assert_ne!(report.verdict.outcome, Outcome::Established, "{name}: {report:#?}");
            }
            assert_said(name, version, &finals);
            let hops = wait_until("both hops to be judged", VERDICT, || {
                let all = agent.hops()?.hops;
                let hops = all.iter().filter(|hop| hop.is_to(upstream(host)));
                let hops: Vec<Hop> = hops.map(|hop| Hop::clone(hop)).collect();
                let is_judged = |hop: &Hop| {
                    hop.context.compliance.is_some() && hop.counts.failed() >= REQUESTS as u64
                };
                let judged = hops.iter().all(is_judged);
                Ok((hops.len() == 2 && judged).then_some(hops))
            })
            .unwrap();
            for hop in hops {
                assert_eq!(hop.state.security, Security::Unknown, "{name}: {hop:#?}");
                let failed = hop.counts.failed();
                assert_eq!(hop.counts.failures.get("unaccepted"), Some(&failed), "{hop:#?}");
                assert!(failed >= REQUESTS as u64, "{name}: {hop:#?}");
                let compliance = hop.context.compliance.as_ref().unwrap();
                assert_ne!(compliance.status, Compliance::Compliant, "{name}: {hop:#?}");
                let labels = [&*hop.proxy, &*hop.upstream, "unaccepted"];
                let failures = "hopsight_upstream_handshake_failures_total";
                let counted = agent.metric(failures, &labels).unwrap();
                assert!(counted.is_some_and(|count| count >= 3.0), "{name}: {counted:?}");
            }
        }
    }
}

/// What is said of connections that the upstream dropped.
fn assert_said(name: &str, version: &SupportedProtocolVersion, finals: &[ConnectionReport]) {
    for report in finals {
        let verdict = report.verdict;
        let context = format!("{name}: {report:#?}");
        assert_eq!(verdict.outcome, Outcome::Incomplete, "{context}");
        assert_eq!(verdict.reason, Some(Reason::Unaccepted), "{context}");
        assert_eq!(verdict.client_auth, ClientAuth::Presented, "{context}");
        assert_eq!(verdict.security, Security::Mtls, "{context}");
        let weakest = if *version == TLS12 { Evidence::Wire } else { Evidence::Inferred };
        assert!(verdict.evidence >= weakest, "{context}");
    }
}

//! Every client × TLS version × situation, at the running agent's report: what it is expected to
//! say, what the upstream logged, and the certificates that were really made.
//!
//! The TLS library of every client is looked into, be it OpenSSL as a shared library, BoringSSL
//! inside Envoy or Go's inside Caddy: every full handshake has `library` evidence, of TLS 1.2 too.

mod check;
mod situations;

use std::fs;

use hopsight_core::{model::Outcome::Rejected, report::ConnectionReport};
use hopsight_tests::{
    agent::Agent,
    case::{Case, Proxy, Version},
    client,
    process::find,
    requirement,
    topology::{Hop, Network, Topology},
};

use self::{
    check::check,
    situations::{SITUATIONS, case, word},
};

const PROXIES: [Proxy; 10] = [
    Proxy::Nginx,
    Proxy::Haproxy,
    Proxy::Curl,
    Proxy::Python,
    Proxy::Envoy,
    Proxy::Caddy,
    Proxy::Node,
    Proxy::Grpc,
    Proxy::PyOpenSsl,
    Proxy::Rustls,
];

/// Names the only client to run, for `cargo xtask stacks`.
const ONLY: &str = "HOPSIGHT_MATRIX";

#[test]
fn tls12() {
    matrix("tls12", Version::V12);
}

#[test]
fn tls13() {
    matrix("tls13", Version::V13);
}

fn matrix(test: &str, version: Version) {
    if !requirement::met(test, &["nginx", "haproxy", "curl", client::PYTHON]) {
        return;
    }
    let only = std::env::var(ONLY).ok();
    let is_wanted = |proxy: &&Proxy| only.as_ref().is_none_or(|only| *only == word(**proxy));
    let cases: Vec<Case> = PROXIES
        .iter()
        .filter(is_wanted)
        .filter(|proxy| is_there(**proxy))
        .flat_map(|proxy| {
            SITUATIONS.iter().filter_map(|situation| case(version, *proxy, situation))
        })
        .collect();
    let cases = requirement::runnable(&cases);
    if cases.is_empty() {
        return;
    }
    let topology = Topology::start(&cases, Network::Ipv4).unwrap();
    let config = topology.dir().join("agent.toml");
    fs::write(&config, "[library]\nrustls = true\n").unwrap();
    let options = ["--config", config.to_str().unwrap()];
    let agent = Agent::watching_clients_with(&topology, &options).unwrap();
    let mut wrong = Vec::new();
    for hop in &topology.hops {
        // haproxy answers 502 or 503 to who is refused, by when it learns of it.
        let is_known = hop.case.proxy != Proxy::Haproxy || hop.case.expected.outcome != Rejected;
        if let Err(error) = hop.request()
            && is_known
        {
            wrong.push(format!("{error:#}"));
        }
    }
    for hop in &topology.hops {
        let mut reports = agent.wait_finals(hop.dial, hop.case.requests).unwrap();
        reports.sort_by_key(|report| report.opened_at);
        let seen = topology.wait_truth(hop, hop.case.logged()).unwrap();
        println!("{}", line(hop, &reports));
        let mut say = |text: String| wrong.push(format!("{}: {text}", hop.case.name));
        if reports.len() != hop.case.requests || seen.len() != hop.case.logged() {
            say(format!("{} connections, {} logged", reports.len(), seen.len()));
        }
        for (index, report) in reports.iter().enumerate() {
            check(&topology.pki, hop, index, report, &seen, &mut say);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether the machine has the client, where it need not: `cargo xtask stacks` brings them.
fn is_there(proxy: Proxy) -> bool {
    match proxy {
        Proxy::Node => find("node").is_some(),
        Proxy::Grpc | Proxy::PyOpenSsl => client::modules(proxy).is_some(),
        _ => true,
    }
}

/// A row of the matrix as it was reported.
fn line(hop: &Hop, reports: &[ConnectionReport]) -> String {
    let each = reports.iter().map(|report| {
        let verdict = report.verdict;
        format!(
            "{} {} {} {} server_verified={} verify_error={:?}",
            verdict.security,
            verdict.client_auth,
            verdict.outcome,
            verdict.evidence,
            verdict.server_verified,
            report.verify_error,
        )
    });
    format!("{:<32} {}", hop.case.name, each.collect::<Vec<_>>().join("; "))
}

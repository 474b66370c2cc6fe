//! The proxies of the demo with their upstreams.

use std::{net::IpAddr, path::Path};

use anyhow::Context as _;
use hopsight_core::model::Outcome;
use hopsight_tests::{
    case, requirement,
    topology::{Network, Topology},
    truth::Seen,
};
use hopsight_tools::truth::Answer;

use crate::{Row, capture::Capture};

/// Records every case that can run here.
pub fn record(file: &Path) -> anyhow::Result<Vec<Row>> {
    let cases = requirement::runnable(case::ALL);
    let topology = Topology::start(&cases, Network::Ipv4).context("start the proxies")?;
    let IpAddr::V4(block) = topology.spare_address().ip() else { unreachable!("by its network") };
    let capture = Capture::start(file, block.octets())?;
    let mut rows = Vec::new();
    for hop in &topology.hops {
        hop.request()?;
        // What the proxy gives up in the handshake its upstream does not log.
        let is_logged = hop.case.expected.outcome == Outcome::Established;
        for seen in topology.wait_truth(hop, usize::from(is_logged))? {
            rows.push(row(seen, hop.dial));
        }
    }
    capture.end()?;
    // A kept connection is logged once per request.
    rows.sort_by_key(|row| (row.client, row.server));
    rows.dedup_by_key(|row| (row.client, row.server));
    Ok(rows)
}

fn row(seen: Seen, server: std::net::SocketAddr) -> Row {
    let says = match (&seen.tls_version, &seen.error, &seen.client_subject) {
        (None, None, _) => Answer::Plaintext,
        (_, None, Some(_)) => Answer::Mutual,
        (_, Some(_), _) | (_, None, None) => Answer::OneWay,
    };
    let mark = if seen.error.is_some() { "refused" } else { "" };
    let version = seen.tls_version.unwrap_or_default();
    Row { client: seen.remote, server, says, version, resumed: seen.resumed, mark }
}

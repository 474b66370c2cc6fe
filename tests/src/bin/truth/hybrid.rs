//! A post-quantum key exchange, which Debian's OpenSSL does not have: Node brings a newer one.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;
use hopsight_tests::{loopback::Loopback, nginx::utf8, pki::Pki, process};
use hopsight_tools::truth::Answer;
use serde::Deserialize;

use crate::{Row, capture::Capture};

/// Both ends, in one program.
const PAIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/truth/pair.js");

/// What the server says.
#[derive(Deserialize)]
struct Said {
    client: SocketAddr,
    server: SocketAddr,
    presented: bool,
    resumed: bool,
    version: String,
}

/// Records them.
pub fn record(file: &Path, node: &Path, pki: &Pki, block: Loopback) -> anyhow::Result<Vec<Row>> {
    let host = block.host(4);
    let capture = Capture::start(file, host.octets())?;
    let host = host.to_string();
    let [server, client] = [&pki.server, &pki.client];
    let files = [&server.chain, &server.key, &client.chain, &client.key].map(|path| utf8(path));
    let [cert, key, client_cert, client_key] = files;
    let args = [PAIR, &host, "9500", cert?, key?, client_cert?, client_key?];
    let said = process::run(utf8(node)?, args).context("run both ends")?;
    capture.end()?;
    let rows = said.lines().map(|line| {
        let Said { client, server, presented, resumed, version } =
            serde_json::from_str(line).with_context(|| format!("read {line}"))?;
        let says = if presented { Answer::Mutual } else { Answer::OneWay };
        Ok(Row { client, server, says, version, resumed, mark: "post-quantum" })
    });
    rows.collect()
}

//! Records captures of real handshakes, with what their servers say of each: the truth that
//! `cargo xtask truth` scores readers of captures against. `hopsight-truth DIRECTORY`.

mod capture;
mod hybrid;
mod matrix;
mod pairs;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hopsight_tests::{loopback::Loopback, pki::Pki};
use hopsight_tools::truth::{Answer, HEAD, TRUTH};

/// What a server says of one connection.
struct Row {
    client: SocketAddr,
    server: SocketAddr,
    says: Answer,
    version: String,
    resumed: bool,
    /// What is special about it.
    mark: &'static str,
}

fn main() -> anyhow::Result<()> {
    let directory =
        std::env::args_os().nth(1).map(PathBuf::from).context("usage: hopsight-truth DIRECTORY")?;
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let scratch = tempfile::tempdir().context("create a folder")?;
    let pki = Pki::create(&scratch.path().join("pki"))?;
    let mut text = format!("{HEAD}\n");
    let mut tell = |file: &str, rows: Vec<Row>| {
        println!("{file}: {} connections", rows.len());
        for Row { client, server, says, version, resumed, mark } in rows {
            let resumed = if resumed { "yes" } else { "no" };
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "{file}\t{client}\t{server}\t{says}\t{version}\t{resumed}\t{mark}");
        }
    };
    tell("proxies.pcap", matrix::record(&directory.join("proxies.pcap"))?);
    let block = Loopback::reserve()?;
    let pairs = directory.join("pairs.pcap");
    tell("pairs.pcap", pairs::record(&pairs, scratch.path(), &pki, block)?);
    match std::env::var_os("HOPSIGHT_NEWER_NODE") {
        Some(node) => {
            let file = directory.join("hybrid.pcap");
            tell("hybrid.pcap", hybrid::record(&file, Path::new(&node), &pki, block)?);
        }
        None => println!("hybrid.pcap: not recorded, for HOPSIGHT_NEWER_NODE names no Node"),
    }
    fs::write(directory.join(TRUTH), text).context("write the truth")
}

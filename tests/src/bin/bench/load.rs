//! wrk, and what it prints.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;
use hopsight_tests::{nginx::utf8, process};

/// A request that takes longer has failed. wrk's own two seconds are too few for the first of a
/// thousand connections with a handshake each.
const TIMEOUT: &str = "30s";

/// What is requested.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Connections at once.
    pub connections: u32,
    /// For how long.
    pub seconds: u32,
    /// From the front of the proxy.
    pub front: SocketAddr,
    /// Path of the URL.
    pub path: &'a str,
    /// A Lua script for wrk.
    pub script: Option<&'a Path>,
}

/// What wrk saw. Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Seen {
    pub requests: f64,
    pub requests_per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Load<'_> {
    /// Runs wrk with one thread.
    ///
    /// # Errors
    /// When it fails, or a request did.
    pub fn run(&self) -> anyhow::Result<Seen> {
        let mut args = ["-t1", "--latency", "--timeout", TIMEOUT].map(str::to_owned).to_vec();
        args.push(format!("-c{}", self.connections));
        args.push(format!("-d{}s", self.seconds));
        if let Some(script) = self.script {
            args.extend(["-s".to_owned(), utf8(script)?.to_owned()]);
        }
        args.push(format!("http://{}{}", self.front, self.path));
        let text = process::run("wrk", &args)?;
        let failed = text.contains("Socket errors") || text.contains("Non-2xx");
        anyhow::ensure!(!failed, "requests failed:\n{text}");
        parse(&text).with_context(|| format!("read what wrk wrote:\n{text}"))
    }
}

fn parse(text: &str) -> Option<Seen> {
    let after = |label: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(label))?;
        Some(line.trim().to_owned())
    };
    let requests =
        text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    Some(Seen {
        requests: requests?,
        requests_per_second: after("Requests/sec:")?.parse().ok()?,
        p50: microseconds(&after("50%")?)?,
        p99: microseconds(&after("99%")?)?,
    })
}

fn microseconds(text: &str) -> Option<f64> {
    let (number, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_writes_is_read() {
        let text = "Running 2s test @ http://127.0.0.1/\n  1 threads and 16 connections\n  \
            Latency Distribution\n     50%  635.00us\n     75%  700.00us\n     99%    1.20ms\n  \
            12345 requests in 2.00s, 1.23MB read\nRequests/sec:   6172.50\n";
        let seen = Seen { requests: 12345.0, requests_per_second: 6172.5, p50: 635.0, p99: 1200.0 };
        assert_eq!(parse(text), Some(seen));
        assert_eq!(microseconds("1.5s"), Some(1_500_000.0));
    }
}

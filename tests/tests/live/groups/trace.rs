//! A server of OpenSSL that writes every handshake message, and what it wrote.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use hopsight_tests::{case::Version, nginx::utf8, place::Place, process::Daemon, wait::wait_until};

use super::{CONNECTION, clients::Cell, keys::Keys};

/// Names a Node with an OpenSSL that has groups of ML-KEM.
pub const NEWER_NODE: &str = "HOPSIGHT_NEWER_NODE";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/truth/server.js");

/// The groups that clients are made to use, by IANA's name and number, and OpenSSL's name.
const GROUPS: [(&str, u16, &str); 10] = [
    ("x25519", 29, "X25519"),
    ("secp256r1", 23, "P-256"),
    ("secp384r1", 24, "P-384"),
    ("secp521r1", 25, "P-521"),
    ("x448", 30, "X448"),
    ("ffdhe2048", 256, "ffdhe2048"),
    ("ffdhe3072", 257, "ffdhe3072"),
    ("X25519MLKEM768", 4588, "X25519MLKEM768"),
    ("SecP256r1MLKEM768", 4587, "SecP256r1MLKEM768"),
    ("SecP384r1MLKEM1024", 4589, "SecP384r1MLKEM1024"),
];

/// What a server logged of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    pub group: Option<String>,
    /// That of a HelloRetryRequest.
    pub retried: Option<String>,
    pub server_signature: Option<String>,
    pub client_signature: Option<String>,
}

/// A server of one group, for one connection.
pub struct Server(Daemon);

impl Server {
    pub fn start(cell: &Cell<'_>, keys: &Keys, log: &Path) -> anyhow::Result<Self> {
        let (own, own_name) = (cell.pair(keys), openssl(cell.group)?);
        let (certificate, key) = (utf8(&own.certificate)?, utf8(&own.key)?);
        let (host, port) = (cell.address.ip().to_string(), cell.address.port().to_string());
        let listen = cell.address.to_string();
        let mut args;
        let program: PathBuf;
        if cell.group.contains("MLKEM") {
            program = std::env::var_os(NEWER_NODE).context("find the newer Node")?.into();
            let version = format!("TLSv{}", cell.version_name());
            args = [SCRIPT, &host, &port, certificate, key, own_name].map(str::to_owned).to_vec();
            args.push(version);
        } else {
            program = "openssl".into();
            let words = ["s_server", "-trace", "-www", "-naccept", "1", "-accept", &listen];
            args = words.map(str::to_owned).to_vec();
            let version = if cell.version == Version::V12 { "-tls1_2" } else { "-tls1_3" };
            let words = [version, "-groups", own_name, "-cert", certificate, "-key", key];
            args.extend(words.map(str::to_owned));
            args.extend(["-verify", "2"].map(str::to_owned));
        }
        let mut server = Daemon::spawn_reading(Stdio::piped(), &Place::here(), program, args, log)?;
        // To look whether it listens would be its connection.
        wait_until("a server to listen", CONNECTION, || {
            server.ensure_running()?;
            Ok(server.log().contains("ACCEPT").then_some(()))
        })?;
        Ok(Self(server))
    }

    /// What it logged, once its connection is over.
    pub fn truth(&mut self) -> anyhow::Result<Truth> {
        // It writes the rest of what it says when it ends.
        let ended = self.0.wait_exit(CONNECTION);
        let log = self.0.log();
        ended.with_context(|| log.clone())?;
        let truth = read(&log);
        anyhow::ensure!(truth.group.is_some(), "there was no handshake:\n{log}");
        Ok(truth)
    }
}

fn openssl(group: &str) -> anyhow::Result<&'static str> {
    let found = GROUPS.iter().find(|(name, ..)| *name == group);
    found.map(|(.., name)| *name).with_context(|| format!("find group {group}"))
}

/// What a trace says. A message is called in a line of its own, with its length.
fn read(log: &str) -> Truth {
    let mut truth = Truth::default();
    let (mut is_sent, mut message) = (false, "");
    let mut shares = Vec::new();
    for line in log.lines().map(str::trim) {
        let number = || line.strip_suffix(')')?.rsplit('(').next();
        match line.split_once(", Length=") {
            Some((name, _)) => message = name,
            None if line.starts_with("Sent ") => is_sent = true,
            None if line.starts_with("Received ") => is_sent = false,
            None if message == "ServerHello" && line.starts_with("NamedGroup: ")
                || message == "ServerKeyExchange" && line.starts_with("named_curve: ") =>
            {
                let number = number().and_then(|number| number.parse::<u16>().ok());
                let found = GROUPS.iter().find(|(_, known, _)| Some(*known) == number);
                shares.push(found.map_or(line, |(name, ..)| name).to_owned());
            }
            None if matches!(message, "CertificateVerify" | "ServerKeyExchange") => {
                let Some(scheme) = line.strip_prefix("Signature Algorithm: ") else { continue };
                let scheme = scheme.split(' ').next().map(str::to_owned);
                if is_sent {
                    truth.server_signature = scheme;
                } else {
                    truth.client_signature = scheme;
                }
            }
            None => {}
        }
    }
    truth.group = shares.pop();
    truth.retried = shares.pop();
    truth
}

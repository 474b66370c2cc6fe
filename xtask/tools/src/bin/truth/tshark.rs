//! What tshark's fields say of client authentication, without keys.
//!
//! It answers no such question itself. Up to TLS 1.2 everything is in the clear: a client that sent a
//! Certificate message with certificates, and its proof, is mutual unless an alert followed; one that
//! sent none in a full handshake is not. A resumed session and TLS 1.3 show nothing.

use std::{collections::HashMap, net::SocketAddr, path::Path, process::Command};

use anyhow::Context as _;
use hopsight_tools::truth::Answer;

use crate::Answers;

const FIELDS: [&str; 10] = [
    "tcp.stream",
    "ip.src",
    "tcp.srcport",
    "tcp.flags.syn",
    "tcp.flags.ack",
    "tcp.len",
    "tls.record.version",
    "tls.handshake.type",
    "tls.handshake.certificates_length",
    "tls.handshake.extensions.supported_version",
];

/// Handshake types (RFC 5246 section 7.4).
const CERTIFICATE: &str = "11";
const SERVER_HELLO_DONE: &str = "14";
const CERTIFICATE_VERIFY: &str = "15";

/// What was seen of a connection.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that was seen or not")]
struct Stream {
    client: Option<SocketAddr>,
    has_data: bool,
    is_tls: bool,
    is_13: bool,
    is_full: bool,
    /// The client's Certificate message held one, and it proved that it is its own.
    has_certificate: bool,
    has_proof: bool,
    /// An alert in the clear came after that.
    is_refused: bool,
}

/// Its answers.
pub fn answers(file: &Path) -> anyhow::Result<Answers> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", "tcp", "-T", "fields", "-E", "separator=|"]);
    for field in FIELDS.iter().chain(&["tls.alert_message.level"]) {
        command.args(["-e", field]);
    }
    let output = command.output().context("run tshark")?;
    let mut streams = HashMap::<String, Stream>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let columns: Vec<_> = line.split('|').collect();
        let &[stream, ip, port, syn, ack, len, version, kinds, lengths, supported, alert] =
            &*columns
        else {
            continue;
        };
        let stream = streams.entry(stream.to_owned()).or_default();
        let from = format!("{ip}:{port}").parse().ok();
        let is = |flag: &str| flag == "1" || flag == "True";
        if is(syn) && !is(ack) {
            stream.client = from;
        }
        stream.has_data |= len != "0";
        stream.is_tls |= !version.is_empty();
        let is_client = from == stream.client;
        let has = |kind| kinds.split(',').any(|one| one == kind);
        // Of a ServerHello; the client lists several.
        stream.is_13 |= !is_client && supported.split(',').any(|one| one == "0x0304");
        stream.is_full |= has(SERVER_HELLO_DONE);
        stream.is_refused |= stream.has_proof && !is_client && !alert.is_empty();
        if is_client && has(CERTIFICATE) {
            stream.has_certificate = lengths.split(',').any(|length| length != "0");
        }
        stream.has_proof |= is_client && has(CERTIFICATE_VERIFY);
    }
    Ok(streams.values().filter_map(|stream| Some((stream.client?, stream.answer()?))).collect())
}

impl Stream {
    fn answer(&self) -> Option<Answer> {
        match self {
            Self { has_data: false, .. } => None,
            Self { is_tls: false, .. } => Some(Answer::Plaintext),
            Self { is_13: true, .. } | Self { is_full: false, .. } => Some(Answer::Unknown),
            Self { has_certificate: true, has_proof: true, is_refused: false, .. } => {
                Some(Answer::Mutual)
            }
            _ => Some(Answer::OneWay),
        }
    }
}

//! What Suricata's events say of client authentication.
//!
//! It answers no such question itself. Its `tls` events name the client's certificate up to TLS 1.2
//! where the output's `custom` fields ask for it; a session that was resumed and TLS 1.3 show nothing.
//! Protocols that it takes for something else, or HTTP, are in the clear.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Context as _;
use hopsight_tools::truth::Answer;
use serde::Deserialize;

use crate::Answers;

/// With every field of certificates, and of what it recognised.
const CONFIGURATION: &str = r"%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types:
        - tls:
            custom: [subject, version, session_resumed, client, client_certificate, client_chain]
        - flow
app-layer:
  protocols:
    tls:
      enabled: yes
    http:
      enabled: yes
    http2:
      enabled: yes
";

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event_type")]
    kind: String,
    src_ip: String,
    src_port: Option<u16>,
    app_proto: Option<String>,
    tls: Option<Tls>,
}

#[derive(Deserialize)]
struct Tls {
    version: Option<String>,
    #[serde(default)]
    session_resumed: bool,
    client: Option<serde_json::Value>,
    client_certificate: Option<String>,
}

/// Its answers.
pub fn answers(file: &Path) -> anyhow::Result<Answers> {
    let scratch = std::env::temp_dir().join(format!("hopsight-truth-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("create a folder for Suricata")?;
    let found = run(file, &scratch);
    fs::remove_dir_all(&scratch).context("remove the folder for Suricata")?;
    found
}

fn run(file: &Path, scratch: &Path) -> anyhow::Result<Answers> {
    let configuration = scratch.join("suricata.yaml");
    fs::write(&configuration, CONFIGURATION).context("write a configuration for Suricata")?;
    let mut command = Command::new("suricata");
    command.arg("-c").arg(&configuration).arg("-r").arg(file).arg("-l").arg(scratch);
    command.args(["-S", "/dev/null", "-k", "none", "--runmode", "single"]);
    let output = command.output().context("run Suricata")?;
    let text = fs::read_to_string(scratch.join("eve.json")).with_context(|| {
        format!("read what Suricata wrote; it said {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let mut answers = Answers::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        let Some(port) = event.src_port else { continue };
        let Ok(client) = format!("{}:{port}", event.src_ip).parse::<SocketAddr>() else { continue };
        match (event.kind.as_str(), event.tls, event.app_proto.as_deref()) {
            ("tls", Some(tls), _) => {
                answers.insert(client, answer(&tls));
            }
            ("flow", _, Some("http" | "http2")) => {
                answers.insert(client, Answer::Plaintext);
            }
            _ => {}
        }
    }
    Ok(answers)
}

fn answer(tls: &Tls) -> Answer {
    let is_13 = tls.version.as_deref().is_none_or(|version| version.starts_with("TLS 1.3"));
    if is_13 || tls.session_resumed {
        Answer::Unknown
    } else if tls.client.is_some() || tls.client_certificate.is_some() {
        Answer::Mutual
    } else {
        Answer::OneWay
    }
}

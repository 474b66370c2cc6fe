//! INTENT.md against the commands it shows.

use std::{fs, process::Command};

use hopsight_posture::policy::lint::RULES;
use hopsight_tests::agent;

use crate::{blocks, describes, document};

const CONFIGURATION: &str = "events {}\nhttp {\nupstream payments { server 10.0.0.1:443; }\n\
    server {\nlocation / {\nproxy_pass https://payments; proxy_ssl_verify on;\n\
    proxy_ssl_trusted_certificate /etc/ssl/certs/ca.pem; } } }\n";
const POLICY: &str =
    "[[policies]]\nname = \"payments\"\nmatch.upstream = \"payments\"\nrequire = \"mtls\"\n";

#[test]
fn the_gate_prints_what_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("nginx.conf"), CONFIGURATION).unwrap();
    fs::write(directory.path().join("policy.toml"), POLICY).unwrap();
    let text = document("INTENT.md");
    let shown = blocks(&text, "").into_iter().find(|block| block.contains("violation:")).unwrap();
    let run = |words: &[&str]| {
        let mut hopsight = Command::new(agent::binary().unwrap());
        let output = hopsight.args(words).current_dir(directory.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let here = format!("{}/", directory.path().canonicalize().unwrap().display());
        (output.status.code(), printed.replace(&here, ""))
    };
    let lint = ["lint", "nginx.conf", "--policy", "policy.toml"];
    let (status, printed) = run(&lint);
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.starts_with(shown), "{printed}\ninstead of\n{shown}");
    for (format, begins) in [("json", "{"), ("junit", "<?xml"), ("sarif", "{")] {
        let (status, printed) = run(&[&lint[..], &["-o", format]].concat());
        assert_eq!(status, Some(1), "{format}");
        assert!(printed.starts_with(begins), "{format}: {printed}");
    }
    let (status, printed) = run(&["intent", "nginx.conf"]);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("payments"), "{printed}");
    assert_eq!(run(&["lint", "absent.conf", "--policy", "policy.toml"]).0, Some(2));
    fs::write(directory.path().join("nginx.conf"), "http {\n oops\n}\n").unwrap();
    assert_eq!(run(&["intent", "nginx.conf"]).0, Some(1));
}

#[test]
fn every_rule_of_the_gate_is_described() {
    let text = document("INTENT.md");
    for rule in RULES {
        assert!(describes(&text, rule.as_str()), "{rule} is not in INTENT.md");
    }
}

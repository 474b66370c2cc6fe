//! COMMANDS.md and its schema against the words of the code. What commands print is validated
//! wherever a test runs one.

use std::{fs, process::Command};

use hopsight::preflight::State as Met;
use hopsight_core::health::ComponentState;
use hopsight_posture::{
    audit::refusal::RefusalKind,
    policy::{
        intent::{RouteKind, Scheme},
        kind::ProxyKind,
        lint::State as Found,
    },
};
use hopsight_tests::{agent, schema::Document};
use serde_json::{Value, json};

use crate::{
    document,
    json::{assert_valid, schema},
};

#[test]
fn words_are_those_of_the_code() {
    macro_rules! words {
        ($type:ty) => {
            json!(<$type>::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>())
        };
    }
    let schema = schema("commands.schema.json");
    for (kind, field, words) in [
        ("component", "state", words!(ComponentState)),
        ("requirement", "state", words!(Met)),
        ("intent", "proxy", words!(ProxyKind)),
        ("route", "scheme", words!(Scheme)),
        ("route", "kind", words!(RouteKind)),
        ("finding", "state", words!(Found)),
        ("refusal", "kind", words!(RefusalKind)),
    ] {
        assert_eq!(schema["$defs"][kind]["properties"][field]["enum"], words, "{field} of {kind}");
    }
}

#[test]
fn every_field_is_described() {
    let text = document("COMMANDS.md");
    for (name, definition) in schema("commands.schema.json")["$defs"].as_object().unwrap() {
        assert!(text.contains(&format!("\n### {name}\n")), "{name} has no section");
        // That of a connection has its own document.
        if name == "replayed" {
            continue;
        }
        let Some(properties) = definition["properties"].as_object() else { continue };
        for field in properties.keys() {
            assert!(text.contains(&format!("| `{field}` |")), "{field} of {name}");
        }
    }
}

/// Commands that need no agent, on what makes them say much.
#[test]
fn commands_print_what_their_schemas_say() {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/capture/fixtures/stacks");
    let capture = format!("{fixtures}/nginx-two-names.pcap");
    let configuration = "events {}\nhttp {\nupstream payments { server 10.0.0.1:443; server \
        unix:/run/app; server app:1 backup; }\nserver {\nlocation / {\nproxy_pass \
        https://payments; proxy_ssl_certificate $c; proxy_ssl_certificate_key /k; \
        proxy_ssl_protocols TLSv1.2; proxy_ssl_conf_command Options PrioritizeChaCha; }\n\
        location /a { if ($a) { proxy_pass http://$x/a; } } } }\n";
    let policy = "[[policies]]\nrequire = \"mtls\"\nmin_version = \"1.3\"\n\
        [[exempt]]\nmatch.upstream = \"payments\"\nrules = [\"version_below_minimum\"]\n\
        until = 2099-01-01\nreason = \"old\"\nowner = \"us\"\n";
    fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
    fs::write(directory.path().join("bad.conf"), "http {\n oops\n}\n").unwrap();
    fs::write(directory.path().join("policy.toml"), policy).unwrap();
    for (document, line, status) in [
        (Document::Intent, "intent nginx.conf -o json", 0),
        (Document::Lint, "lint nginx.conf --policy policy.toml -o json", 1),
        (Document::Lint, "lint bad.conf --policy policy.toml -o json", 1),
        (Document::Replayed, &format!("replay {capture} -o json"), 0),
        (Document::Inventory, &format!("inventory {capture}"), 0),
    ] {
        let mut command = Command::new(agent::binary().unwrap());
        let output = command.args(line.split(' ')).current_dir(directory.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        // The program has validated it itself; a problem ends it with another status.
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{line}: {errors}{printed}");
        assert_eq!(document.problems_of_text(&printed), [""; 0], "{line}");
        if document == Document::Intent {
            // What it refuses elsewhere it would refuse here.
            let mut wrong: Value = serde_json::from_str(&printed).unwrap();
            assert_valid(document, std::slice::from_ref(&wrong));
            wrong["upstreams"][0]["routes"][0]["scheme"] = json!("secret");
            assert_eq!(document.problems(&wrong).len(), 1);
        }
    }
}

//! Statements of the program: against their schema, and opened by an implementation of others.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use hopsight_core::tls::fingerprint::Fingerprint;
use hopsight_export::{Exporter, Watched, events::Events};
use hopsight_posture::{
    audit::refusal::RefusalKind,
    hops::{
        table::{HopLimits, Snapshot},
        witness::{Losses, Witness},
    },
};
use hopsight_test_support::not_run;
use hopsight_tests::schema::Document;
use hopsight_tools::made_up;
use serde_json::Value;

use crate::{
    document,
    json::{PYTHON, assert_valid, schema},
};

/// The program.
const HOPSIGHT: &str = env!("CARGO_BIN_EXE_hopsight-agent");

/// Opens the envelope `argv[1]` with the public key `argv[2]`, prints its payload.
const OPEN: &str = "
import json, sys
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
key = SSlibKey.from_crypto(load_pem_public_key(open(sys.argv[2], 'rb').read()))
envelope = Envelope.from_dict(json.load(open(sys.argv[1], encoding='utf-8')))
# The hint which key it was is ours; it wants its own.
for signature in envelope.signatures.values():
    signature.keyid = key.keyid
envelope.signatures = {key.keyid: next(iter(envelope.signatures.values()))}
try:
    envelope.verify([key], 1)
except Exception as error:
    sys.exit('refused: ' + type(error).__name__)
assert envelope.payload_type == 'application/vnd.in-toto+json', envelope.payload_type
sys.stdout.buffer.write(envelope.payload)
";

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Keys by openssl, an answer of `/hops`, and the statement of the program about it.
fn attested(directory: &Path) -> [String; 3] {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let [key, public, answer, statement] =
        ["key.pem", "key.pub", "node-1.json", "1.dsse.json"].map(path);
    assert!(run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &key]).0);
    assert!(run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]).0);
    let witness = Witness { node: Some("node-1".into()), ..Witness::default() };
    let exporter = Exporter::with_events(HopLimits::default(), Events::of(witness));
    exporter.watched_by(|| Watched {
        since: 0.0,
        kernel_programs: Fingerprint::of(b"programs"),
        policy: None,
        events_received: 1,
        lost: Losses::default(),
    });
    for number in 0..200 {
        exporter.record(&made_up::connection(number % 40, number));
    }
    let hops: Snapshot = exporter.hops();
    fs::write(&answer, serde_json::to_vec(&hops).unwrap()).unwrap();
    assert!(run(HOPSIGHT, &["attest", &answer, "--signing-key", &key, "-o", &statement]).0);
    [statement, public, answer]
}

#[test]
fn a_statement_is_as_its_document_says_and_opens_elsewhere() {
    let test = "a_statement_is_as_its_document_says_and_opens_elsewhere";
    let directory = tempfile::tempdir().unwrap();
    let [statement, public, answer] = attested(directory.path());
    let Some(python) = env::var_os(PYTHON) else {
        return not_run(test, &format!("{PYTHON} is not set (`cargo xtask test` sets it)"));
    };
    let python = python.to_str().unwrap();
    let (opened, payload) = run(python, &["-c", OPEN, &statement, &public]);
    assert!(opened, "securesystemslib does not open it");
    let stated: Value = serde_json::from_str(&payload).unwrap();
    assert_valid(Document::Account, std::slice::from_ref(&stated));
    let subject = &stated["subject"][0];
    assert_eq!(subject["name"], "node-1.json");
    let digest = Fingerprint::of(&fs::read(&answer).unwrap()).to_string();
    assert_eq!(subject["digest"]["sha256"], digest);
    assert_eq!(stated["predicate"]["nodes"][0]["hops"].as_array().unwrap().len(), 40);

    // What it refuses we refuse, and the other way round.
    let mut envelope: Value = serde_json::from_slice(&fs::read(&statement).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let changed = format!("A{}", &payload[1..]);
    assert_ne!(changed, payload);
    envelope["payload"] = changed.into();
    fs::write(&statement, envelope.to_string()).unwrap();
    assert!(!run(python, &["-c", OPEN, &statement, &public]).0);
    let verify = ["verify", &statement, "--key", &public, "--require", "tls", "--output", "json"];
    let (passes, outcome) = run(HOPSIGHT, &verify);
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    assert!(!passes && outcome["statements"][0]["refusals"][0]["kind"] == "signature", "{outcome}");
}

#[test]
fn cosign_verifies_a_statement() {
    let test = "cosign_verifies_a_statement";
    let Ok(cosign) = env::var("HOPSIGHT_COSIGN") else {
        return not_run(test, "HOPSIGHT_COSIGN is not set (`cargo xtask test` sets it)");
    };
    let directory = tempfile::tempdir().unwrap();
    let [statement, public, answer] = attested(directory.path());
    let verifies = |statement: &str, key: &str, blob: &str| {
        let args = ["verify-blob-attestation", "--insecure-ignore-tlog=true", "--key", key];
        let what = ["--type", "urn:hopsight:account:v1", "--signature", statement, blob];
        run(&cosign, &[&args[..], &what].concat()).0
    };
    assert!(verifies(&statement, &public, &answer));

    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    let [other_statement, other_public, _] = attested(&other);
    let whole = fs::read_to_string(&statement).unwrap();
    let changed = directory.path().join("changed.dsse.json");
    fs::write(&changed, whole.replacen("\"payload\":\"ey", "\"payload\":\"eY", 1)).unwrap();
    let changed = changed.to_str().unwrap();
    assert_ne!(fs::read_to_string(changed).unwrap(), whole);
    let refused = [
        ("another key", statement.as_str(), other_public.as_str(), answer.as_str()),
        ("another's statement", &other_statement, &public, &answer),
        ("an answer that it is not about", &statement, &public, &public),
        ("a changed statement", changed, &public, &answer),
    ];
    for (name, statement, key, blob) in refused {
        assert!(!verifies(statement, key, blob), "{name}");
    }
}

#[test]
fn every_reason_is_described() {
    let text = document("ATTESTATION.md");
    for kind in RefusalKind::ALL {
        assert!(text.contains(&format!("`{kind}`")), "{kind} is not in ATTESTATION.md");
    }
    let schema = schema("account.schema.json");
    for part in ["account", "node", "hop"] {
        for (field, _) in schema["$defs"][part]["properties"].as_object().unwrap() {
            assert!(text.contains(&format!("`{field}`")), "{field} of {part} is not described");
        }
    }
}

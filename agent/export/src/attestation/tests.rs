use std::{fs, path::PathBuf};

use super::{
    envelope::Envelope,
    keys::{SigningKey, VerifyingKey},
    statement::Statement,
};
use hopsight_core::{model::Security, tls::fingerprint::Fingerprint};
use hopsight_posture::{
    audit::account::{ACCOUNT_VERSION, Account, NodeAccount},
    hops::{
        table::{HopLimits, HopTable},
        testing::{at, report},
    },
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

/// A private key and its public one as files.
struct Pair {
    directory: tempfile::TempDir,
}

impl Pair {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate_for(algorithm).unwrap();
        fs::write(directory.path().join("key.pem"), pair.serialize_pem()).unwrap();
        fs::write(directory.path().join("key.pub"), pair.public_key_pem()).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn signing(&self) -> SigningKey {
        SigningKey::read(&self.path("key.pem")).unwrap()
    }

    fn verifying(&self) -> VerifyingKey {
        VerifyingKey::read(&self.path("key.pub")).unwrap()
    }
}

fn account() -> Account {
    let mut table = HopTable::new(HopLimits::default());
    table.record(&report(1, Security::Mtls), at(1.0));
    let node = NodeAccount::of("node-1.json", Fingerprint::of(b"answer"), table.snapshot(2.0));
    Account {
        account_version: ACCOUNT_VERSION,
        number: 1,
        previous: None,
        written_by: "hopsight".into(),
        time: "1970-01-01T00:00:02.000Z".into(),
        at: 2.0,
        missing_nodes: Vec::new(),
        nodes: vec![node],
    }
}

#[test]
fn what_was_signed_opens_with_its_key_alone() {
    let (pair, another) = (Pair::new(&PKCS_ED25519), Pair::new(&PKCS_ED25519));
    let statement = Statement::of(account()).to_json().unwrap();
    let sealed = Envelope::seal(&statement, &pair.signing());
    assert_eq!(pair.signing().public(), pair.verifying());
    assert_eq!(sealed.open(&[another.verifying(), pair.verifying()]).unwrap(), statement);
    let refused = sealed.open(&[another.verifying()]).unwrap_err().to_string();
    assert!(refused.contains("no key"), "{refused}");
    assert_eq!(Statement::parse(&statement).unwrap(), account());
}

#[test]
fn a_bit_that_flips_anywhere_is_noticed() {
    let pair = Pair::new(&PKCS_ED25519);
    let statement = Statement::of(account()).to_json().unwrap();
    let sealed = Envelope::seal(&statement, &pair.signing());
    let json = serde_json::to_vec(&sealed).unwrap();
    let keys = [pair.verifying()];
    let keyid = 0..json.len();
    let hint = serde_json::to_string(&sealed).unwrap().find("keyid").unwrap();
    for at in keyid {
        // The hint which key it was is not signed.
        if (hint..hint + 80).contains(&at) {
            continue;
        }
        for bit in [0, 3, 6] {
            let mut changed = json.clone();
            changed[at] ^= 1 << bit;
            let Ok(read) = serde_json::from_slice::<Envelope>(&changed) else { continue };
            assert!(read == sealed || read.open(&keys).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn statements_of_another_kind_are_refused() {
    let text = String::from_utf8(Statement::of(account()).to_json().unwrap()).unwrap();
    for (name, from, to, words) in [
        ("another statement", "Statement/v1", "Statement/v2", "it is a"),
        ("another predicate", "account:v1", "account:v9", "it states"),
        ("another version", "\"account_version\":1", "\"account_version\":9", "version 9"),
        (
            "another subject",
            "\"subject\":[{",
            "\"subject\":[{\"name\":\"x\",\"digest\":{\"sha256\":\"00000000000000000000000000000000000000000000000000000000000000ff\"}},{",
            "subjects",
        ),
        ("no statement", "{\"_type\"", "{\"type\"", "in-toto statement"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{name}");
        let error = format!("{:#}", Statement::parse(changed.as_bytes()).unwrap_err());
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn keys_of_another_kind_are_refused_with_what_to_do() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let signing = format!("{:#}", SigningKey::read(&pair.path("key.pem")).unwrap_err());
    let verifying = format!("{:#}", VerifyingKey::read(&pair.path("key.pub")).unwrap_err());
    // The private key where the public one belongs.
    let swapped = format!("{:#}", VerifyingKey::read(&pair.path("key.pem")).unwrap_err());
    let missing = format!("{:#}", SigningKey::read(&pair.path("none")).unwrap_err());
    for (name, error, words) in [
        ("signing", signing, "genpkey -algorithm ed25519"),
        ("verifying", verifying, "no Ed25519 key"),
        ("swapped", swapped, "-pubout"),
        ("missing", missing, "none"),
    ] {
        assert!(error.contains(words), "{name}: {error}");
    }
}

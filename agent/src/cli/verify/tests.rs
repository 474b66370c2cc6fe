use std::fs;

use clap::Parser as _;
use rcgen::{KeyPair, PKCS_ED25519};

use super::*;
use crate::cli::attest::{AttestArgs, attest};
use hopsight_core::model::{Outcome as Ended, Reason, Security};
use hopsight_posture::hops::{
    ends::Ends,
    evaluation::Evaluation,
    table::{HopLimits, HopTable, Snapshot},
    testing::{at, report, to},
    witness::{Losses, Watch, Witness},
};

#[derive(clap::Parser)]
struct Attest {
    #[command(flatten)]
    args: AttestArgs,
}

#[derive(clap::Parser)]
struct Verify {
    #[command(flatten)]
    args: VerifyArgs,
}

/// A directory with keys, answers and statements, and the table of the node `node-1`.
struct Scene {
    directory: tempfile::TempDir,
    table: HopTable,
    lost: Losses,
    connections: u64,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["key", "other"] {
            let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            fs::write(directory.path().join(name), pair.serialize_pem()).unwrap();
            let public = directory.path().join(format!("{name}.pub"));
            fs::write(public, pair.public_key_pem()).unwrap();
        }
        let table = HopTable::new(HopLimits::default());
        Self { directory, table, lost: Losses::default(), connections: 0 }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// A connection at second `seconds`.
    fn connect(&mut self, security: Security, upstream: &str, seconds: f64) {
        self.connections += 1;
        let mut report = to(report(self.connections, security), upstream);
        if security == Security::Unknown {
            report.verdict.reason = Some(Reason::Truncated);
            report.verdict.outcome = Ended::Incomplete;
        }
        let ends = Ends::of(&report);
        self.table.record_between(&ends, &report, Evaluation::default(), at(seconds));
    }

    /// States what is known at second `seconds` as `name`, after `previous`.
    fn attest(&self, name: &str, seconds: f64, previous: Option<&str>, more: &[&str]) {
        let watch = Watch {
            since: 0.0,
            ready: true,
            impaired: Vec::new(),
            kernel_programs_sha256: Fingerprint::of(b"programs"),
            policy_sha256: None,
            events_received: 1,
            lost: self.lost,
        };
        let witness = Witness { node: Some("node-1".into()), ..Witness::default() };
        let snapshot =
            Snapshot { witness: Some(witness), watch: Some(watch), ..self.table.snapshot(seconds) };
        let answer = self.path(&format!("{name}.hops"));
        fs::write(&answer, serde_json::to_vec(&snapshot).unwrap()).unwrap();
        let (key, output) = (self.path("key"), self.path(name));
        let previous = previous.map(|name| self.path(name));
        let mut words = vec!["attest", &answer, "--signing-key", &key, "-o", &output];
        if let Some(previous) = &previous {
            words.extend(["--previous", previous]);
        }
        words.extend(more);
        assert_eq!(attest(&Attest::parse_from(words).args).unwrap(), ExitCode::SUCCESS);
    }

    fn verify(&self, names: &[&str], more: &[&str]) -> (Outcome, String) {
        let key = self.path("key.pub");
        let mut words = vec!["verify".to_owned()];
        words.extend(names.iter().map(|name| self.path(name)));
        words.extend(more.iter().map(|&word| word.to_owned()));
        for (option, value) in [("--key", &*key), ("--require", "mtls")] {
            if !more.contains(&option) {
                words.extend([option.to_owned(), value.to_owned()]);
            }
        }
        let args = Verify::try_parse_from(words).unwrap().args;
        let outcome = run(&args, 1_000.0).unwrap();
        let text = text::render(&outcome, &args);
        (outcome, text)
    }

    /// Fails unless it is refused, for this reason alone.
    fn assert_refused(&self, names: &[&str], more: &[&str], kind: RefusalKind, words: &str) {
        let (outcome, text) = self.verify(names, more);
        assert!(!outcome.passes, "{kind}: {text}");
        let kinds: Vec<_> = outcome.statements.iter().flat_map(|one| &one.refusals).collect();
        assert!(kinds.iter().all(|refusal| refusal.kind == kind), "{kind}: {text}");
        assert!(text.contains(words) && text.contains("refused: "), "{kind}: {text}");
    }
}

#[test]
fn a_chain_of_good_statements_passes() {
    let mut scene = Scene::new();
    scene.connect(Security::Mtls, "10.0.0.1:443", 10.0);
    scene.attest("1.json", 100.0, None, &[]);
    scene.connect(Security::Mtls, "10.0.0.1:443", 110.0);
    scene.attest("2.json", 200.0, Some("1.json"), &[]);
    let (outcome, text) = scene.verify(&["2.json", "1.json"], &["--max-age", "1e12"]);
    assert!(outcome.passes, "{text}");
    assert!(
        text.contains("number 1, 1970-01-01T00:00:00.000Z to 1970-01-01T00:01:40.000Z"),
        "{text}"
    );
    assert!(text.contains("1 nodes, 1 hops, 1 of 1 connections known"), "{text}");
    assert!(text.ends_with("passes: mtls in 2 statements\n"), "{text}");
    let first = outcome.statements[0].sha256.unwrap().to_string();
    assert!(scene.verify(&["2.json"], &["--after", &first]).0.passes);
    let policy = scene.path("1.json");
    let (kind, words) = (RefusalKind::AnotherPolicy, "the built-in policies alone was in force");
    scene.assert_refused(&["1.json"], &["--policy", &policy], kind, words);
}

#[test]
fn what_was_changed_or_signed_by_others_is_refused() {
    let mut scene = Scene::new();
    scene.connect(Security::Mtls, "10.0.0.1:443", 10.0);
    scene.attest("1.json", 100.0, None, &[]);
    let mut bytes = fs::read(scene.path("1.json")).unwrap();
    // Within the payload, which stands first.
    bytes[200] = if bytes[200] == b'A' { b'B' } else { b'A' };
    fs::write(scene.path("flipped.json"), &bytes).unwrap();
    fs::write(scene.path("cut.json"), &bytes[..500]).unwrap();
    fs::write(scene.path("empty.json"), b"").unwrap();
    let other = scene.path("other.pub");
    scene.assert_refused(&["flipped.json"], &[], RefusalKind::Signature, "no key that was given");
    scene.assert_refused(&["1.json"], &["--key", &other], RefusalKind::Signature, "no key");
    scene.assert_refused(&["cut.json"], &[], RefusalKind::Unreadable, "envelope of DSSE");
    scene.assert_refused(&["1.json", "empty.json"], &[], RefusalKind::Unreadable, "not opened");
}

#[test]
fn a_statement_that_was_dropped_is_missed() {
    let mut scene = Scene::new();
    let mut previous = None;
    for name in ["1.json", "2.json", "3.json"] {
        scene.connect(Security::Mtls, "10.0.0.1:443", 10.0);
        scene.attest(name, 100.0, previous, &[]);
        previous = Some(name);
    }
    let (broken, begin) = (RefusalKind::ChainBroken, RefusalKind::ChainBegin);
    scene.assert_refused(&["1.json", "3.json"], &[], broken, "statement 2 is missing");
    scene.assert_refused(&["2.json", "3.json"], &[], begin, "number 2");
    scene.assert_refused(&["1.json", "1.json"], &[], broken, "two statements are number 1");
    scene.assert_refused(&["1.json"], &["--max-age", "1"], RefusalKind::Stale, "--max-age");
}

#[test]
fn each_hole_in_what_was_seen_is_refused() {
    let mut scene = Scene::new();
    scene.attest("nothing.json", 5.0, None, &[]);
    for _ in 0..9 {
        scene.connect(Security::Mtls, "10.0.0.1:443", 10.0);
    }
    let nodes = scene.path("nodes");
    fs::write(&nodes, "node-1\nnode-2 # the other one\n").unwrap();
    scene.attest("node.json", 100.0, None, &["--nodes", &nodes]);
    scene.attest("good.json", 100.0, None, &[]);
    scene.connect(Security::Unknown, "10.0.0.1:443", 110.0);
    scene.attest("coverage.json", 200.0, None, &[]);
    scene.connect(Security::Unknown, "10.0.0.2:443", 210.0);
    scene.attest("unknown.json", 300.0, None, &[]);
    scene.connect(Security::Plaintext, "10.0.0.2:443", 310.0);
    scene.attest("plaintext.json", 400.0, None, &[]);
    let coverage = ["--min-coverage", "0.5"];
    for (file, more, kind, words) in [
        ("nothing.json", &[][..], RefusalKind::Nothing, "0 hops, of at least 1"),
        ("node.json", &[], RefusalKind::NodeMissing, "node-2"),
        ("good.json", &["--nodes", &nodes], RefusalKind::NodeMissing, "node-2"),
        ("good.json", &["--min-hops", "2"], RefusalKind::Nothing, "1 hops, of at least 2"),
        ("good.json", &["--min-evidence", "library"], RefusalKind::Evidence, "rests on wire"),
        ("coverage.json", &["--min-coverage", "0.95"], RefusalKind::Coverage, "0.9000"),
        (
            "plaintext.json",
            &coverage,
            RefusalKind::Security,
            "nginx to 10.0.0.2:443: it is plaintext",
        ),
    ] {
        scene.assert_refused(&[file], more, kind, words);
    }
    let (outcome, text) = scene.verify(&["unknown.json"], &coverage);
    assert!(
        !outcome.passes && text.contains("hop_unknown: node-1: nginx to 10.0.0.2:443"),
        "{text}"
    );
    assert!(scene.verify(&["coverage.json"], &coverage).0.passes);
    scene.lost.events = 3;
    scene.attest("lost.json", 500.0, None, &[]);
    let lost = ["--min-coverage", "0", "--require", "tls"];
    let (outcome, text) = scene.verify(&["lost.json"], &lost);
    assert!(!outcome.passes && text.contains("lost: node-1: 3 events were lost"), "{text}");
}

#[test]
fn the_newest_alone_may_be_held_against_what_is_required() {
    let mut scene = Scene::new();
    scene.connect(Security::Tls, "10.0.0.1:443", 10.0);
    scene.attest("1.json", 100.0, None, &[]);
    scene.connect(Security::Tls, "10.0.0.1:443", 110.0);
    scene.attest("2.json", 200.0, Some("1.json"), &[]);
    let both = ["1.json", "2.json"];
    scene.assert_refused(&both, &[], RefusalKind::Security, "it is tls, and has to be mtls");
    let (outcome, _) = scene.verify(&both, &["--newest"]);
    let refused: Vec<_> = outcome.statements.iter().map(|one| one.refusals.len()).collect();
    assert_eq!(refused, [0, 1]);
    assert!(scene.verify(&both, &["--require", "tls", "--newest"]).0.passes);
    let newest = ["--require", "tls", "--newest"];
    scene.assert_refused(&["2.json"], &newest, RefusalKind::ChainBegin, "--after");
}

#[test]
fn junit_and_sarif_name_statement_node_and_hop() {
    let mut scene = Scene::new();
    scene.connect(Security::Tls, "10.0.0.1:443", 10.0);
    scene.connect(Security::Mtls, "10.0.0.2:443", 10.0);
    scene.lost.events = 3;
    scene.attest("1.json", 100.0, None, &[]);
    let (outcome, _) = scene.verify(&["1.json"], &[]);
    let xml = junit::render(&outcome);
    for part in [
        "tests=\"4\" failures=\"2\"",
        "<testcase classname=\"node-1\" name=\"nginx to 10.0.0.1:443\">\n      <failure type=\"security\"",
        "<testcase classname=\"node-1\" name=\"nginx to 10.0.0.2:443\">\n    </testcase>",
        "<failure type=\"lost\" message=\"3 events were lost\">",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&sarif::render(&outcome).unwrap()).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<_> = results.iter().map(|result| &result["ruleId"]).collect();
    assert_eq!(rules, ["lost", "security"]);
    let place = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert!(place.as_str().unwrap().ends_with("/1.json"), "{place}");
}

#[test]
fn what_requires_nothing_is_no_command() {
    for words in [
        &["verify", "a", "--key", "k"][..],
        &["verify", "--key", "k", "--require", "mtls"],
        &["verify", "a", "--require", "mtls"],
        &["verify", "a", "--key", "k", "--require", "maybe"],
        &["verify", "a", "--key", "k", "--require", "mtls", "--min-coverage", "1.1"],
        &["verify", "a", "--key", "k", "--require", "mtls", "--min-coverage", "NaN"],
        &["verify", "a", "--key", "k", "--require", "mtls", "--min-evidence", "none"],
    ] {
        assert!(Verify::try_parse_from(words).is_err(), "{words:?}");
    }
}

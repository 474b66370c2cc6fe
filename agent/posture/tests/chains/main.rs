//! Where chains lead, against `openssl verify` with the same inputs.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test, as in the test itself")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "OpenSSL's command is the truth here"
)]

mod faults;
mod plan;

use std::{fs, path::Path, process::Command, sync::Arc};

use hopsight_core::tls::certificate::{self, Chain};
use hopsight_posture::policy::{
    certificate::{
        Purpose, RevocationWord, Revoked, Shown, Standing, Trust, presented, revocation,
    },
    time::UnixTime,
};
use hopsight_test_support::{Explained, not_run};
use rcgen::{Certificate, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use self::{
    faults::FAULTS,
    plan::{Made, Plan, Sent, Trusted},
};

/// Kinds of keys, and how many intermediates their chains have.
const KINDS: &[(&str, &rcgen::SignatureAlgorithm, usize)] = &[
    ("p256", &PKCS_ECDSA_P256_SHA256, 0),
    ("p256", &PKCS_ECDSA_P256_SHA256, 1),
    ("p384", &PKCS_ECDSA_P384_SHA384, 2),
    ("ed25519", &PKCS_ED25519, 3),
];

/// What OpenSSL says is wrong, by its number (`X509_V_ERR_…`), and the words for that.
const NUMBERS: &[(u32, &[&str])] = &[
    (0, &["trusted"]),
    (3, &["no_list"]),
    (7, &["not_signed"]),
    (9, &["not_valid_now"]),
    (10, &["not_valid_now"]),
    (12, &["list_ended"]),
    (19, &["other_ca"]),
    (20, &["incomplete", "not_signed"]),
    (21, &["incomplete"]),
    (23, &["revoked"]),
    (24, &["wrong_usage"]),
    (25, &["too_long"]),
    (26, &["wrong_usage"]),
    (44, &["not_followed"]),
    (47, &["name_constraints"]),
    (48, &["name_constraints"]),
    (62, &["wrong_name"]),
    (79, &["wrong_usage"]),
];

/// Where the two differ: the fault, the number, the word, and why.
type Difference = (&'static str, u32, &'static str, &'static str);

const DIFFERENCES: &[Difference] = &[
    (
        "the leaf is a CA",
        0,
        "unknown",
        "webpki takes no CA's certificate in the place of an end entity's; OpenSSL does",
    ),
    (
        "for any purpose",
        26,
        "unknown",
        "Go takes any purpose for a server's, and which of the two the proxy is is not known here",
    ),
    (
        "the common name beside others",
        62,
        "unknown",
        "haproxy and Apache take it, OpenSSL does not",
    ),
    (
        "the common name alone, which is not permitted",
        47,
        "unknown",
        "webpki holds no common name to constraints, OpenSSL does and Go takes none",
    ),
    (
        "for gated cryptography",
        0,
        "unknown",
        "OpenSSL takes Server Gated Cryptography for a server's purpose, Go does not",
    ),
    (
        "its issuer is spelled otherwise",
        0,
        "unknown",
        "webpki takes a name in other letters for another, OpenSSL for the same",
    ),
    (
        "the issuer of the intermediate is spelled otherwise",
        0,
        "unknown",
        "webpki takes a name in other letters for another, OpenSSL for the same",
    ),
    (
        "a namesake of its issuer is spelled otherwise",
        7,
        "incomplete",
        "who did not sign is no issuer under another spelling of the name, whatever OpenSSL tries",
    ),
    (
        "a critical extension that nobody knows",
        34,
        "unknown",
        "webpki knows fewer extensions than OpenSSL, so that what it refuses may be in order",
    ),
    (
        "the list is a namesake's",
        3,
        "list_not_signed",
        "OpenSSL sees by the key identifier that it is another's, and calls it no list at all",
    ),
];

fn pem(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::pem).collect()
}

/// What `openssl verify` says: 0, or the number of what is wrong.
fn openssl(directory: &Path, made: &Made) -> u32 {
    let (leaf, behind) = made.presented.split_at(1);
    for (name, content) in [("leaf", leaf), ("behind", behind), ("trusted", &made.trusted)] {
        fs::write(directory.join(name), pem(content)).unwrap();
    }
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["verify", "-no-CApath", "-no-CAstore", "-CAfile"]);
    command.args(["trusted", "-partial_chain", "-purpose", "sslserver"]);
    command.args(["-attime", &made.at.to_string()]);
    if let Some(name) = made.name {
        command.args(["-verify_hostname", name]);
    }
    if made.has_lists {
        fs::write(directory.join("lists"), made.lists.concat()).unwrap();
        command.arg("-crl_check_all");
        if !made.lists.is_empty() {
            command.args(["-CRLfile", "lists"]);
        }
    }
    if !behind.is_empty() {
        command.args(["-untrusted", "behind"]);
    }
    let output = command.arg("leaf").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let number = said.split("error ").nth(1).and_then(|rest| rest.split(' ').next());
    match number {
        None => {
            assert!(output.status.success(), "{said}");
            0
        }
        Some(number) => number.parse().unwrap_or_else(|_| panic!("{said}")),
    }
}

/// Whether it is revoked, and if that is not known the reason.
fn revoked(chain: &Chain, trust: Trust, made: &Made) -> &'static str {
    let read = |list: &String| Arc::new(Revoked::read(list.as_bytes()).unwrap());
    let lists: Vec<_> = made.lists.iter().map(read).collect();
    let facts = certificate::facts(chain).unwrap();
    let shown = Shown {
        facts: &facts,
        chain: Some(chain),
        purpose: Purpose::Server,
        staple: None,
        standing: Standing::Unknown,
    };
    let at = UnixTime::from_secs(made.at);
    let says = revocation(shown, &[trust.into()], &lists, at).says;
    match (says.answer, says.reason) {
        (RevocationWord::Good, None) => "trusted",
        (_, Some(reason)) => reason.as_str(),
        (answer, None) => answer.as_str(),
    }
}

#[test]
fn chains_lead_where_openssl_says() {
    if !Command::new("openssl").arg("version").output().is_ok_and(|out| out.status.success()) {
        not_run("chains against OpenSSL", "the openssl command is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut explained = Explained::new(DIFFERENCES);
    let (mut compared, mut wrong) = (0, Vec::new());
    for (fault, depth_at_least, change) in FAULTS {
        for (kind, algorithm, depth) in KINDS.iter().filter(|kind| kind.2 >= *depth_at_least) {
            let mut plan = Plan::of(*depth);
            change(&mut plan);
            let made = plan.make(|| KeyPair::generate_for(algorithm).unwrap());
            let number = openssl(directory.path(), &made);
            let mut ders = made.presented.iter().map(|one| Box::from(&**one.der()));
            let chain = Chain {
                end_entity: ders.next().unwrap(),
                length: made.presented.len(),
                issuers: ders.collect(),
            };
            let trust = Trust::read(pem(&made.trusted).as_bytes()).unwrap();
            let names: Vec<_> = made.name.iter().map(|&name| name.to_owned()).collect();
            let at = UnixTime::from_secs(made.at);
            let found = presented(&chain, &trust, &names, Purpose::Server, at);
            compared += 1;
            let words = NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, words)| *words);
            let word = match found.answer.as_str() {
                "trusted" if made.has_lists => revoked(&chain, trust, &made),
                word => word,
            };
            let is_same = words.is_some_and(|words| words.contains(&word));
            let is_this = |one: &Difference| (one.0, one.1, one.2) == (*fault, number, word);
            if !is_same && !explained.explains(is_this) {
                wrong.push(format!("{fault}, {depth} {kind}: {number}, {found:?}"));
            }
        }
    }
    println!("{compared} chains compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 200, "{compared} chains are too few");
    explained.assert_none_is_stale();
}

/// As `openssl req -x509` makes them: it is a CA's.
#[test]
fn what_signed_itself_leads_elsewhere() {
    let mut plan = Plan::of(0);
    (plan.sent, plan.trusted, plan.name) = (Sent::WithTheRoot, Trusted::Stranger, None);
    plan.root().key_usages = Vec::new();
    let mut made = plan.make(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    made.presented.remove(0);
    let directory = tempfile::tempdir().unwrap();
    if Command::new("openssl").arg("version").output().is_ok() {
        assert_eq!(openssl(directory.path(), &made), 18);
    }
    let end_entity = Box::from(&**made.presented[0].der());
    let chain = Chain { end_entity, length: 1, ..Chain::default() };
    let trust = Trust::read(pem(&made.trusted).as_bytes()).unwrap();
    let at = UnixTime::from_secs(made.at);
    let found = presented(&chain, &trust, &[], Purpose::Server, at);
    assert_eq!(found.answer.as_str(), "other_ca", "{found:?}");
}

/// Whether openssl does in this directory what these arguments, apart from each other by a space, ask for.
fn openssl_makes(directory: &Path, arguments: &str) -> bool {
    let mut command = Command::new("openssl");
    let command = command.current_dir(directory).args(arguments.split(' '));
    command.output().is_ok_and(|output| output.status.success())
}

/// A signature that cannot be checked is no wrong one.
#[test]
fn keys_that_nothing_can_be_verified_with_are_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| openssl_makes(directory.path(), arguments);
    if !openssl("version") {
        not_run("chains with short keys", "the openssl command is not installed");
        return;
    }
    for make in [
        "req -x509 -newkey rsa:1024 -nodes -keyout ca.key -out ca.pem -subj /CN=short -days 9",
        "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 8 -out leaf.pem",
        "x509 -in leaf.pem -outform der -out leaf.der",
        "verify -CAfile ca.pem -auth_level 0 leaf.pem",
    ] {
        assert!(openssl(make), "openssl {make}");
    }
    let end_entity = fs::read(directory.path().join("leaf.der")).unwrap().into();
    let chain = Chain { end_entity, length: 1, ..Chain::default() };
    let trust = Trust::read(&fs::read(directory.path().join("ca.pem")).unwrap()).unwrap();
    let begin = certificate::facts(&chain).unwrap().not_before;
    let at = UnixTime::from_secs(begin.try_into().unwrap());
    let found = presented(&chain, &trust, &[], Purpose::Server, at);
    assert_eq!(found.answer.as_str(), "unknown", "{found:?}");
}

/// As OpenSSL writes them where nobody asks for extensions: in version 1, without a number.
#[test]
fn lists_without_extensions_count() {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| openssl_makes(directory.path(), arguments);
    if !openssl("version") {
        not_run("lists without extensions", "the openssl command is not installed");
        return;
    }
    let settings = "[ca]\ndefault_ca = own\n[own]\ndatabase = index\ndefault_md = sha256\n";
    let settings = format!("{settings}default_crl_days = 9\n");
    for (name, content) in [("settings", settings.as_str()), ("index", "")] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let ca = "-config settings -cert ca.pem -keyfile ca.key";
    for make in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=Old -days 9",
        "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 8 -out leaf.pem",
        "x509 -in leaf.pem -outform der -out leaf.der",
        &format!("ca {ca} -gencrl -out good.pem"),
        &format!("ca {ca} -revoke leaf.pem"),
        &format!("ca {ca} -gencrl -out revoked.pem"),
    ] {
        assert!(openssl(make), "openssl {make}");
    }
    let file = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let chain = Chain { end_entity: file("leaf.der").into(), length: 1, ..Chain::default() };
    let facts = certificate::facts(&chain).unwrap();
    let trusted = [Arc::new(Trust::read(&file("ca.pem")).unwrap())];
    let at = UnixTime::from_secs(u64::try_from(facts.not_before).unwrap() + 86_400);
    for (list, expected) in
        [("good.pem", RevocationWord::Good), ("revoked.pem", RevocationWord::Revoked)]
    {
        let lists = [Arc::new(Revoked::read(&file(list)).unwrap())];
        let shown = Shown {
            facts: &facts,
            chain: Some(&chain),
            purpose: Purpose::Server,
            staple: None,
            standing: Standing::Trusted,
        };
        let says = revocation(shown, &trusted, &lists, at).says;
        assert_eq!(says.answer, expected, "{list}: {says:?}");
    }
}

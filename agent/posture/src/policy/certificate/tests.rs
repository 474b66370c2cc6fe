use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};

use super::*;
use crate::policy::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn ca(common_name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2036, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn intermediate(
    common_name: &str,
    by: &CertifiedIssuer<'static, KeyPair>,
) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), by).unwrap()
}

#[test]
fn facts_are_read() {
    let mut params = params("edge");
    params.subject_alt_names = vec![
        SanType::DnsName("edge.example.org".try_into().unwrap()),
        SanType::URI("spiffe://example.org/ns/prod/sa/edge".try_into().unwrap()),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let root = ca("Root");
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
    let file = format!("Bag Attributes\n  name: edge\n{}{}", leaf.pem(), root.pem());
    let facts = read(file.as_bytes()).unwrap();
    assert_eq!(facts.len(), 2);
    let edge = &facts[0];
    assert_eq!(edge.subject, "O=Example, CN=edge");
    assert_eq!(edge.issuer, "O=Example, CN=Root");
    assert_eq!(
        edge.sans,
        [
            "DNS:edge.example.org",
            "URI:spiffe://example.org/ns/prod/sa/edge",
            "IP:10.0.0.1",
            "IP:2001:db8::1",
        ]
    );
    assert_eq!((edge.not_before, edge.not_after), (1_767_225_600, 1_798_761_600));
    assert_eq!((edge.chain_length, facts[1].chain_length), (2, 1));
}

#[test]
fn unreadable_files_say_why() {
    assert_eq!(read(b""), Err(CertificateError::NoCertificate));
    assert_eq!(read(b"ssl_certificate;"), Err(CertificateError::NoCertificate));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(read(broken), Err(CertificateError::Malformed { position: 1, .. })));
    let cut = &ca("Root").pem()[..200];
    assert!(
        matches!(read(cut.as_bytes()), Err(CertificateError::Pem(_))),
        "{:?}",
        read(cut.as_bytes())
    );
}

#[test]
fn chains_are_followed() {
    let (root, other, same_name) = (ca("Root"), ca("Other"), ca("Root"));
    let middle = intermediate("Middle", &root);
    let key = KeyPair::generate().unwrap();
    let direct = params("direct").signed_by(&key, &root).unwrap();
    let through = params("through").signed_by(&key, &middle).unwrap();
    let mut old = params("old");
    old.not_after = date_time_ymd(2026, 2, 1);
    let old = old.signed_by(&key, &root).unwrap();
    let ended = |name: &str| {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2026, 2, 1);
        params
    };
    let ended_root = ended("Root").self_signed(root.key()).unwrap();
    let ended_middle = ended("Middle").signed_by(middle.key(), &root).unwrap();
    let not_a_ca = {
        let issuer =
            CertifiedIssuer::signed_by(params("Leafy"), KeyPair::generate().unwrap(), &root)
                .unwrap();
        let leaf = params("below a leaf").signed_by(&key, &issuer).unwrap();
        leaf.pem() + &issuer.pem()
    };
    let trusted = |ca: &str| Chain::Trusted { ca: format!("O=Example, CN={ca}") };
    let with_middle = through.pem() + &middle.pem();
    let unordered = through.pem() + &other.pem() + &middle.pem();
    for (name, file, cas, expected) in [
        ("direct", direct.pem(), root.pem(), trusted("Root")),
        ("several CAs", direct.pem(), other.pem() + &root.pem(), trusted("Root")),
        ("through an intermediate", with_middle.clone(), root.pem(), trusted("Root")),
        ("extra certificates", unordered, root.pem(), trusted("Root")),
        ("the intermediate is trusted", through.pem(), middle.pem(), trusted("Middle")),
        ("the certificate itself is trusted", direct.pem(), direct.pem(), trusted("direct")),
        (
            "intermediate not sent",
            through.pem(),
            root.pem(),
            Chain::Incomplete { missing: "O=Example, CN=Middle".to_owned() },
        ),
        (
            "another CA",
            with_middle,
            other.pem(),
            Chain::Incomplete { missing: "O=Example, CN=Root".to_owned() },
        ),
        (
            "a CA of the same name",
            direct.pem(),
            same_name.pem(),
            Chain::Incomplete { missing: "O=Example, CN=Root".to_owned() },
        ),
        (
            "a CA of the same name beside it",
            direct.pem() + &same_name.pem(),
            other.pem(),
            Chain::NotSigned { subject: "O=Example, CN=direct".to_owned() },
        ),
        ("a CA that was renewed", direct.pem(), ended_root.pem() + &root.pem(), trusted("Root")),
        (
            "a CA that was to be renewed",
            direct.pem(),
            ended_root.pem(),
            Chain::NotValidNow { subject: "O=Example, CN=Root".to_owned() },
        ),
        (
            "an intermediate that was renewed",
            through.pem() + &ended_middle.pem() + &middle.pem(),
            root.pem(),
            trusted("Root"),
        ),
        (
            "expired",
            old.pem(),
            root.pem(),
            Chain::NotValidNow { subject: "O=Example, CN=old".to_owned() },
        ),
        (
            "signed by a leaf",
            not_a_ca,
            root.pem(),
            Chain::NotSigned { subject: "O=Example, CN=below a leaf".to_owned() },
        ),
    ] {
        assert_eq!(chain(file.as_bytes(), cas.as_bytes(), NOW), Ok(expected), "{name}");
    }
}

#[test]
fn keys_are_compared() {
    for algorithm in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let stranger = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params("edge").self_signed(&key).unwrap().pem();
        let matches = |key: &str| key_matches(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(matches(&key.serialize_pem()), KeyMatch::Yes, "{algorithm:?}");
        assert_eq!(matches(&stranger.serialize_pem()), KeyMatch::No, "{algorithm:?}");
        // Certificate and key in one file, as haproxy wants it and nginx takes it.
        assert_eq!(matches(&(certificate.clone() + &key.serialize_pem())), KeyMatch::Yes);
        assert_eq!(matches(&certificate), KeyMatch::Unknown(NoAnswer::NoKey));
    }
}

/// The forms OpenSSL writes that rcgen does not. Skipped without the `openssl` command.
#[test]
fn keys_in_the_forms_openssl_writes() {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory.path())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !openssl("version") {
        hopsight_test_support::not_run(
            "keys made by OpenSSL",
            "the openssl command is not installed",
        );
        return;
    }
    for make in [
        "genrsa -out rsa.pem 2048",
        "rsa -in rsa.pem -traditional -out rsa1.pem",
        "rsa -in rsa.pem -traditional -aes128 -passout pass:x -out rsa1-encrypted.pem",
        "pkcs8 -topk8 -in rsa.pem -passout pass:x -out rsa8-encrypted.pem",
        "req -x509 -key rsa.pem -subj /CN=rsa -out rsa.crt",
        "ecparam -name prime256v1 -genkey -out ec.pem",
        "ec -in ec.pem -no_public -out ec-private-only.pem",
        "req -x509 -key ec.pem -subj /CN=ec -out ec.crt",
        "genpkey -algorithm ed448 -out ed448.pem",
    ] {
        assert!(openssl(make), "openssl {make}");
    }
    let file = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    for (certificate, key, expected) in [
        ("rsa.crt", "rsa.pem", KeyMatch::Yes),
        ("rsa.crt", "rsa1.pem", KeyMatch::Yes),
        ("rsa.crt", "ec.pem", KeyMatch::No),
        ("ec.crt", "rsa1.pem", KeyMatch::No),
        // Begins with the curve in a block of its own.
        ("ec.crt", "ec.pem", KeyMatch::Yes),
        ("ec.crt", "ec-private-only.pem", KeyMatch::Unknown(NoAnswer::NoPublicHalf)),
        ("rsa.crt", "rsa8-encrypted.pem", KeyMatch::Unknown(NoAnswer::Encrypted)),
        ("rsa.crt", "rsa1-encrypted.pem", KeyMatch::Unknown(NoAnswer::Encrypted)),
        ("rsa.crt", "ed448.pem", KeyMatch::Unknown(NoAnswer::Unsupported)),
    ] {
        let answer = key_matches(&file(certificate), &file(key)).unwrap();
        assert_eq!(answer, expected, "{certificate} {key}");
    }
    let begin = read(&file("rsa.crt")).unwrap()[0].not_before;
    let now = UnixTime::from_secs(begin.try_into().unwrap());
    let chained = chain(&file("rsa.crt"), &file("rsa.crt"), now).unwrap();
    assert_eq!(chained, Chain::Trusted { ca: "CN=rsa".to_owned() });
}

#[test]
fn the_certificate_a_route_names_is_looked_at() {
    use crate::policy::nginx::tests::{Memory, read_one};
    let (root, key) = (ca("Root"), KeyPair::generate().unwrap());
    let edge = params("edge").signed_by(&key, &root).unwrap();
    let files = Memory(
        [
            ("/etc/nginx/edge.crt", edge.pem()),
            ("/etc/nginx/edge.key", key.serialize_pem()),
            ("/etc/nginx/other.key", KeyPair::generate().unwrap().serialize_pem()),
            ("/etc/nginx/ca.crt", root.pem()),
        ]
        .map(|(path, pem)| (path.into(), pem.into_bytes()))
        .into(),
    );
    let look = |settings: &str, read_key| {
        let text = format!(
            "http {{ server {{ location / {{ proxy_pass https://10.0.0.1; {settings} }} }} }}"
        );
        let intent = read_one(&text).unwrap();
        match configured(&files, &intent.upstreams[0].routes[0].tls, NOW, read_key) {
            Ok(found) => format!("{} {:?} {:?}", found.facts.subject, found.chain, found.key),
            Err(error) => error.to_string(),
        }
    };
    let pair = |certificate: &str, key: &str| {
        format!("proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key};")
    };
    let with_ca = pair("edge.crt", "edge.key") + "proxy_ssl_trusted_certificate ca.crt;";
    for (settings, read_key, expected) in [
        (
            with_ca.as_str(),
            true,
            "O=Example, CN=edge Some(Ok(Trusted { ca: \"O=Example, CN=Root\" })) Yes",
        ),
        (&pair("edge.crt", "other.key"), true, "O=Example, CN=edge None No"),
        (&pair("edge.crt", "edge.key"), false, "O=Example, CN=edge None Unknown(NotAsked)"),
        (&pair("edge.crt", "engine:x:y"), true, "O=Example, CN=edge None Unknown(Unreadable)"),
        ("", true, "no client certificate is configured"),
        (&pair("$cert", "$key"), true, "the client certificate depends on the request: $cert"),
        (&pair("no.crt", "x"), true, "cannot read /etc/nginx/no.crt: entity not found"),
        (&pair("edge.key", "x"), true, "/etc/nginx/edge.key: there is no PEM certificate in it"),
    ] {
        assert_eq!(look(settings, read_key), expected, "{settings}");
    }
}

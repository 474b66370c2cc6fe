use super::*;

fn subject<'a>(proxy: &'a str, upstream: &'a str, address: &str) -> Subject<'a> {
    Subject {
        proxy,
        process: proxy,
        upstream,
        namespace: None,
        address: address.parse().unwrap(),
        port: 443,
    }
}

#[test]
fn a_file_with_everything_is_read() {
    let set = PolicySet::parse(
        r#"
[[policies]]
name = "payments"
match = { proxy = "edge-*", upstream = ["payments", "billing-*"], namespace = "prod", cidr = "10.0.0.0/8", port = [443, 8443] }
require = "mtls"
min_version = "TLSv1.2"
verify_upstream = true
allowed_client_issuers = ["*CN=Mesh CA*"]
allowed_client_sans = ["spiffe://example.org/*"]
expiry_margin = "14d"
forbidden_ciphers = ["*_CBC_*"]
minimum_key_exchange = "post-quantum"
allowed_groups = ["*MLKEM*"]
allowed_signature_schemes = ["ecdsa_*"]
allowed_spiffe_ids = ["spiffe://example.org/*"]
max_certificate_lifetime = "90d"
allowed_upstream_issuers = ["*CN=Mesh CA*"]
allowed_public_keys = ["p256"]
allowed_certificate_signatures = ["ecdsa-*"]
keys_must_be_unique = true
must_chain = true
must_not_be_revoked = true

[[policies]]
require = "tls"
client_certificate = "forbidden"
"#,
    )
    .unwrap();
    let [payments, rest, loopback, default] = set.policies() else { panic!("{set:?}") };
    assert_eq!((payments.name.as_str(), payments.line, payments.built_in), ("payments", 2, false));
    assert_eq!(payments.require, Require::Mtls);
    assert_eq!(payments.min_version, Some(TlsVersion::TLS12));
    assert_eq!(payments.verify_upstream, VerifyUpstream::Always);
    assert_eq!(payments.expiry_margin, Some(Duration::from_hours(14 * 24)));
    assert_eq!(payments.matches.port, [443, 8443]);
    assert_eq!(payments.forbidden_ciphers, ["*_CBC_*"]);
    assert_eq!(payments.minimum_key_exchange, Some(KeyExchange::PostQuantum));
    assert_eq!(payments.allowed_groups, ["*MLKEM*"]);
    assert_eq!(payments.allowed_signature_schemes, ["ecdsa_*"]);
    assert_eq!(payments.allowed_spiffe_ids, ["spiffe://example.org/*"]);
    assert_eq!(payments.max_certificate_lifetime, Some(Duration::from_hours(90 * 24)));
    assert_eq!(payments.allowed_upstream_issuers, ["*CN=Mesh CA*"]);
    assert_eq!(payments.allowed_public_keys, ["p256"]);
    assert_eq!(payments.allowed_certificate_signatures, ["ecdsa-*"]);
    assert!(payments.keys_must_be_unique && !rest.keys_must_be_unique);
    assert!(payments.must_chain && !rest.must_chain);
    assert!(payments.must_not_be_revoked && !rest.must_not_be_revoked);
    assert_eq!((rest.name.as_str(), rest.line), ("policy-2", 24));
    assert_eq!(rest.verify_upstream, VerifyUpstream::UnlessMtls);
    assert_eq!(rest.client_certificate, ClientCertificate::Forbidden);
    assert!(loopback.built_in && default.built_in);
}

#[test]
fn the_first_match_applies() {
    let set = PolicySet::parse(
        r#"
[[policies]]
name = "one"
match.upstream = "payments"
require = "mtls"
[[policies]]
name = "group"
match.upstream = "pay*"
match.cidr = "10.0.0.0/8"
require = "tls"
[[policies]]
name = "prod"
match.namespace = "prod"
require = "tls"
"#,
    )
    .unwrap();
    let in_prod = Subject { namespace: Some("prod"), ..subject("edge", "other", "10.0.0.1") };
    for (hop, expected) in [
        (subject("edge", "payments", "10.0.0.1"), "one"),
        (subject("edge", "payroll", "10.0.0.1"), "group"),
        (subject("edge", "payroll", "192.0.2.1"), "default"),
        (in_prod, "prod"),
        (subject("edge", "other", "10.0.0.1"), "default"),
        (subject("edge", "other", "127.0.0.1"), "loopback"),
        (subject("edge", "other", "::1"), "loopback"),
        (subject("edge", "other", "::ffff:127.0.0.1"), "loopback"),
    ] {
        assert_eq!(set.find(&hop).name, expected, "{hop:?}");
    }
}

#[test]
fn mistakes_are_pointed_at() {
    for (source, line, column, words) in [
        ("[[policies]]\nrequire = \"mtls\"\nrequires = 1", 3, 1, "unknown field `requires`"),
        (
            "[[policies]]\nmatch.upstreams = \"x\"\nrequire = \"tls\"",
            2,
            7,
            "unknown field `upstreams`",
        ),
        ("policy = 1", 1, 1, "unknown field `policy`"),
        ("[[policies]]\nrequire = \"mutual\"", 2, 11, "unknown variant `mutual`"),
        ("[[policies]]\nname = \"x\"", 1, 1, "missing field `require`"),
        ("[[policies]]\nrequire = \"tls\"\nmatch.cidr = \"10.0.0.0/40\"", 3, 14, "is no network"),
        ("[[policies]]\nrequire = \"tls\"\nmatch.port = 70000", 3, 14, "70000"),
        ("[[policies]]\nrequire = \"tls\"\nmatch.proxy = []", 3, 15, "matches nothing"),
        ("[[policies]]\nrequire = \"tls\"\nmin_version = \"1.4\"", 3, 15, "is no TLS version"),
        (
            "[[policies]]\nrequire = \"tls\"\nexpiry_margin = \"two weeks\"",
            3,
            17,
            "is no time span",
        ),
        ("[[policies]]\nrequire = \"tls\"\nverify_upstream = \"yes\"", 3, 19, "unless-mtls"),
        ("[[policies]]\nrequire = \"tls", 2, 15, "string"),
        (
            "[[policies]]\nrequire = \"mtls\"\nclient_certificate = \"forbidden\"",
            3,
            22,
            "contradicts require",
        ),
        (
            "[[policies]]\nrequire = \"tls\"\nclient_certificate = \"forbidden\"\nallowed_client_sans = [\"x\"]",
            4,
            23,
            "contradicts client_certificate",
        ),
        ("[[policies]]\nrequire = \"tls\"\nallowed_client_issuers = []", 3, 26, "allows nobody"),
        (
            "[[policies]]\nrequire = \"tls\"\nforbidden_ciphers = [\"*\"]",
            3,
            21,
            "forbidding every cipher",
        ),
        (
            "[[policies]]\nname = \"a\"\nmatch.port = 1\nrequire = \"tls\"\n[[policies]]\nname = \"a\"\nrequire = \"tls\"",
            6,
            8,
            "has the name of the one in line 1",
        ),
        (
            "\n[[policies]]\nrequire = \"tls\"\n\n[[policies]]\nmatch.port = 443\nrequire = \"mtls\"",
            5,
            1,
            "\"policy-1\" in line 2 matches every hop this one does and requires tls where this one requires mtls",
        ),
    ] {
        let error = PolicySet::parse(source).unwrap_err();
        assert!(error.message.contains(words), "{source}\n{error}");
        assert_eq!((error.line, error.column), (line, column), "{source}\n{error}");
    }
}

#[test]
fn policies_that_can_apply_are_not_refused() {
    for (earlier, later, covers) in [
        ("", "match.port = 1", true),
        ("match.port = 1", "", false),
        ("match.port = [1, 2]", "match.port = 2", true),
        ("match.port = 1", "match.port = [1, 2]", false),
        ("match.upstream = \"pay*\"", "match.upstream = \"payments\"", true),
        ("match.upstream = \"pay*\"", "match.upstream = \"payments-*\"", true),
        ("match.upstream = \"payments-*\"", "match.upstream = \"pay*\"", false),
        ("match.upstream = \"*-a\"", "match.upstream = \"x-a\"", true),
        ("match.cidr = \"10.0.0.0/8\"", "match.cidr = \"10.1.0.0/16\"", true),
        ("match.cidr = \"10.1.0.0/16\"", "match.cidr = \"10.0.0.0/8\"", false),
        ("match.cidr = \"10.0.0.0/8\"", "match.upstream = \"x\"", false),
        ("match.namespace = \"a\"", "match.namespace = \"a\"\nmatch.port = 1", true),
    ] {
        let policy = |text: &str| format!("[[policies]]\n{text}\nrequire = \"tls\"\n");
        let read = PolicySet::parse(&(policy(earlier) + &policy(later)));
        assert_eq!(read.is_err(), covers, "{earlier} / {later}: {read:?}");
    }
}

#[test]
fn the_built_in_policies_are_what_they_are_said_to_be() {
    let set = PolicySet::built_in();
    let outside = set.find(&subject("edge", "x", "203.0.113.1"));
    assert_eq!(outside.require, Require::Tls);
    assert_eq!(outside.verify_upstream, VerifyUpstream::UnlessMtls);
    let loopback = set.find(&subject("edge", "x", "127.0.0.53"));
    assert_eq!(loopback.require, Require::PlaintextAllowed);
}

#[test]
fn a_proxy_is_matched_by_its_label_or_its_process() {
    let set = PolicySet::parse(
        "[[policies]]\nmatch.proxy = \"web/edge\"\nrequire = \"mtls\"\n\
         [[policies]]\nmatch.proxy = \"nginx\"\nrequire = \"plaintext-allowed\"\n",
    )
    .unwrap();
    for (proxy, process, expected) in [
        ("web/edge", "nginx", "policy-1"),
        ("web/other", "nginx", "policy-2"),
        ("nginx", "nginx", "policy-2"),
        ("web/other", "envoy", "default"),
    ] {
        let hop = Subject { process, ..subject(proxy, "payments", "10.0.0.1") };
        let found = set.find(&hop);
        let name = if found.built_in { "default" } else { &found.name };
        assert_eq!(name, expected, "{proxy} {process}");
    }
}

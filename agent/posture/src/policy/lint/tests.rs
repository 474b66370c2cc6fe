use super::*;
use crate::policy::nginx::tests::read_one;

const NGINX: For<'static> = For { proxy: "nginx", namespace: None, kind: ProxyKind::Nginx };

/// A configuration of one location, against a policy for everything.
fn lint_one(location: &str, policy: &str) -> Lint {
    let configuration = format!(
        "http {{ upstream app {{ server 10.0.0.1:443; server 10.0.0.2:443; }} server {{ location / {{\n\
         {location} }} }} }}"
    );
    let intent = read_one(&configuration).unwrap();
    lint(&intent, &document(&format!("[[policies]]\nname = \"all\"\n{policy}")), NGINX, now())
}

fn document(policy: &str) -> PolicyDocument {
    PolicyDocument::parse(policy).unwrap()
}

fn now() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

fn words(lint: &Lint) -> Vec<String> {
    let finding = |one: &Finding| format!("{} {} {}", one.state, one.rule.as_str(), one.at.line);
    lint.findings.iter().map(finding).collect()
}

#[test]
fn what_a_configuration_says_is_held_against_policy() {
    let certificate = "proxy_ssl_certificate c.pem; proxy_ssl_certificate_key c.key;";
    let verify = "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;";
    let pass = "proxy_pass https://app;";
    for (name, location, policy, expected) in [
        ("all well", format!("{pass} {certificate} {verify}"), "require = \"mtls\"", &[][..]),
        (
            "in the clear",
            "proxy_pass http://app;".to_owned(),
            "require = \"mtls\"",
            &["violation plaintext 2"],
        ),
        ("allowed", "proxy_pass http://app;".to_owned(), "require = \"plaintext-allowed\"", &[]),
        (
            "the scheme is a variable's",
            "proxy_pass $scheme://app;".to_owned(),
            "require = \"tls\"\nverify_upstream = \"never\"",
            &["unknown plaintext 2"],
        ),
        (
            "no certificate",
            format!("{pass} {verify}"),
            "require = \"mtls\"",
            &["violation client_certificate_missing 2"],
        ),
        (
            "a certificate by a program",
            format!("{pass} {verify}\nproxy_ssl_certificate_by_lua_file a.lua;"),
            "require = \"mtls\"",
            &["unknown client_certificate_missing 3"],
        ),
        (
            "a certificate switched off",
            format!("{pass} {verify}\nproxy_ssl_certificate \"\";"),
            "require = \"mtls\"",
            &["violation client_certificate_missing 3"],
        ),
        (
            "not verified",
            format!("{pass}\nproxy_ssl_verify off;"),
            "require = \"tls\"",
            &["violation upstream_not_verified 3"],
        ),
        ("mutual, not verified", format!("{pass} {certificate}"), "require = \"tls\"", &[]),
        (
            "mutual, to be verified always",
            format!("{pass} {certificate}"),
            "require = \"tls\"\nverify_upstream = \"always\"",
            &["violation upstream_not_verified 2"],
        ),
        (
            "an old version",
            format!("{pass} {verify}\nproxy_ssl_protocols TLSv1.1 TLSv1.2;"),
            "require = \"tls\"\nmin_version = \"1.2\"",
            &["violation version_below_minimum 3"],
        ),
        (
            "no version",
            format!("{pass} {verify}"),
            "require = \"tls\"\nmin_version = \"1.2\"",
            &["unknown version_below_minimum 2"],
        ),
        (
            "a certificate for a third party",
            format!("{pass} {verify}\n{certificate}"),
            "require = \"tls\"\nclient_certificate = \"forbidden\"",
            &["violation third_party_certificate 3"],
        ),
    ] {
        let lint = lint_one(&location, policy);
        assert_eq!(words(&lint), expected, "{name}");
        let counts: Vec<_> = lint.upstreams.iter().map(|(_, findings)| *findings).collect();
        assert_eq!(counts, [expected.len()], "{name}");
        assert_eq!(lint.nothing_matched(), None, "{name}");
        for finding in lint.findings.iter().filter(|one| one.state == State::Violation) {
            assert!(finding.mend.is_some(), "{name}");
        }
    }
}

#[test]
fn a_snippet_mends_what_it_was_given_for() {
    for (name, location, policy) in [
        ("plaintext", "proxy_pass http://app;", "require = \"tls\"\nverify_upstream = \"never\""),
        (
            "certificate",
            "proxy_pass https://app;",
            "require = \"mtls\"\nverify_upstream = \"never\"",
        ),
        ("verification", "proxy_pass https://app;", "require = \"tls\""),
        (
            "versions",
            "proxy_pass https://app; proxy_ssl_protocols TLSv1;",
            "require = \"tls\"\nverify_upstream = \"never\"\nmin_version = \"1.2\"",
        ),
        (
            "versions of a command",
            "proxy_pass https://app; proxy_ssl_protocols TLSv1; proxy_ssl_conf_command MaxProtocol TLSv1.1;",
            "require = \"tls\"\nverify_upstream = \"never\"\nmin_version = \"1.2\"",
        ),
        (
            "third party",
            "proxy_pass https://app; proxy_ssl_certificate c.pem; proxy_ssl_certificate_key c.key;",
            "require = \"tls\"\nverify_upstream = \"never\"\nclient_certificate = \"forbidden\"",
        ),
    ] {
        let before = lint_one(location, policy);
        assert_eq!(before.count(State::Violation), 1, "{name}");
        let mend = before.findings[0].mend.clone().unwrap();
        // What the snippet sets replaces what was said, and what it says to leave out is left out.
        let set: Vec<_> = mend
            .lines()
            .filter_map(|line| line.trim_start_matches("# without: ").split(' ').next())
            .collect();
        let mend: Vec<_> = mend.lines().filter(|line| !line.starts_with('#')).collect();
        let mend = mend.join(" ");
        let kept = location.split(';').map(str::trim).filter(|said| {
            !said.is_empty() && !set.iter().any(|name| said.starts_with(&format!("{name} ")))
        });
        let kept = kept.collect::<Vec<_>>().join("; ");
        let mended = if kept.is_empty() { mend } else { format!("{kept}; {mend}") };
        let after = lint_one(&mended, policy);
        assert_eq!(words(&after), [""; 0], "{name}: {mended}");
    }
}

#[test]
fn a_snippet_says_where_it_stands() {
    let inside = "require = \"tls\"";
    for (name, configuration, expected) in [
        (
            "a stream that ends TLS",
            "stream { server { listen 1 ssl; proxy_pass 10.0.0.1:1; } }",
            &["proxy_ssl on;", "proxy_ssl_verify on;"][..],
        ),
        (
            "in an if",
            "http { server { location / { if ($arg_a) { proxy_pass http://a.internal; } } } }",
            &[
                "proxy_pass https://a.internal:80;",
                "# in the location around it (\"if\" and \"limit_except\" take none of these):",
                "proxy_ssl_verify on;",
            ],
        ),
        (
            "with a URI",
            "http { server { location /a/ { proxy_pass http://a.internal:8080/b/; } } }",
            &["proxy_pass https://a.internal:8080/b/;", "proxy_ssl_verify on;"],
        ),
        (
            "with the URI of the request",
            "http { server { location /a/ { proxy_pass 'http://a.internal:8080$request_uri x'; } } }",
            &["proxy_pass \"https://a.internal:8080$request_uri x\";", "proxy_ssl_verify on;"],
        ),
        (
            "by a variable",
            "http { map $host $b { default http://a.internal; } server { location / { proxy_pass $b; } } }",
            &[
                "proxy_ssl_verify on;",
                "proxy_ssl_trusted_certificate /etc/nginx/upstream-ca.pem;",
                "# in proxy_pass, or in the value of its variable that leads to a.internal:80: https://",
            ],
        ),
    ] {
        let policy = document(&format!("[[policies]]\nname = \"all\"\n{inside}"));
        let lint = lint(&read_one(configuration).unwrap(), &policy, NGINX, now());
        let mend = lint.findings[0].mend.clone().unwrap();
        let lines: Vec<_> = mend.lines().take(expected.len()).collect();
        assert_eq!(lines, expected, "{name}");
    }
}

#[test]
fn which_policy_applies_may_depend_on_an_address() {
    let policy = "[[policies]]\nname = \"inside\"\nmatch.cidr = \"10.0.0.0/8\"\nrequire = \"mtls\"\n\
                  verify_upstream = \"never\"\n[[policies]]\nname = \"rest\"\nrequire = \"tls\"\nverify_upstream = \"never\"\n";
    let configuration = |address: &str| {
        read_one(&format!("http {{ server {{ location / {{ proxy_pass https://{address}; }} }} }}"))
    };
    for (address, expected) in [
        ("10.0.0.1", &["violation client_certificate_missing 1"][..]),
        ("192.0.2.1", &[]),
        ("app.internal", &["unknown client_certificate_missing 1"]),
        ("localhost", &[]),
        ("unix:/run/app.sock", &[]),
    ] {
        let lint = lint(&configuration(address).unwrap(), &document(policy), NGINX, now());
        assert_eq!(words(&lint), expected, "{address}");
    }
}

#[test]
fn what_is_exempt_is_told_with_who_answers() {
    let policy = "require = \"tls\"\n[[exempt]]\nmatch.upstream = \"app\"\nrules = [\"plaintext\"]\n\
                  owner = \"payments\"\nreason = \"soon\"\nuntil = 9000-01-01\n";
    let lint = lint_one("proxy_pass http://app;", policy);
    assert_eq!(words(&lint), ["exempt plaintext 2"]);
    assert_eq!(lint.findings[0].exemption.as_deref(), Some("payments: soon"));
    assert_eq!(lint.count(State::Violation), 0);
}

#[test]
fn nothing_that_matches_is_no_answer() {
    let nothing = read_one("http { }").unwrap();
    let something =
        read_one("http { server { location / { proxy_pass http://10.0.0.1; } } }").unwrap();
    let policy = document("[[policies]]\nmatch.upstream = \"other\"\nrequire = \"tls\"");
    for (name, intent) in [("no upstream", &nothing), ("no policy", &something)] {
        assert!(lint(intent, &policy, NGINX, now()).nothing_matched().is_some(), "{name}");
    }
    let asked = "require = \"tls\"\nforbidden_ciphers = [\"*_CBC_*\"]\nexpiry_margin = \"14d\"";
    let lint = lint_one("proxy_pass https://app;", asked);
    let not_judged: Vec<_> = lint.not_judged.iter().map(|(_, what)| *what).collect();
    assert_eq!(not_judged, ["expiry_margin", "forbidden_ciphers"]);
}

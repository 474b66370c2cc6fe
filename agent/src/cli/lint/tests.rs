use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: LintArgs,
}

const POLICY: &str = "[[policies]]\nname = \"payments\"\nmatch.upstream = \"payments\"\nrequire = \"mtls\"\n\
    [[policies]]\nname = \"old\"\nmatch.upstream = \"old\"\nrequire = \"tls\"\n\
    [[exempt]]\nmatch.upstream = \"old\"\nrules = [\"plaintext\"]\nowner = \"mainframe\"\n\
    reason = \"it is \\\"old\\\"\"\nuntil = 9000-01-01\n";

const NGINX: &str = "events {}\nhttp {\n upstream payments { server 10.0.0.1:443; }\n\
    upstream old { server 10.0.0.2:80; }\n server {\n location /p { proxy_pass https://payments; }\n\
    location /o { proxy_pass http://old; }\n }\n}\n";

/// What comes of a configuration, with the directory it lies in called `/D`.
fn outcome(configuration: &str, policy: &str, more: &[&str]) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (file, policy) = (write("proxy.conf", configuration), write("policy.toml", policy));
    let words = ["lint", &file, "--policy", &policy].into_iter().chain(more.iter().copied());
    let line = Line::try_parse_from(words).unwrap();
    let mut outcome = run(&line.args, UnixTime::from_secs(1_800_000_000)).unwrap();
    let here = directory.path().to_str().unwrap();
    let plain = |text: &str| text.replace(here, "/D");
    outcome.configuration = plain(&outcome.configuration);
    let findings = outcome.lint.findings.iter_mut().map(|one| &mut one.at);
    let remarks = outcome.remarks.iter_mut().map(|one| &mut one.at);
    let faults = outcome.fault.iter_mut().map(|one| &mut one.at);
    for place in findings.chain(remarks).chain(faults) {
        place.file = plain(&place.file).into();
    }
    outcome
}

#[test]
fn text_says_where_and_what_mends_it() {
    let text = text::render(&outcome(NGINX, POLICY, &[]));
    let expected = "\
/D/proxy.conf:6: violation: client_certificate_missing: payments: policy \"payments\" requires mtls, no client certificate is configured
    proxy_ssl_certificate /etc/nginx/client.pem;
    proxy_ssl_certificate_key /etc/nginx/client.key;
/D/proxy.conf:6: violation: upstream_not_verified: payments: the upstream's certificate is not verified
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate /etc/nginx/upstream-ca.pem;
    proxy_ssl_name NAME;
/D/proxy.conf:7: exempt: plaintext: old: policy \"old\" requires tls, this speaks in the clear
    exempt, mainframe: it is \"old\"
/D/proxy.conf: fails, upstreams: 2, violations: 2, unknown: 0, exempt: 1
";
    assert_eq!(text, expected);
}

#[test]
fn what_passes_and_what_does_not() {
    let all = "[[policies]]\nrequire = \"tls\"\nverify_upstream = \"never\"\n";
    let http = |location: &str| format!("http {{ server {{ location / {{ {location} }} }} }}");
    for (name, configuration, policy, more, passes, says) in [
        ("good", http("proxy_pass https://10.0.0.1;"), all, &[][..], true, "passes"),
        ("bad", http("proxy_pass http://10.0.0.1;"), all, &[], false, "violations: 1"),
        ("unknown", http("proxy_pass $scheme://10.0.0.1;"), all, &[], false, "unknown: 1"),
        (
            "unknown, and let pass",
            http("proxy_pass $scheme://10.0.0.1;"),
            all,
            &["--allow-unknown"],
            true,
            "unknown: 1",
        ),
        ("nothing there", "http { }".to_owned(), all, &[], false, "has no upstream"),
        (
            "nothing matched",
            http("proxy_pass https://10.0.0.1;"),
            "[[policies]]\nmatch.upstream = \"x\"\nrequire = \"tls\"\n",
            &[],
            false,
            "no policy of the file matches",
        ),
        (
            "the blueprint that nginx refuses",
            "upstream backend { server 10.0.5.20:8443 ssl; }".to_owned(),
            all,
            &[],
            false,
            "/D/proxy.conf:1: refused: invalid parameter \"ssl\" in \"server\": that TLS is spoken to",
        ),
        (
            "haproxy",
            "backend app\n mode http\n server a 10.0.0.1:80\n".to_owned(),
            all,
            &[],
            false,
            "    ssl verify required ca-file /etc/haproxy/upstream-ca.pem",
        ),
        (
            "by the name of the proxy",
            http("proxy_pass http://10.0.0.1;"),
            "[[policies]]\nmatch.proxy = \"edge/shop\"\nmatch.namespace = \"edge\"\nrequire = \"tls\"\n",
            &["--proxy", "edge/shop", "--namespace", "edge"],
            false,
            "violations: 1",
        ),
        (
            "include of nothing",
            http("proxy_pass https://10.0.0.1; include sites/*.conf;"),
            all,
            &[],
            true,
            "note: no file matches include",
        ),
    ] {
        let outcome = outcome(&configuration, policy, more);
        let text = text::render(&outcome);
        assert_eq!(outcome.passes, passes, "{name}: {text}");
        assert!(text.contains(says), "{name}: {text}");
    }
}

#[test]
fn json_has_all_of_it() {
    let json = serde_json::to_value(outcome(NGINX, POLICY, &[])).unwrap();
    assert_eq!(json["passes"], false);
    assert_eq!(json["findings"][0]["rule"], "client_certificate_missing");
    assert_eq!(json["findings"][0]["at"]["line"], 6);
    assert_eq!(json["findings"][2]["exemption"], "mainframe: it is \"old\"");
    assert_eq!(json["policies"]["payments"], 1);
    assert_eq!(json["fault"], serde_json::Value::Null);
}

#[test]
fn junit_counts_upstreams() {
    let xml = junit::render(&outcome(NGINX, POLICY, &[]));
    for part in [
        "tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"1\"",
        "<testcase classname=\"/D/proxy.conf\" name=\"payments\">",
        "<failure message=\"violation: client_certificate_missing: policy &quot;payments&quot; requires mtls",
        "<skipped message=\"exempt: plaintext: ",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let refused = junit::render(&outcome("http { server 1 < 2 }", POLICY, &[]));
    assert!(refused.contains("errors=\"1\"") && !refused.contains(" < "), "{refused}");
}

#[test]
fn sarif_names_rules_and_places() {
    let sarif = sarif::render(&outcome(NGINX, POLICY, &[])).unwrap();
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(sarif["version"], "2.1.0");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["client_certificate_missing", "plaintext", "upstream_not_verified"]);
    let first = &run["results"][0];
    assert_eq!([&first["level"], &first["ruleId"]], ["error", "client_certificate_missing"]);
    let place = &first["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "file:///D/proxy.conf");
    assert_eq!(place["region"]["startLine"], 6);
    assert_eq!(run["results"][2]["suppressions"][0]["kind"], "external");
}

#[test]
fn two_thousand_upstreams_are_held_against_policy() {
    let mut configuration = String::from("http {\n");
    for number in 0..2_000 {
        configuration += &format!(
            "upstream u{number} {{ server 10.0.{}.{}:443; }}\n",
            number / 250,
            number % 250
        );
    }
    configuration += "server {\n";
    for number in 0..2_000 {
        configuration += &format!("location /{number} {{ proxy_pass https://u{number}; }}\n");
    }
    configuration += "} }\n";
    let outcome = outcome(&configuration, "[[policies]]\nrequire = \"mtls\"\n", &[]);
    assert_eq!(outcome.lint.upstreams.len(), 2_000);
    assert_eq!(outcome.lint.count(State::Violation), 4_000);
}

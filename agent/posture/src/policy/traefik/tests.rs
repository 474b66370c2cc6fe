//! Configurations in `fixtures/traefik` with what they mean, written by hand in their first lines: `#>`
//! one route each and `#?` one remark each. `#--- static` begins the static configuration. Those that
//! end with `.toml` are TOML, the others YAML.

use std::{fs, path::Path};

use super::*;
use crate::policy::{
    described::{routes, said as told},
    intent::{Scheme, Stated},
};

/// What Go's library says of itself, behind each TLS route.
const GO: &str = "protocols=TLSv1.2,TLSv1.3 no-reuse";

fn fixtures() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/traefik");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    let mut out: Vec<_> = paths.map(read).collect();
    out.sort();
    out
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> T {
    let words = |error: &dyn std::fmt::Display| panic!("{name}: {error}");
    if Path::new(name).extension().is_some_and(|ending| ending == "toml") {
        toml::from_str(text).unwrap_or_else(|error| words(&error))
    } else {
        serde_saphyr::from_str(text).unwrap_or_else(|error| words(&error))
    }
}

fn read_fixture(name: &str, text: &str) -> Intent {
    let (dynamic, started) = text.split_once("#--- static\n").unwrap_or((text, ""));
    let started: Static = if started.is_empty() { Static::default() } else { parse(name, started) };
    read(&started, &[("dynamic".into(), parse(name, dynamic))]).unwrap()
}

#[test]
fn configurations_mean_what_they_say() {
    let mut good = 0;
    for (name, text) in fixtures() {
        let intent = read_fixture(&name, &text);
        let expected: Vec<_> =
            told(&text, "#>").iter().map(|line| line.replace(" GO ", &format!(" {GO} "))).collect();
        assert_eq!(routes(&intent), expected, "{name}");
        let remarks = intent.remarks.iter().map(|one| format!("{}: {}", one.at, one.text));
        assert_eq!(remarks.collect::<Vec<_>>(), told(&text, "#?"), "{name}");
        good += 1;
    }
    assert!(good >= 30, "only {good} fixtures were found");
}

#[test]
fn settings_say_where_they_stand() {
    let text = "http:\n  services:\n    app:\n      loadBalancer:\n        serversTransport: mutual\n        \
                servers: [{ url: 'https://10.0.0.1' }]\n  serversTransports:\n    mutual:\n      \
                certificates: [{ certFile: a.pem, keyFile: a.key }]\n";
    let intent = read_fixture("a.yaml", text);
    let app = &intent.upstreams[0];
    assert_eq!((app.scheme(), app.client_certificate()), (Scheme::Tls, Stated::Yes));
    let route = &app.routes[0];
    assert_eq!(route.at.to_string(), "dynamic: http.services.app");
    let certificate = route.tls.certificate.as_ref().unwrap();
    assert_eq!(certificate.at.to_string(), "dynamic: http.serversTransports.mutual");
}

#[test]
fn servers_are_compared_with_those_that_the_api_shows() {
    let text = "http:\n  services:\n    app:\n      loadBalancer:\n        servers:\n        \
                - url: http://10.0.0.1\n        - url: http://10.0.0.2\n    both:\n      weighted: {}\n";
    let found = server_urls(&[("dynamic".into(), parse("a.yaml", text))]);
    let expected =
        ("app@file".to_owned(), vec!["http://10.0.0.1".to_owned(), "http://10.0.0.2".to_owned()]);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected]);
}

#[test]
fn of_two_files_that_say_the_same_the_first_counts() {
    let service = |scheme: &str| {
        format!(
            "http: {{services: {{app: {{loadBalancer: {{serversTransport: m, servers: [{{url: '{scheme}://10.0.0.1:1'}}]}}}}}}}}"
        )
    };
    let transport = |said: &str| format!("http: {{serversTransports: {{m: {{{said}}}}}}}");
    let asked = |scheme: &str| {
        format!(
            "http: {{middlewares: {{a: {{forwardAuth: {{address: '{scheme}://10.0.0.1:1'}}}}}}}}"
        )
    };
    let router = |said: &str| {
        format!(
            "tcp: {{routers: {{r: {{service: db, tls: {{{said}}}}}}}, services: {{db: {{loadBalancer: {{servers: [{{address: '10.0.0.1:1'}}]}}}}}}}}"
        )
    };
    for (name, parts, expected) in [
        (
            "a transport",
            [service("https"), transport("insecureSkipVerify: true"), transport("serverName: a")],
            "app loadBalancer tls name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:1",
        ),
        (
            "a service",
            [service("http"), service("https"), transport("serverName: a")],
            "app loadBalancer plaintext -> 10.0.0.1:1",
        ),
        (
            "a middleware",
            [asked("http"), asked("https"), String::from("{}")],
            "10.0.0.1:1 forwardAuth plaintext -> 10.0.0.1:1",
        ),
        (
            "a router",
            [router("passthrough: false"), router("passthrough: true"), String::from("{}")],
            "db stream loadBalancer plaintext -> 10.0.0.1:1",
        ),
    ] {
        let parts = ["a", "b", "c"].into_iter().zip(&parts);
        let parts: Vec<_> = parts.map(|(file, text)| (file.into(), parse(file, text))).collect();
        let intent = read(&Static::default(), &parts).unwrap();
        assert_eq!(routes(&intent), [expected.replace(" GO ", &format!(" {GO} "))], "{name}");
    }
}

#[test]
fn what_is_read_is_bounded() {
    let name = "a".repeat(4 << 20);
    let servers: Vec<_> =
        (1..=9).map(|last| format!("        - url: https://10.0.0.{last}\n")).collect();
    let text = format!(
        "http:\n  services:\n    app:\n      loadBalancer:\n        serversTransport: t\n        servers:\n{}  \
         serversTransports:\n    t: {{ serverName: {name} }}\n",
        servers.concat()
    );
    let error = read(&Static::default(), &[("a".into(), parse("a.yaml", &text))]).unwrap_err();
    assert!(error.text.contains("bytes of servers"), "{error}");
}

//! Snippets, put where they say: what they were given for is gone, and nothing else is there instead.
//! (Of nginx: `tests`.)

use std::{
    io,
    path::{Path, PathBuf},
};

use super::*;
use crate::policy::{apache, caddy, envoy, files::ConfigFiles, haproxy, traefik};

const NEVER: &str = "verify_upstream = \"never\"";

/// A file of that content, by any name.
struct OneFile<'a>(&'a str);

impl ConfigFiles for OneFile<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

fn read(kind: ProxyKind, text: &str) -> Intent {
    let path = PathBuf::from("/etc/a.conf");
    match kind {
        ProxyKind::Haproxy => {
            let start = haproxy::Start::of_files(vec![path], "/".into());
            haproxy::read(&OneFile(text), &start).unwrap()
        }
        ProxyKind::Apache => apache::read(&OneFile(text), &apache::Start::of_file(path)).unwrap(),
        ProxyKind::Traefik => {
            let parts = [("a".into(), serde_saphyr::from_str(text).unwrap())];
            traefik::read(&traefik::Static::default(), &parts).unwrap()
        }
        ProxyKind::Caddy => caddy::read(&serde_json::from_str(text).unwrap()).unwrap(),
        ProxyKind::Envoy => {
            envoy::bootstrap(&envoy::read_yaml(text).unwrap(), "envoy.yaml").unwrap()
        }
        ProxyKind::Nginx => unreachable!("its snippets are tested elsewhere"),
    }
}

fn findings(kind: ProxyKind, text: &str, policy: &str) -> Vec<Finding> {
    let document = format!("[[policies]]\nname = \"all\"\n{policy}\n");
    let document = PolicyDocument::parse(&document).unwrap();
    let proxy = For { proxy: kind.process(), namespace: None, kind };
    lint(&read(kind, text), &document, proxy, UnixTime::from_secs(1_800_000_000)).findings
}

/// The configuration with the snippet in it, as its reader would put it there. What it says to leave out
/// is left out, and what it sets replaces what was said.
fn mended(kind: ProxyKind, text: &str, mend: &str) -> String {
    if let Some(gone) = mend.strip_prefix("# without: ") {
        return text.replace(gone, "");
    }
    if let Some(rule) = mend.strip_prefix("# in the rule: ") {
        return text.replace(rule.trim_end_matches(" ssl"), rule);
    }
    match kind {
        ProxyKind::Haproxy if mend.contains("in place of dispatch") => {
            let words = mend.lines().last().unwrap();
            text.replace("dispatch 10.0.0.1:443", &format!("server NAME 10.0.0.1:443 {words}"))
        }
        ProxyKind::Haproxy => {
            let words = mend.lines().last().unwrap();
            let first = words.split(' ').next().unwrap();
            let said = format!(" {first} ");
            // A keyword that is there already is the one that is replaced.
            let kept = match text.split_once(&said) {
                Some((before, after)) => {
                    let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
                    format!("{} {}", before, rest.trim())
                }
                None => text.trim_end().to_owned(),
            };
            format!("{} {words}\n", kept.trim_end())
        }
        ProxyKind::Apache => {
            let lines: Vec<&str> = mend.lines().filter(|line| !line.starts_with('#')).collect();
            let scheme =
                mend.lines().find_map(|line| line.strip_prefix("# and in the line of ProxyPass: "));
            let text = match scheme {
                Some(scheme) => text.replace("http://", scheme).replace("ws://", scheme),
                None => text.to_owned(),
            };
            let is_set = |line: &&str| {
                let name = line.split(' ').next();
                !lines.iter().any(|new| new.split(' ').next() == name)
            };
            let kept: Vec<&str> = text.lines().filter(is_set).collect();
            [lines.join("\n"), kept.join("\n")].join("\n")
        }
        ProxyKind::Traefik => {
            let head = match mend {
                _ if mend.starts_with("tcp:") => 4,
                _ if mend.contains("forwardAuth:") => 5,
                _ => 3,
            };
            let settings: Vec<&str> = mend.lines().skip(head).collect();
            let scheme = if mend.contains("https://") { "https://" } else { "http://" };
            let kept = text.replace("http://", scheme);
            let by_tls = mend.contains("# and in the line of its server: tls: true");
            let kept = if by_tls { kept.replace("tls: false", "tls: true") } else { kept };
            let is_set = |line: &&str| {
                let name = line.split(':').next();
                !settings.iter().any(|new| new.split(':').next() == name)
            };
            let kept: Vec<&str> = kept.lines().filter(is_set).collect();
            format!("{}\n{}\n", kept.join("\n"), settings.join("\n"))
        }
        ProxyKind::Caddy => text.replace("\"handler\"", &format!("{mend}, \"handler\"")),
        ProxyKind::Envoy => {
            let lines = mend.replace("NAME", "app.internal");
            let kept = text.split("    transport_socket:").next().unwrap();
            let lines = lines.lines().map(|line| format!("    {line}\n"));
            format!("{kept}{}", lines.collect::<String>())
        }
        ProxyKind::Nginx => text.to_owned(),
    }
}

fn traefik_with(scheme: &str, settings: &str) -> String {
    format!(
        "http:\n  services:\n    app:\n      loadBalancer:\n        serversTransport: NAME\n        \
         servers:\n          - url: {scheme}://10.0.0.1\n  serversTransports:\n    NAME:\n      \
         serverName: app.internal\n{settings}"
    )
}

fn traefik_tcp_with(server: &str, settings: &str) -> String {
    format!(
        "tcp:\n  routers:\n    app: {{ service: app, tls: {{}} }}\n  services:\n    app:\n      loadBalancer:\n        \
         serversTransport: NAME\n        servers: [{{ address: '10.0.0.1:443', {server} }}]\n  \
         serversTransports:\n    NAME:\n      tls:\n        serverName: app.internal\n{settings}"
    )
}

fn traefik_asks_with(address: &str, settings: &str) -> String {
    format!(
        "http:\n  middlewares:\n    asked:\n      forwardAuth:\n        address: {address}\n        tls:\n{settings}"
    )
}

fn caddy_with(transport: &str) -> String {
    format!(
        "{{\"apps\":{{\"http\":{{\"servers\":{{\"s\":{{\"routes\":[{{\"handle\":[{{{transport}\
         \"handler\":\"reverse_proxy\",\"upstreams\":[{{\"dial\":\"10.0.0.1:443\"}}]}}]}}]}}}}}}}}}}"
    )
}

fn envoy_with(socket: &str) -> String {
    format!(
        "static_resources:\n  clusters:\n  - name: app\n    load_assignment:\n      cluster_name: app\n      \
         endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.1, \
         port_value: 443 }} }} }} }}] }}]\n{socket}"
    )
}

#[test]
fn a_snippet_of_a_match_says_where_it_stands() {
    let socket = "    transport_socket_matches:\n    - name: all\n      match: {}\n";
    let found = findings(ProxyKind::Envoy, &envoy_with(socket), "require = \"mtls\"");
    let mend = found[0].mend.as_deref().unwrap();
    let at = "# in the member of transport_socket_matches that 10.0.0.1:443 is spoken to by:\n";
    assert!(mend.starts_with(at), "{mend}");
    assert!(mend.contains("tls_certificates"), "{mend}");
}

/// What Traefik speaks to beside HTTP services: each with what is required of it.
fn beside_services_of_http() -> [(&'static str, ProxyKind, String, String); 5] {
    let (one_way, mutual) = ("require = \"tls\"".to_owned(), "require = \"mtls\"".to_owned());
    [
        (
            "traefik in the clear by TCP",
            ProxyKind::Traefik,
            traefik_tcp_with("tls: false", ""),
            mutual.clone(),
        ),
        (
            "traefik verification by TCP",
            ProxyKind::Traefik,
            traefik_tcp_with("tls: true", "        insecureSkipVerify: true\n"),
            one_way.clone(),
        ),
        (
            "traefik asks in the clear",
            ProxyKind::Traefik,
            traefik_asks_with("http://a.internal/", ""),
            mutual.clone(),
        ),
        (
            "traefik asks without a certificate",
            ProxyKind::Traefik,
            traefik_asks_with("https://a.internal/", "          ca: ca.pem\n"),
            mutual.clone(),
        ),
        (
            "traefik asks without verification",
            ProxyKind::Traefik,
            traefik_asks_with("https://a.internal/", "          insecureSkipVerify: true\n"),
            one_way.clone(),
        ),
    ]
}

#[test]
fn snippets_mend_what_they_were_given_for() {
    use ProxyKind::{Apache, Caddy, Envoy, Haproxy, Traefik};
    let server = |words: &str| format!("backend app\n mode http\n server a 10.0.0.1:443{words}\n");
    let pass = |scheme: &str, said: &str| format!("{said}\nProxyPass / {scheme}://10.0.0.1/\n");
    let never = |policy: &str| format!("{policy}\n{NEVER}");
    let one_way = "require = \"tls\"";
    let mutual = "require = \"mtls\"";
    let version = "require = \"tls\"\nmin_version = \"1.2\"";
    let forbidden = "require = \"tls\"\nclient_certificate = \"forbidden\"";
    for (name, kind, text, policy) in [
        ("haproxy in the clear", Haproxy, server(""), one_way.to_owned()),
        ("haproxy certificate", Haproxy, server(" ssl verify none"), never(mutual)),
        ("haproxy verification", Haproxy, server(" ssl verify none"), one_way.to_owned()),
        (
            "haproxy version",
            Haproxy,
            server(" ssl verify none ssl-min-ver TLSv1.0"),
            never(version),
        ),
        ("haproxy third party", Haproxy, server(" ssl verify none crt /c.pem"), never(forbidden)),
        (
            "haproxy check in the clear",
            Haproxy,
            "backend app\n mode http\n option httpchk\n http-check connect\n server a \
             10.0.0.1:443 ssl verify none check\n"
                .to_owned(),
            never(one_way),
        ),
        ("apache in the clear", Apache, pass("http", ""), one_way.to_owned()),
        ("apache certificate", Apache, pass("https", "SSLProxyEngine on"), never(mutual)),
        ("apache verification", Apache, pass("https", "SSLProxyEngine on"), one_way.to_owned()),
        (
            "apache version",
            Apache,
            pass("https", "SSLProxyEngine on\nSSLProxyProtocol all"),
            never(version),
        ),
        (
            "apache third party",
            Apache,
            pass("https", "SSLProxyEngine on\nSSLProxyMachineCertificateFile /c.pem"),
            never(forbidden),
        ),
        ("traefik in the clear", Traefik, traefik_with("http", ""), one_way.to_owned()),
        ("traefik certificate", Traefik, traefik_with("https", ""), never(mutual)),
        (
            "traefik verification",
            Traefik,
            traefik_with("https", "      insecureSkipVerify: true\n"),
            one_way.to_owned(),
        ),
        (
            "traefik version",
            Traefik,
            traefik_with(
                "https",
                "      minVersion: VersionTLS10\n      maxVersion: VersionTLS13\n",
            ),
            never(version),
        ),
        (
            "traefik third party",
            Traefik,
            traefik_with("https", "      certificates: [{ certFile: a, keyFile: b }]\n"),
            never(forbidden),
        ),
        (
            "haproxy without a server",
            Haproxy,
            "backend app\n mode http\n dispatch 10.0.0.1:443\n".to_owned(),
            never(one_way),
        ),
        ("apache by a WebSocket", Apache, pass("ws", ""), one_way.to_owned()),
        ("caddy in the clear", Caddy, caddy_with(""), one_way.to_owned()),
        ("envoy in the clear", Envoy, envoy_with(""), never(one_way)),
    ]
    .into_iter()
    .chain(beside_services_of_http())
    {
        let before = findings(kind, &text, &policy);
        assert_eq!(before.len(), 1, "{name}: {before:?}");
        assert_eq!(before[0].state, State::Violation, "{name}");
        let mend = before[0].mend.as_deref().unwrap();
        let text = mended(kind, &text, mend);
        let after = findings(kind, &text, &policy);
        assert!(after.is_empty(), "{name}: {text}\n{after:?}");
    }
}

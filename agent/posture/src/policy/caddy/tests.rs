use std::{fs, process::Command};

use super::*;
use crate::policy::{
    described::routes,
    intent::{Scheme, Stated},
};

/// A handler of one server, and what it means.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// What Go's library says of itself, behind each TLS route.
const GO: &str = "protocols=TLSv1.2,TLSv1.3 no-reuse";

/// Handlers; `GO` stands for what every TLS route has.
const CASES: &[Case] = &[
    (
        "plaintext",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "plaintext by its transport",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http"},"upstreams":[{"dial":"10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "TLS by the machine's authorities",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"app.internal:443"}]}"#,
        &[
            "app.internal:443 reverse_proxy tls verify name=app.internal sni=app.internal GO -> app.internal:443",
        ],
    ),
    (
        "mutual",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"client_certificate_file":"/etc/caddy/client.pem","client_certificate_key_file":"/etc/caddy/client.key","root_ca_pem_files":["/etc/caddy/ca.pem"],"server_name":"app.internal"}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls cert=/etc/caddy/client.pem verify ca=/etc/caddy/ca.pem name=app.internal sni=app.internal GO -> 10.0.0.1:443",
        ],
    ),
    (
        "not verified",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"insecure_skip_verify":true}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &["10.0.0.1:443 reverse_proxy tls name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443"],
    ),
    (
        "authorities of a provider",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"ca":{"provider":"file","pem_files":["/etc/caddy/ca.pem"]}}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls verify ca=/etc/caddy/ca.pem name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
        ],
    ),
    (
        "authorities that stand there",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"root_ca_pool":["AAAA"]}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls verify ca=data: name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
        ],
    ),
    (
        "a certificate that Caddy manages",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"client_certificate_automate":"edge.internal"}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls cert=automate:edge.internal verify name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
        ],
    ),
    (
        "the request names the server",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"server_name":"{http.request.host}"}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls verify name={http.request.host}(variable) sni={http.request.host} GO -> 10.0.0.1:443",
        ],
    ),
    (
        "a port without TLS",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"except_ports":["8080"]}},"upstreams":[{"dial":"10.0.0.1:443"},{"dial":"10.0.0.1:8080"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls verify name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
            "10.0.0.1:8080 reverse_proxy plaintext -> 10.0.0.1:8080",
        ],
    ),
    (
        "a port that the request decides",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"except_ports":["8080"]}},"upstreams":[{"dial":"{http.request.host}:443"}]}"#,
        &[
            "{http.request.host}:443 reverse_proxy unknown verify name={http.request.host}:443(variable) sni={http.request.host}:443 GO -> dynamic",
        ],
    ),
    (
        "several servers",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"},{"dial":"10.0.0.2:80"}]}"#,
        &[
            "10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80",
            "10.0.0.2:80 reverse_proxy plaintext -> 10.0.0.2:80",
        ],
    ),
    (
        "the request decides",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"{http.request.header.X-To}"}]}"#,
        &["{http.request.header.X-To} reverse_proxy plaintext -> dynamic"],
    ),
    (
        "DNS decides",
        r#"{"handler":"reverse_proxy","dynamic_upstreams":{"source":"a","name":"app.internal","port":"80"}}"#,
        &[
            "dynamic_upstreams of apps/http/servers/s/routes/0/handle/0 reverse_proxy plaintext -> dynamic",
        ],
    ),
    (
        "a socket",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"unix//run/app.sock"}]}"#,
        &["unix:/run/app.sock reverse_proxy plaintext -> unix:/run/app.sock"],
    ),
    (
        "IPv6",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"[2001:db8::1]:80"}]}"#,
        &["[2001:db8::1]:80 reverse_proxy plaintext -> [2001:db8::1]:80"],
    ),
    (
        "with its network",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"tcp/10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "this machine",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":":8080"}]}"#,
        &["localhost:8080 reverse_proxy plaintext -> localhost:8080"],
    ),
    (
        "HTTP/2 in the clear",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","versions":["h2c","2"]},"upstreams":[{"dial":"10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "FastCGI",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"fastcgi","root":"/srv"},"upstreams":[{"dial":"10.0.0.1:9000"}]}"#,
        &["10.0.0.1:9000 reverse_proxy plaintext -> 10.0.0.1:9000"],
    ),
    (
        "in a subroute",
        r#"{"handler":"subroute","routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"}]}]}]}]}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "in the errors of a subroute",
        r#"{"handler":"subroute","errors":{"routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"}]}]}]}}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "in the answer to an answer",
        r#"{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"}],"handle_response":[{"routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.2:80"}]}]}]}]}"#,
        &[
            "10.0.0.2:80 reverse_proxy plaintext -> 10.0.0.2:80",
            "10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80",
        ],
    ),
    (
        "keys in another case, as Go takes them",
        r#"{"handler":"reverse_proxy","Transport":{"protocol":"http","TLS":{"Insecure_S\u212aip_Verify":true,"\u017ferver_name":"app.internal"}},"UPSTREAMS":[{"Dial":"10.0.0.1:443"}]}"#,
        &["10.0.0.1:443 reverse_proxy tls name=app.internal sni=app.internal GO -> 10.0.0.1:443"],
    ),
    (
        "null, which is as if it were not said",
        r#"{"handler":"reverse_proxy","handle_response":null,"transport":{"protocol":"http","tls":{"insecure_skip_verify":null,"except_ports":null,"server_name":null}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &["10.0.0.1:443 reverse_proxy tls verify name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443"],
    ),
    ("nothing to connect to", r#"{"handler":"static_response","body":"x"}"#, &[]),
    (
        "headers are no settings",
        r#"{"handler":"reverse_proxy","headers":{"request":{"set":{"Host":["{http.reverse_proxy.upstream.hostport}"]}}},"upstreams":[{"dial":"10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "checks of health",
        r#"{"handler":"reverse_proxy","health_checks":{"active":{"uri":"/health"}},"upstreams":[{"dial":"10.0.0.1:80"}]}"#,
        &["10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80"],
    ),
    (
        "checks of health elsewhere",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"insecure_skip_verify":true,"except_ports":["8080"]}},"health_checks":{"active":{"port":8080}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
            "10.0.0.1:8080 health_checks plaintext -> 10.0.0.1:8080",
        ],
    ),
    (
        "the same server again",
        r#"{"handler":"subroute","routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.1:80"}]}]},{"handle":[{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"10.0.0.1:80"}]}]}]}"#,
        &[
            "10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80",
            "10.0.0.1:80 reverse_proxy tls verify name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:80",
        ],
    ),
    (
        "renegotiation and curves",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"renegotiation":"once"}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &["10.0.0.1:443 reverse_proxy tls verify name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443"],
    ),
    (
        "two authorities",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"root_ca_pem_files":["/etc/caddy/ca.pem","/etc/caddy/other.pem"]}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls verify ca=several:/etc/caddy/ca.pem,/etc/caddy/other.pem name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
        ],
    ),
    (
        "a certificate and no verification",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"client_certificate_file":"/c.pem","client_certificate_key_file":"/c.key","insecure_skip_verify":true}},"upstreams":[{"dial":"app.internal:443"}]}"#,
        &[
            "app.internal:443 reverse_proxy tls cert=/c.pem name=app.internal sni=app.internal GO -> app.internal:443",
        ],
    ),
];

/// Handlers of modules that Caddy here does not have.
const OTHERS: &[Case] = &[
    (
        "a transport of another module",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"other"},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy unknown cert-by=transport other verify-by=transport other name=10.0.0.1 -> 10.0.0.1:443",
        ],
    ),
    (
        "a setting that is new",
        r#"{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"Curves":["x25519"],"magic":1}},"upstreams":[{"dial":"10.0.0.1:443"}]}"#,
        &[
            "10.0.0.1:443 reverse_proxy tls cert-by=magic verify-by=magic name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443",
        ],
    ),
];

fn configuration(handler: &str) -> String {
    format!(
        r#"{{"admin":{{"disabled":true}},"apps":{{"http":{{"servers":{{"s":{{"listen":["127.0.0.1:0"],"routes":[{{"handle":[{handler}]}}]}}}}}}}}}}"#
    )
}

fn intent_of(text: &str) -> Intent {
    read(&serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn configurations_mean_what_they_say() {
    assert!(CASES.len() >= 30);
    for (name, handler, expected) in CASES.iter().chain(OTHERS) {
        let expected: Vec<_> = expected.iter().map(|line| line.replace("GO", GO)).collect();
        assert_eq!(routes(&intent_of(&configuration(handler))), expected, "{name}");
    }
}

#[test]
fn named_and_error_routes_are_read() {
    let proxy = r#"{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.N:80"}]}]}"#;
    let text = format!(
        r#"{{"apps":{{"layer4":{{"servers":{{}}}},"http":{{"servers":{{"s":{{"routes":[{}],"named_routes":{{"n":{}}},"errors":{{"routes":[{}]}}}}}}}}}}}}"#,
        proxy.replace('N', "1"),
        proxy.replace('N', "2"),
        proxy.replace('N', "3"),
    );
    let intent = intent_of(&text);
    let places: Vec<_> = intent.upstreams.iter().map(|one| one.routes[0].at.to_string()).collect();
    assert_eq!(
        places,
        [
            "apps/http/servers/s/routes/0/handle/0",
            "apps/http/servers/s/named_routes/n/handle/0",
            "apps/http/servers/s/errors/routes/0/handle/0",
        ]
    );
    assert_eq!(intent.remarks.len(), 1);
    let first = &intent.upstreams[0];
    assert_eq!((first.scheme(), first.client_certificate()), (Scheme::Plaintext, Stated::No));
}

#[test]
fn keys_of_maps_are_data() {
    let server = r#"{"Routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.N:80"}]}]}]}"#;
    let text = format!(
        r#"{{"APPS":{{"http":{{"Servers":{{"s":{},"S":{}}}}}}}}}"#,
        server.replace('N', "1"),
        server.replace('N', "2")
    );
    let places: Vec<_> =
        intent_of(&text).upstreams.iter().map(|one| one.routes[0].at.to_string()).collect();
    assert_eq!(
        places,
        ["apps/http/servers/S/routes/0/handle/0", "apps/http/servers/s/routes/0/handle/0"]
    );
}

#[test]
fn what_is_written_twice_is_refused() {
    for (name, tls, is_read) in [
        ("once", r#""Insecure_Skip_Verify":false"#, true),
        ("in two cases", r#""insecure_skip_verify":false,"Insecure_Skip_Verify":true"#, false),
        ("in one case", r#""insecure_skip_verify":false,"insecure_skip_verify":true"#, false),
        ("something else", r#""a":1,"A":2"#, true),
    ] {
        let handler = format!(
            r#"{{"handler":"reverse_proxy","transport":{{"protocol":"http","tls":{{{tls}}}}},"upstreams":[{{"dial":"10.0.0.1:443"}}]}}"#
        );
        let found = serde_json::from_str::<Config>(&configuration(&handler));
        assert_eq!(found.is_ok(), is_read, "{name}");
    }
}

#[test]
fn routes_in_routes_end() {
    let mut handler = r#"{"handler":"static_response"}"#.to_owned();
    for _ in 0..20 {
        handler = format!(r#"{{"handler":"subroute","routes":[{{"handle":[{handler}]}}]}}"#);
    }
    // The parser of JSON has a limit of its own, before this reader's.
    assert!(serde_json::from_str::<Config>(&configuration(&handler)).is_ok());
    for _ in 0..20 {
        handler = format!(r#"{{"handler":"subroute","routes":[{{"handle":[{handler}]}}]}}"#);
    }
    assert!(serde_json::from_str::<Config>(&configuration(&handler)).is_err());
}

#[test]
fn caddy_takes_what_we_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("caddy.json");
    for (name, handler, _) in CASES {
        // It would look for these.
        if handler.contains(".pem") || handler.contains("automate") || handler.contains("AAAA") {
            continue;
        }
        fs::write(&path, configuration(handler)).unwrap();
        let mut caddy = Command::new("caddy");
        caddy.args(["validate", "--config"]).arg(&path).env("HOME", directory.path());
        let Ok(output) = caddy.output() else {
            hopsight_test_support::not_run("Caddy as oracle", "caddy is not installed");
            return;
        };
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {words}");
    }
}

/// Caddyfiles: what Caddy itself makes of them, and what that means.
const CADDYFILES: &[Case] = &[
    (
        "plaintext",
        ":80 {\n\treverse_proxy 10.0.0.1:80 10.0.0.2:80\n}",
        &[
            "10.0.0.1:80 reverse_proxy plaintext -> 10.0.0.1:80",
            "10.0.0.2:80 reverse_proxy plaintext -> 10.0.0.2:80",
        ],
    ),
    (
        "TLS by its scheme, in a path",
        ":80 {\n\thandle_path /a/* {\n\t\treverse_proxy https://app.internal\n\t}\n}",
        &[
            "app.internal:443 reverse_proxy tls verify name=app.internal sni=app.internal GO -> app.internal:443",
        ],
    ),
    (
        "mutual, of a snippet",
        "(mutual) {\n\ttransport http {\n\t\ttls_client_auth c.pem c.key\n\t\ttls_trusted_ca_certs ca.pem\n\t\t\
         tls_server_name app.internal\n\t}\n}\n\
         :80 {\n\treverse_proxy 10.0.0.1:443 {\n\t\timport mutual\n\t}\n}",
        &[
            "10.0.0.1:443 reverse_proxy tls cert=c.pem verify ca=ca.pem name=app.internal sni=app.internal GO -> 10.0.0.1:443",
        ],
    ),
    (
        "not verified",
        ":80 {\n\treverse_proxy 10.0.0.1:443 {\n\t\ttransport http {\n\t\t\ttls_insecure_skip_verify\n\t\t}\n\t}\n}",
        &["10.0.0.1:443 reverse_proxy tls name=10.0.0.1 sni=10.0.0.1 GO -> 10.0.0.1:443"],
    ),
    (
        "FastCGI",
        ":80 {\n\tphp_fastcgi 10.0.0.1:9000\n}",
        &["10.0.0.1:9000 reverse_proxy plaintext -> 10.0.0.1:9000"],
    ),
    ("nothing", ":80 {\n\trespond \"hello\"\n}", &[]),
];

#[test]
fn caddyfiles_mean_what_caddy_makes_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Caddyfile");
    for (name, text, expected) in CADDYFILES {
        fs::write(&path, text).unwrap();
        let mut caddy = Command::new("caddy");
        caddy.args(["adapt", "--config"]).arg(&path).env("HOME", directory.path());
        let Ok(output) = caddy.output() else {
            hopsight_test_support::not_run("Caddyfiles", "caddy is not installed");
            return;
        };
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {words}");
        let expected: Vec<_> = expected.iter().map(|line| line.replace("GO", GO)).collect();
        let adapted = String::from_utf8(output.stdout).unwrap();
        assert_eq!(routes(&intent_of(&adapted)), expected, "{name}");
    }
}

//! What the probes show of nginx's upstream handshakes, case by case.

use crate::support::{
    Authority, count, free_port, get, library_events, line, nginx, possible, source, wait_for_port,
};

struct Case {
    name: &'static str,
    /// Directives of the upstream's server block.
    upstream: &'static str,
    /// Directives of the proxy's location.
    proxy: &'static str,
    expected: &'static str,
}

const CLIENT: &str = "proxy_ssl_certificate client.pem; proxy_ssl_certificate_key client.key;";

#[test]
fn nginx_upstream_handshakes() {
    if !possible("nginx_upstream_handshakes", &["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let authority = Authority::new(here, "ca");
    Authority::new(here, "other-ca");
    authority.issue("server", vec!["upstream.test".to_owned()]);
    authority.issue("client", vec!["proxy.test".to_owned()]);
    authority.issue("large", (0..1500).map(|n| format!("name-{n}.upstream.test")).collect());

    let ask = "ssl_verify_client optional; ssl_client_certificate ca.pem;";
    let verify =
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name upstream.test;";
    let cases = [
        Case { name: "one-way", upstream: "", proxy: "", expected: "" },
        Case { name: "mtls", upstream: ask, proxy: CLIENT, expected: "" },
        Case { name: "none", upstream: ask, proxy: "", expected: "" },
        Case { name: "verified", upstream: ask, proxy: verify, expected: "" },
    ];
    let port = free_port();
    let ports: Vec<u16> = cases.iter().map(|_| free_port()).collect();
    let absolute = |text: &str| {
        ["ca.pem", "client.pem", "client.key"].iter().fold(text.to_owned(), |text, file| {
            text.replace(file, &here.join(file).display().to_string())
        })
    };
    let upstream: String = cases.iter().zip(&ports).map(|(case, port)| format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; ssl_certificate {d}/server.pem; \
         ssl_certificate_key {d}/server.key; {} location / {{ return 200 ok; }} }}\n",
        absolute(case.upstream), d = here.display()
    )).collect();
    let locations: String = cases
        .iter()
        .zip(&ports)
        .map(|(case, port)| {
            format!(
                "location /{} {{ proxy_pass https://127.0.0.1:{port}; proxy_ssl_protocols TLSv1.3; \
         proxy_ssl_session_reuse off; {} }}\n",
                case.name,
                absolute(case.proxy)
            )
        })
        .collect();
    let _upstream = nginx(here, "upstream", &upstream);
    let proxy = nginx(here, "proxy", &format!("server {{ listen 127.0.0.1:{port}; {locations} }}"));
    ports.iter().chain([&port]).for_each(|&port| wait_for_port(port));

    let mut source = source("nginx");
    println!("{:#?}", source.library_statuses().read());
    for case in &cases {
        let before = count(&source, "hit");
        let status = get(port, &format!("/{}", case.name));
        let events = library_events(&mut source, &proxy.pids());
        println!(
            "{}: {status} {} hits: {} {:?}",
            case.name,
            count(&source, "hit") - before,
            line(&events),
            events.iter().map(|e| e.ssl).collect::<Vec<_>>()
        );
    }
    println!("{:?}", source.stats().read());
}

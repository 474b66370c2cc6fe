//! What the probes show of other programs, and of other OpenSSL releases.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hopsight_capture::{LibraryEvidence, LiveSource};
use hopsight_core::model::LibraryEvent;
use hopsight_tests::process::{called, own_name};

use crate::support::{
    Authority, Running, free_port, get, library_events, library_events_until, line, nginx,
    nginx_called, nginx_with, possible, source, source_of, wait_evidence, wait_for_port,
};

/// The client verifies by a callback of its own, or looks at the result itself.
const MUTUAL: &str = "made [1 2] 8 13 11 verify=0 15 20 11 15 20 ticket ticket";

/// OpenSSL itself enforces the result.
const MUTUAL_ENFORCED: &str = "made [1 2] 8 13 11 verify=0! 15 20 11 15 20";

fn certificates(here: &Path) {
    let authority = Authority::new(here, "ca");
    authority.issue("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    authority.issue("client", vec!["client.test".to_owned()]);
}

/// Runs a client to its end; what its library showed. It is given the time to show `expected`: some
/// clients read on, and learn that they were refused, only while their input is open.
fn run(source: &mut LiveSource, command: &mut Command, expected: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let is_all = |events: &[LibraryEvent]| flat(&line(events)) == flat(expected);
    let mut events = library_events_until(source, &[pid], is_all);
    drop(child.stdin.take());
    child.wait().unwrap();
    events.extend(library_events(source, &[pid]));
    line(&events)
}

#[test]
fn curl_and_python() {
    if !possible("curl_and_python", &["nginx", "curl", "python3"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    certificates(here);
    let (d, port) = (here.display(), free_port());
    let upstream = format!(
        "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; \
         ssl_certificate {d}/server.pem; ssl_certificate_key {d}/server.key; \
         ssl_verify_client optional; ssl_client_certificate {d}/ca.pem; \
         location / {{ return 200 ok; }} }}"
    );
    let program = nginx_called(here, &own_name("server"));
    let _upstream = nginx_with(here, "upstream", &upstream, &program, |command| command);
    wait_for_port(port);
    // The upstream maps the same libssl, which is therefore probed before a client starts.
    let names = ["server", "curl", "python"].map(own_name);
    let mut source = source_of(&names.each_ref().map(String::as_str), |_| ());

    let mut curl = Command::new(called(here, "curl", &names[1]).unwrap());
    curl.args(["-s", "--cacert"]).arg(here.join("ca.pem"));
    curl.arg("--cert").arg(here.join("client.pem")).arg("--key").arg(here.join("client.key"));
    curl.arg(format!("https://127.0.0.1:{port}/"));
    // It makes the object a client once more when it closes the connection.
    let expected = format!("{MUTUAL_ENFORCED} ticket ticket made");
    assert_eq!(run(&mut source, &mut curl, &expected), expected, "curl");

    let script = format!(
        "import ssl, socket, sys\n\
         context = ssl.create_default_context(cafile='{d}/ca.pem')\n\
         context.load_cert_chain('{d}/client.pem', '{d}/client.key')\n\
         sys.stdin.readline()\n\
         plain = socket.create_connection(('127.0.0.1', {port}))\n\
         context.wrap_socket(plain, server_hostname='localhost').close()\n"
    );
    let mut python = Command::new(called(here, "/usr/bin/python3", &names[2]).unwrap());
    let mut child = python.arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
    // Python may bring a libssl of its own, which is found while the script waits.
    let is_probed = |evidence: &LibraryEvidence| matches!(evidence, LibraryEvidence::Library(_));
    wait_evidence(&mut source, child.id(), is_probed);
    drop(child.stdin.take());
    child.wait().unwrap();
    // It leaves before it reads a ticket.
    assert_eq!(line(&library_events(&mut source, &[child.id()])), MUTUAL_ENFORCED, "python");
}

#[test]
fn haproxy() {
    if !possible("haproxy", &["nginx", "haproxy"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    certificates(here);
    let (d, tls_port, port) = (here.display(), free_port(), free_port());
    let _upstream = nginx(
        here,
        "upstream",
        &format!(
            "server {{ listen 127.0.0.1:{tls_port} ssl; ssl_protocols TLSv1.3; \
             ssl_certificate {d}/server.pem; ssl_certificate_key {d}/server.key; \
             ssl_verify_client on; ssl_client_certificate {d}/ca.pem; \
             location / {{ return 200 ok; }} }}"
        ),
    );
    let [chain, key] = ["client.pem", "client.key"].map(|name| fs::read(here.join(name)).unwrap());
    fs::write(here.join("client.bundle"), [chain, key].concat()).unwrap();
    let config = here.join("haproxy.cfg");
    let sections = format!(
        "defaults\nmode http\ntimeout connect 5s\ntimeout client 5s\ntimeout server 5s\n\
         listen hop\nbind 127.0.0.1:{port}\nserver upstream 127.0.0.1:{tls_port} ssl \
         verify required ca-file {d}/ca.pem verifyhost localhost crt {d}/client.bundle\n"
    );
    fs::write(&config, sections).unwrap();
    let name = own_name("haproxy");
    let program = called(here, "haproxy", &name).unwrap();
    let haproxy = Running::start(Command::new(program).arg("-db").arg("-f").arg(&config));
    [tls_port, port].into_iter().for_each(wait_for_port);
    let mut source = source(&name);
    let status = get(port, "/");
    assert!(status.contains("200"), "{status}");
    assert_eq!(line(&library_events(&mut source, &haproxy.pids())), MUTUAL);
}

/// OpenSSL releases that `tests/build-openssl.sh` built.
fn releases() -> Vec<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let built = fs::read_dir(cache.join("hopsight/openssl")).into_iter().flatten().flatten();
    built.map(|entry| entry.path()).filter(|path| path.join("done").exists()).collect()
}

#[test]
fn openssl_releases() {
    if !possible("openssl_releases", &["openssl"]) {
        return;
    }
    let mut programs = vec![(PathBuf::from("openssl"), PathBuf::new())];
    let built = releases().into_iter().map(|path| (path.join("apps/openssl"), path));
    programs.extend(built.filter(|(program, _)| program.exists()));
    if programs.len() == 1 {
        hopsight_test_support::not_run(
            "other OpenSSL releases",
            "build them: tests/build-openssl.sh",
        );
    }
    for (program, libraries) in programs {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        certificates(here);
        let name = own_name("openssl");
        let called = called(here, &program, &name).unwrap();
        let openssl = |arguments: &str| {
            let mut command = Command::new(&called);
            command.current_dir(here).env("LD_LIBRARY_PATH", &libraries);
            command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        for (version, full, refused) in [
            ("-tls1_3", MUTUAL, "made [1 2] 8 13 11 verify=0 15 20 11e 20 alert=116"),
            (
                "-tls1_2",
                "made verify=0 [1 2 11 12 13 14 11 16] 15 20 4 ticket 20",
                "made verify=0 [1 2 11 12 13 14] 11e 16 20 alert=40",
            ),
        ] {
            let port = free_port();
            // Never resumed, and it refuses clients without a certificate.
            let server = openssl(&format!(
                "s_server -quiet {version} -accept {port} -cert server.pem -key server.key \
                 -CAfile ca.pem -Verify 1 -verify_return_error"
            ))
            .stdin(Stdio::piped())
            .spawn();
            let _server = Running(server.unwrap());
            wait_for_port(port);
            let mut source = source(&name);
            let connect = format!("s_client {version} -connect 127.0.0.1:{port} -CAfile ca.pem");
            let with = format!("{connect} -cert client.pem -key client.key");
            let shown = run(&mut source, &mut openssl(&with), full);
            println!("{} {version}: {shown}", program.display());
            assert_eq!(flat(&shown), flat(full), "{} {version}", program.display());
            let shown = run(&mut source, &mut openssl(&connect), refused);
            println!("{} {version}: {shown}", program.display());
            assert_eq!(flat(&shown), flat(refused), "{} {version}", program.display());
        }
    }
}

/// Which messages share a call depends on how they arrived; what they are does not.
fn flat(line: &str) -> String {
    line.replace(['[', ']'], "")
}

#[test]
fn nginx_on_other_openssl_releases() {
    if !possible("nginx_on_other_openssl_releases", &["nginx"]) {
        return;
    }
    let releases: Vec<_> =
        releases().into_iter().filter(|path| path.join("libssl.so.3").exists()).collect();
    if releases.is_empty() {
        hopsight_test_support::not_run(
            "other OpenSSL releases",
            "build OpenSSL 3.x: tests/build-openssl.sh",
        );
    }
    for release in releases {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        certificates(here);
        let (d, port) = (here.display(), free_port());
        let [system_port, same_port] = [free_port(), free_port()];
        let upstream = |tls_port: u16| {
            format!(
                "server {{ listen 127.0.0.1:{tls_port} ssl; ssl_protocols TLSv1.3; \
                 ssl_certificate {d}/server.pem; ssl_certificate_key {d}/server.key; \
                 ssl_verify_client on; ssl_client_certificate {d}/ca.pem; \
                 location / {{ return 200 ok; }} }}"
            )
        };
        let location = |name: &str, tls_port: u16| {
            format!("location /{name} {{ proxy_pass https://127.0.0.1:{tls_port}/; }}")
        };
        let http = format!(
            "proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_session_reuse off; \
             proxy_ssl_trusted_certificate {d}/ca.pem; proxy_ssl_name localhost; \
             proxy_ssl_certificate {d}/client.pem; proxy_ssl_certificate_key {d}/client.key; \
             server {{ listen 127.0.0.1:{port}; {} {} }}",
            location("system", system_port),
            location("same", same_port),
        );
        let program = nginx_called(here, &own_name("release"));
        let on_release = |name: &str, http: &str| {
            nginx_with(here, name, http, &program, |command| {
                command.env("LD_LIBRARY_PATH", &release)
            })
        };
        let _system = nginx(here, "system", &upstream(system_port));
        let _same = on_release("same", &upstream(same_port));
        let proxy = on_release("proxy", &http);
        [system_port, same_port, port].into_iter().for_each(wait_for_port);
        let mut source = source(&own_name("release"));
        // With an upstream of its kind a release that has zlib compresses the client's certificate
        // (RFC 8879), type 25.
        for (path, client_certificate) in [("/system", "11"), ("/same", "25")] {
            let status = get(port, path);
            assert!(status.contains("200"), "{} {path}: {status}", release.display());
            let shown = line(&library_events(&mut source, &proxy.pids()));
            println!("{} {path}: {shown}", release.display());
            let expected = format!(
                "made [1 2] 8 13 11 verify=0 15 20 {client_certificate} 15 20 asked=0 host=1 \
                 ticket ticket"
            );
            assert_eq!(shown, expected, "{} {path}", release.display());
        }
        let mut out = std::io::stdout();
        for status in source.library_statuses().read() {
            let _ = writeln!(out, "{} {}: {}", status.pid, status.name, status.evidence);
        }
    }
}

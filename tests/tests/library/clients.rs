//! What the probes show of other programs, and of other OpenSSL releases.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hopsight_capture::LiveSource;

use crate::support::{
    Authority, Running, free_port, get, library_events, line, nginx, nginx_with, possible, source,
    source_of, wait_for_port,
};

/// The client verifies by a callback of its own, or looks at the result itself.
const MUTUAL: &str = "made [1 2] 8 13 11 verify=0 15 20 11 15 20";

/// OpenSSL itself enforces the result.
const MUTUAL_ENFORCED: &str = "made [1 2] 8 13 11 verify=0! 15 20 11 15 20";

fn certificates(here: &Path) {
    let authority = Authority::new(here, "ca");
    authority.issue("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    authority.issue("client", vec!["client.test".to_owned()]);
}

/// Runs a client to its end; what its library showed.
fn run(source: &mut LiveSource, command: &mut Command, linger: Duration) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Some clients read on, and learn that they were refused, only while their input is open.
    std::thread::sleep(linger);
    drop(child.stdin.take());
    let pid = child.id();
    child.wait().unwrap();
    line(&library_events(source, &[pid]))
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
    let _upstream = nginx(
        here,
        "upstream",
        &format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; \
             ssl_certificate {d}/server.pem; ssl_certificate_key {d}/server.key; \
             ssl_verify_client optional; ssl_client_certificate {d}/ca.pem; \
             location / {{ return 200 ok; }} }}"
        ),
    );
    wait_for_port(port);
    // The upstream maps the same libssl, which is therefore probed before a client starts.
    let mut source = source_of(&["nginx", "curl", "python3"], |_| ());

    let mut curl = Command::new("curl");
    curl.args(["-s", "--cacert"]).arg(here.join("ca.pem"));
    curl.arg("--cert").arg(here.join("client.pem")).arg("--key").arg(here.join("client.key"));
    curl.arg(format!("https://127.0.0.1:{port}/"));
    let shown = run(&mut source, &mut curl, Duration::ZERO);
    // It makes the object a client once more when it closes the connection.
    assert_eq!(shown, format!("{MUTUAL_ENFORCED} made"), "curl");

    let script = format!(
        "import ssl, socket, time\n\
         context = ssl.create_default_context(cafile='{d}/ca.pem')\n\
         context.load_cert_chain('{d}/client.pem', '{d}/client.key')\n\
         time.sleep(1)\n\
         plain = socket.create_connection(('127.0.0.1', {port}))\n\
         context.wrap_socket(plain, server_hostname='localhost').close()\n"
    );
    let mut python = Command::new("python3");
    python.arg("-c").arg(script);
    let mut child = python.stdin(Stdio::null()).spawn().unwrap();
    // Python may bring a libssl of its own, which is found while the script sleeps.
    let events = std::iter::repeat_with(|| library_events(&mut source, &[child.id()]));
    let shown = events.take(8).find(|events| !events.is_empty()).unwrap_or_default();
    child.wait().unwrap();
    assert_eq!(line(&shown), MUTUAL_ENFORCED, "python");
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
    let haproxy = Running::start(Command::new("haproxy").arg("-db").arg("-f").arg(&config));
    [tls_port, port].into_iter().for_each(wait_for_port);
    let mut source = source("haproxy");
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
        let openssl = |arguments: &str| {
            let mut command = Command::new(&program);
            command.current_dir(here).env("LD_LIBRARY_PATH", &libraries);
            command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        for (version, full, refused) in [
            ("-tls1_3", MUTUAL, "made [1 2] 8 13 11 verify=0 15 20 11e 20 alert=116"),
            (
                "-tls1_2",
                "made verify=0 [1 2 11 12 13 14 11 16] 15 20 4 20",
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
            let mut source = source("openssl");
            let connect = format!("s_client {version} -connect 127.0.0.1:{port} -CAfile ca.pem");
            let with = format!("{connect} -cert client.pem -key client.key");
            let linger = Duration::from_millis(300);
            let shown = run(&mut source, &mut openssl(&with), linger);
            println!("{} {version}: {shown}", program.display());
            assert_eq!(flat(&shown), flat(full), "{} {version}", program.display());
            let shown = run(&mut source, &mut openssl(&connect), linger);
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
        let on_release = |name: &str, http: &str| {
            nginx_with(here, name, http, "/usr/sbin/nginx".as_ref(), |command| {
                command.env("LD_LIBRARY_PATH", &release)
            })
        };
        let _system = nginx(here, "system", &upstream(system_port));
        let _same = on_release("same", &upstream(same_port));
        let proxy = on_release("proxy", &http);
        [system_port, same_port, port].into_iter().for_each(wait_for_port);
        let mut source = source("nginx");
        // With an upstream of its kind a release that has zlib compresses the client's certificate
        // (RFC 8879), type 25.
        for (path, client_certificate) in [("/system", "11"), ("/same", "25")] {
            let status = get(port, path);
            assert!(status.contains("200"), "{} {path}: {status}", release.display());
            let shown = line(&library_events(&mut source, &proxy.pids()));
            println!("{} {path}: {shown}", release.display());
            let expected = format!(
                "made [1 2] 8 13 11 verify=0 15 20 {client_certificate} 15 20 asked=0 host=1"
            );
            assert_eq!(shown, expected, "{} {path}", release.display());
        }
        let mut out = std::io::stdout();
        for status in source.library_statuses().read() {
            let _ = writeln!(out, "{} {}: {}", status.pid, status.name, status.evidence);
        }
    }
}

//! TLS libraries inside programs: Caddy, Node, a client with rustls, and a program that is hit where
//! nobody expects it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hopsight_capture::{LibraryEvidence, LiveSource, NoLibrary, Rustls, Source as _};
use hopsight_test_support::not_run;
use hopsight_tests::{agent::sibling, case::Proxy, client, http};

use crate::{
    proxies::{Scene, is_installed},
    support::{
        Authority, Running, free_port, library_events, line, nginx, possible, source, source_with,
        wait_for_port,
    },
};

/// Polls until the evidence of the process is what `wanted` looks for.
fn wait_for_evidence(
    source: &mut LiveSource,
    pid: u32,
    wanted: impl Fn(&LibraryEvidence) -> bool,
) -> LibraryEvidence {
    // Big programs take seconds in a build without optimization.
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut events = Vec::new();
    loop {
        source.poll(Duration::from_millis(50), &mut events).unwrap();
        let statuses = source.library_statuses().read();
        let status = statuses.into_iter().find(|status| status.pid == pid);
        match status {
            Some(status) if wanted(&status.evidence) => return status.evidence,
            status => assert!(Instant::now() < deadline, "{status:?}"),
        }
    }
}

/// Waits for a line on its standard input, makes one request, and prints its status.
const SCRIPT: &str = r"
const [port, directory] = process.argv.slice(1);
const read = name => require('fs').readFileSync(`${directory}/${name}`);
process.stdin.once('data', () => {
    const options = { host: '127.0.0.1', port, servername: 'localhost', agent: false,
        ca: read('ca.pem'), cert: read('client.pem'), key: read('client.key') };
    require('https').get(options, response => {
        console.log(response.statusCode);
        response.resume().on('end', () => process.exit());
    });
});
";

/// An upstream that asks for a certificate, with everybody's certificates in `here`; and its port.
fn upstream(here: &Path) -> (Running, u16) {
    let authority = Authority::new(here, "ca");
    authority.issue("server", vec!["localhost".to_owned()]);
    authority.issue("client", vec!["client.test".to_owned()]);
    let (d, port) = (here.display(), free_port());
    let upstream = nginx(
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
    (upstream, port)
}

#[test]
fn node() {
    const NODE: &str = "Node with OpenSSL inside";
    if !possible("node", &["nginx"]) {
        return;
    }
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        not_run(NODE, "there is no Node");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let (_upstream, port) = upstream(here);
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT]).arg(port.to_string()).arg(here);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let mut source = source("node");
    let evidence = wait_for_evidence(&mut source, pid, |evidence| {
        !matches!(evidence, LibraryEvidence::Inferred { reason: NoLibrary::Gone, .. })
    });
    println!("{evidence}");
    let is_inside = matches!(&evidence, LibraryEvidence::Library(library)
        if library.path.ends_with("node"));
    // Closing its input lets a Node whose OpenSSL is a shared library end unasked.
    let answered = is_inside.then(|| {
        use std::io::Write as _;
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let Some(answered) = answered else {
        not_run(NODE, "its OpenSSL is a shared library");
        return;
    };
    assert_eq!(answered.trim(), "200");
    let shown = line(&library_events(&mut source, &[pid]));
    // Node looks at the result itself, and lets OpenSSL go on after a bad one.
    assert!(shown.contains("1 2 8 13 11 verify=0 15 20 11 15 20"), "{shown}");
    assert!(!shown.contains("verify=0!"), "{shown}");
    assert!(shown.contains("ticket"), "{shown}");
}

#[test]
fn caddy() {
    if !possible("caddy", &["nginx"]) || !is_installed(Proxy::Caddy) {
        return;
    }
    let scene = Scene::start(Proxy::Caddy).unwrap();
    let mut source = scene.watch();
    assert_eq!(http::get(scene.front, "/").unwrap().status, 200);
    let shown = line(&library_events(&mut source, &scene.pids()));
    assert!(shown.starts_with("1 2 8 13 11 verify=0! 15 20 11 15 20"), "{shown}");
}

#[test]
fn rustls() {
    if !possible("rustls", &["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let (_upstream, port) = upstream(here);
    let program = sibling(client::RUSTLS).unwrap();
    let idle = Running(Command::new(&program).stdin(Stdio::piped()).spawn().unwrap());
    let mut source = source_with(client::RUSTLS, |options| options.rustls = Rustls::LookedFor);
    let evidence = wait_for_evidence(&mut source, idle.0.id(), |evidence| {
        matches!(evidence, LibraryEvidence::Library(_))
    });
    assert!(evidence.to_string().contains("rustls 0.23."), "{evidence}");
    let mut client = Command::new(&program);
    client.args([&format!("127.0.0.1:{port}"), "localhost"]);
    client.args(["ca.pem", "client.pem", "client.key"].map(|name| here.join(name)));
    let client = client.stdout(Stdio::piped()).spawn().unwrap();
    let pid = client.id();
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "200");
    let shown = line(&library_events(&mut source, &[pid]));
    assert_eq!(shown, "1 2 8 13 11 15 20 11 15 20");
}

/// A program that looks like one with OpenSSL inside, and calls the function all the time.
const HOT: &str = r#"
#include <unistd.h>
const char version[] = "OpenSSL 3.5.4 30 Sep 2025";
__attribute__((noinline)) int ssl3_finish_mac(void *s, const char *data, long len) {
    __asm__ volatile("" : : "r"(s), "r"(data), "r"(len) : "memory");
    return 0;
}
int main(void) {
    for (unsigned n = 0;; n++) {
        ssl3_finish_mac((void *)version, version, sizeof version);
        if (n % 64 == 0) usleep(100);
    }
}
"#;

#[test]
fn what_is_hit_too_often_is_taken_out() {
    if !possible("what_is_hit_too_often_is_taken_out", &["cc"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "hopsight-hot", HOT);
    let hot = Running::start(&mut Command::new(&program));
    let mut source = source("hopsight-hot");
    let evidence = wait_for_evidence(&mut source, hot.0.id(), |evidence| {
        matches!(evidence, LibraryEvidence::Inferred { .. })
    });
    let LibraryEvidence::Inferred { reason, detail } = evidence else { panic!("{evidence}") };
    assert_eq!(reason, NoLibrary::TooManyHits, "{detail}");
    let hits = |source: &LiveSource| crate::support::count(source, "hit");
    // The kernel takes its time to remove a probe; then none is hit any more.
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut before = hits(&source);
    loop {
        std::thread::sleep(Duration::from_millis(150));
        let now = hits(&source);
        if now == before {
            break;
        }
        assert!(Instant::now() < deadline, "still hit: {before} and {now}");
        before = now;
    }
}

fn compile(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let source = directory.join(name).with_extension("c");
    fs::write(&source, text).unwrap();
    let program = directory.join(name);
    let status = Command::new("cc").arg("-O1").arg("-o").arg(&program).arg(&source).status();
    assert!(status.unwrap().success());
    program
}

//! The same addresses and ports again and again, and processes that come and go.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use hopsight_core::model::{Direction, Event, Security};
use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    loopback::Loopback,
    process::{called, own_name},
    requirement,
    wait::wait_until,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

/// The turns of a recorded connection: who said what next.
fn recorded(name: &str) -> Vec<(Direction, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../agent/core/fixtures/handshakes")
        .join(name)
        .with_extension("jsonl");
    let text = fs::read_to_string(path).unwrap();
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut first = None;
    let mut turns = Vec::new();
    for event in events {
        let Event::Segment { connection, direction, bytes, .. } = event else { continue };
        if *first.get_or_insert(connection) == connection {
            turns.push((direction, bytes));
        }
    }
    turns
}

fn speak(stream: &mut TcpStream, turns: &[(Direction, Vec<u8>)], mine: Direction) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    for (direction, bytes) in turns {
        if *direction == mine {
            stream.write_all(bytes).unwrap();
        } else {
            let mut heard = vec![0; bytes.len()];
            stream.read_exact(&mut heard).unwrap();
        }
    }
}

/// A connection from exactly this address and port; closing it leaves no TIME_WAIT behind.
fn connect_from(local: SocketAddr, remote: SocketAddr) -> TcpStream {
    // A child of another test must not keep it open.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    bind(&socket, &local).unwrap();
    connect(&socket, &remote).unwrap();
    TcpStream::from(socket)
}

#[test]
fn each_connection_of_one_address_pair_has_its_own_verdict() {
    let test = "each_connection_of_one_address_pair_has_its_own_verdict";
    if !requirement::met(test, &[]) {
        return;
    }
    let name = own_name("same");
    let block = Loopback::reserve().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let own = Cgroup::of_this_process().unwrap().to_str().unwrap();
    let args = ["--cgroup", own, "--proxy", &name, "--no-library"];
    let agent = Agent::start(dir.path(), block.socket(1, 9464), &args).unwrap();
    let kinds = [
        ("http", Security::Plaintext),
        ("mtls12", Security::Mtls),
        ("tls12", Security::Tls),
        ("mtls13", Security::Mtls),
        ("tls13", Security::Tls),
    ]
    .map(|(name, security)| (recorded(name), security));
    let rounds = 10;
    let (local, remote) = (block.socket(3, 40_000), block.socket(2, 8443));
    let listener = TcpListener::bind(remote).unwrap();
    let turns: Vec<_> = kinds.iter().map(|(turns, _)| turns.clone()).collect();
    // Nobody waits for it: a client that fails would leave it waiting.
    thread::spawn({
        let turns = turns.clone();
        move || {
            for turns in turns.iter().cycle() {
                let (mut stream, _) = listener.accept().unwrap();
                speak(&mut stream, turns, Direction::ToClient);
                let _ = stream.read(&mut [0]);
            }
        }
    });
    let client = thread::Builder::new().name(name).spawn(move || {
        for turns in turns.iter().cycle().take(rounds * turns.len()) {
            let mut stream = connect_from(local, remote);
            speak(&mut stream, turns, Direction::ToServer);
            // The reset that ends it must not overtake what was said.
            thread::sleep(Duration::from_millis(5));
        }
    });
    client.unwrap().join().unwrap();
    let mut reports = agent.wait_finals(remote, rounds * kinds.len()).unwrap();
    assert_eq!(reports.len(), rounds * kinds.len());
    reports.sort_by_key(|report| report.opened_at);
    for (report, (_, security)) in reports.iter().zip(kinds.iter().cycle()) {
        assert_eq!(report.src, local.to_string());
        assert_eq!(report.verdict.security, *security, "{report:#?}");
    }
}

#[test]
fn short_lived_processes_are_seen_and_forgotten() {
    let test = "short_lived_processes_are_seen_and_forgotten";
    if !requirement::met(test, &["bash"]) {
        return;
    }
    let block = Loopback::reserve().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = own_name("fork");
    let program = called(dir.path(), "bash", &name).unwrap();
    let own = Cgroup::of_this_process().unwrap().to_str().unwrap();
    let args = ["--cgroup", own, "--proxy", &name];
    let agent = Agent::start(dir.path(), block.socket(1, 9464), &args).unwrap();
    let open_files = || agent.metric("process_open_fds", &[]).unwrap().unwrap();
    let before = open_files();
    let remote = block.socket(2, 8080);
    let listener = TcpListener::bind(remote).unwrap();
    let server = thread::spawn(move || {
        let mut served = 0;
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 16];
            let length = stream.read(&mut request).unwrap_or(0);
            if request[..length].starts_with(b"END") {
                break;
            }
            served += 1;
        }
        served
    });
    // Each shell forks children that connect, one after the other, and others that do not.
    let script = format!(
        "for i in {{1..50}}; do (exec 3<>/dev/tcp/{}/{} && echo GET / HTTP/1.1 >&3); (:); done",
        remote.ip(),
        remote.port()
    );
    let mut shells: Vec<_> =
        (0..4).map(|_| Command::new(&program).args(["-c", &script]).spawn().unwrap()).collect();
    for shell in &mut shells {
        assert!(shell.wait().unwrap().success());
    }
    let reports = agent.wait_finals(remote, 200).unwrap();
    TcpStream::connect(remote).unwrap().write_all(b"END").unwrap();
    assert_eq!(server.join().unwrap(), 200);
    assert_eq!(reports.len(), 200);
    for report in &reports {
        assert_eq!(report.verdict.security, Security::Plaintext, "{report:#?}");
    }
    wait_until("the ended processes to be forgotten", Duration::from_mins(1), || {
        let library = agent.get("/metrics")?.body;
        let processes: f64 = library
            .lines()
            .filter(|line| line.starts_with("hopsight_library_processes{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        Ok((processes == 0.0).then_some(()))
    })
    .unwrap();
    assert!(open_files() <= before + 8.0, "{} open files after {before}", open_files());
}

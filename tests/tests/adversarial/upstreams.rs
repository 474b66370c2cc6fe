//! Upstreams that do not end, or say more than anybody asked for.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use hopsight_core::model::{Reason, Security};
use hopsight_tests::{
    agent::Agent, cgroup::Cgroup, loopback::Loopback, process::own_name, requirement,
};

/// A ClientHello record that OpenSSL would send, without extensions.
const HELLO: &[u8] = &[
    22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
    9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 2, 0xc0, 0x2f, 1, 0,
];

/// The beginning of a TLS 1.2 ServerHello record and message.
const SERVER_HELLO: &[u8] = &[
    22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0xc0, 0x2f, 0,
];

/// What an upstream does with a connection, until the client goes.
type Behaviour = fn(&mut TcpStream) -> std::io::Result<()>;

/// HelloRequests forever, as fast as they are read.
fn endless_messages(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(SERVER_HELLO)?;
    let record = [&[22, 3, 3, 0, 40][..], &[0; 40]].concat();
    loop {
        stream.write_all(&record)?;
    }
}

/// A ServerHello whose bytes come one by one, so slowly that the agent's patience ends first.
fn slow_bytes(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for byte in SERVER_HELLO.iter().cycle() {
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// A certificate of 16 MB, announced and begun.
fn endless_certificate(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(SERVER_HELLO)?;
    stream.write_all(&[22, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc])?;
    loop {
        stream.write_all(&[0x30; 4096])?;
    }
}

/// Warning alerts between the records of a handshake that goes nowhere.
fn alerts(stream: &mut TcpStream) -> std::io::Result<()> {
    for byte in SERVER_HELLO.chunks(8) {
        stream.write_all(&[21, 3, 3, 0, 2, 1, 112])?;
        stream.write_all(&[&[22, 3, 3, 0, 8][..], byte].concat())?;
        thread::sleep(Duration::from_millis(50));
    }
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

#[test]
fn handshakes_that_never_end_are_given_up() {
    let test = "handshakes_that_never_end_are_given_up";
    if !requirement::met(test, &[]) {
        return;
    }
    let name = &own_name("endless");
    let block = Loopback::reserve().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("hopsight.toml");
    std::fs::write(&config, "[connections]\nhandshake_timeout_seconds = 2\n").unwrap();
    let own = Cgroup::of_this_process().unwrap().to_str().unwrap();
    let args =
        ["--cgroup", own, "--proxy", name, "--no-library", "--config", config.to_str().unwrap()];
    let agent = Agent::start(dir.path(), block.socket(1, 9464), &args).unwrap();
    let before = agent.resident().unwrap();
    let cases: [(&str, Behaviour, &[Reason]); 4] = [
        ("endless messages", endless_messages, &[Reason::Truncated, Reason::Timeout]),
        ("slow bytes", slow_bytes, &[Reason::Timeout, Reason::Malformed]),
        ("endless certificate", endless_certificate, &[Reason::Truncated]),
        ("alerts", alerts, &[Reason::Timeout, Reason::Malformed, Reason::HandshakeFailed]),
    ];
    for (number, (what, behaviour, reasons)) in (10..).zip(cases) {
        let address = block.socket(number, 8443);
        let listener = TcpListener::bind(address).unwrap();
        let upstream = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // It ends when the client goes away.
            let _ = behaviour(&mut stream);
        });
        let client = thread::Builder::new().name(name.clone()).spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(HELLO).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
            let end = std::time::Instant::now() + Duration::from_secs(4);
            let mut buffer = vec![0; 65_536];
            while std::time::Instant::now() < end && stream.read(&mut buffer).is_ok_and(|n| n > 0) {
            }
        });
        let report = agent.wait_finals(address, 1).unwrap().remove(0);
        let verdict = report.verdict;
        assert_eq!(verdict.security, Security::Unknown, "{what}: {report:#?}");
        let known = verdict.reason.is_some_and(|reason| reasons.contains(&reason));
        assert!(known, "{what}: {report:#?}");
        client.unwrap().join().unwrap();
        upstream.join().unwrap();
    }
    let after = agent.resident().unwrap();
    assert!(after < before + (16 << 20), "{before} bytes before, {after} after");
}

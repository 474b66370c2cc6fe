//! The kernel programs on this kernel: real sockets, real packets, no proxy.
//!
//! Every test watches a thread name of its own, so that they run side by side.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use hopsight::{
    capture::{LiveOptions, LiveSource, LoadOptions, Source as _, Watched},
    model::{Direction, Event, FlowId},
};

/// Whether live tests can run; says so when they cannot.
fn privileged(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: {test}: needs root to load kernel programs");
    }
    root
}

fn options(name: &str) -> LiveOptions {
    let defaults = LiveOptions::default();
    LiveOptions {
        load: LoadOptions {
            watched: Watched::Named(vec![name.to_owned()]),
            ring_bytes: 1 << 20,
            ..defaults.load
        },
        take_in: false,
        ..defaults
    }
}

/// What a flow showed, per direction reassembled naively.
#[derive(Debug, Default)]
struct Seen {
    events: Vec<Event>,
}

/// Polls until `enough` or three seconds passed.
fn collect(source: &mut LiveSource, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut events = Vec::new();
    while Instant::now() < deadline && !enough(&events) {
        source.poll(Duration::from_millis(50), &mut events).expect("poll");
    }
    events
}

#[test]
fn smoke() {
    if !privileged("smoke") {
        return;
    }
    let mut source = LiveSource::start(options("hs-smoke")).unwrap_or_else(|e| panic!("{e:#}"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).expect("read");
        stream.write_all(b"world").expect("write");
    });
    thread::Builder::new()
        .name("hs-smoke".into())
        .spawn(move || {
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.write_all(b"hello").expect("write");
            let mut buffer = Vec::new();
            stream.read_to_end(&mut buffer).expect("read");
        })
        .expect("spawn")
        .join()
        .expect("join");
    server.join().expect("join");
    let events =
        collect(&mut source, |events| events.iter().any(|e| matches!(e, Event::Closed { .. })));
    for event in &events {
        eprintln!("{event:?}");
    }
    eprintln!("{:?}", source.stats().read());
}

//! Connections with known contents, and what was seen of them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hopsight_capture::{LiveOptions, LiveSource, LoadOptions, Source as _};
use hopsight_core::model::{ConnectionId, Direction, Event};
use hopsight_system::names::Watched;
use hopsight_tests::cgroup::Cgroup;

/// Whether live tests can run; says so when they cannot. From here on this process is in a cgroup of
/// its own: sockets and processes made before would stay outside of what the test watches.
pub fn privileged(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if root {
        Cgroup::of_this_process().expect("a cgroup of our own");
    } else {
        hopsight_test_support::not_run(test, "needs root to load kernel programs");
    }
    root
}

/// Options that watch `name` in this process and what it starts, with a ring buffer of 4 MiB; they
/// adopt nothing, and there are no library probes.
pub fn options(name: &str) -> LiveOptions {
    let defaults = LiveOptions::default();
    LiveOptions {
        load: LoadOptions {
            watched: Watched::Named(vec![name.to_owned()]),
            ring_bytes: 4 << 20,
            ..defaults.load
        },
        cgroup: Some(Cgroup::of_this_process().expect("a cgroup of our own").to_owned()),
        adopt: false,
        library: false,
        ..defaults
    }
}

pub fn start(options: LiveOptions) -> LiveSource {
    LiveSource::start(options).unwrap_or_else(|error| panic!("start the live source: {error:#}"))
}

/// Runs `work` in a thread of this name, which is what the kernel programs look at.
pub fn as_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("spawn a thread")
}

/// What client and server say, in turns: the client first.
pub type Turns = Vec<Vec<u8>>;

/// Holds the conversation over one connection from a thread called `name` to `connect_to`, where
/// `listener` is; returns the client's address. The client closes first.
pub fn converse(
    name: &str,
    listener: TcpListener,
    connect_to: SocketAddr,
    turns: &Turns,
) -> SocketAddr {
    let server = as_thread("hs-server", {
        let turns = turns.clone();
        move || {
            let (stream, _) = listener.accept().expect("accept");
            speak(stream, &turns, 1);
        }
    });
    let client = as_thread(name, {
        let turns = turns.clone();
        move || {
            let stream = TcpStream::connect(connect_to).expect("connect");
            let address = stream.local_addr().expect("local address");
            speak(stream, &turns, 0);
            address
        }
    });
    let address = client.join().expect("the client's conversation");
    server.join().expect("the server's conversation");
    address
}

/// Takes the turns `mine`, `mine + 2`, …; reads the others.
fn speak(mut stream: TcpStream, turns: &Turns, mine: usize) {
    stream.set_nodelay(true).expect("set TCP_NODELAY");
    for (i, turn) in turns.iter().enumerate() {
        if i % 2 == mine {
            stream.write_all(turn).expect("write");
        } else {
            let mut heard = vec![0; turn.len()];
            stream.read_exact(&mut heard).expect("read");
            assert!(heard == *turn, "traffic arrives unchanged");
        }
    }
    if mine == 1 {
        assert_eq!(stream.read(&mut [0]).expect("read the end"), 0, "the client closes first");
    }
}

pub fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).expect("listen");
    let bound = listener.local_addr().expect("local address");
    (listener, bound)
}

/// Polls until `enough` says so or half a minute passed.
pub fn collect_until(source: &mut LiveSource, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut events = Vec::new();
    while Instant::now() < deadline && !enough(&events) {
        source.poll(Duration::from_millis(50), &mut events).expect("poll");
    }
    events
}

/// Polls until a connection has closed.
pub fn collect_closed(source: &mut LiveSource) -> Vec<Event> {
    collect_until(source, |events| events.iter().any(|e| matches!(e, Event::Closed { .. })))
}

/// Everything that arrives within `time`.
pub fn collect_for(source: &mut LiveSource, time: Duration) -> Vec<Event> {
    let deadline = Instant::now() + time;
    let mut events = Vec::new();
    while Instant::now() < deadline {
        source.poll(Duration::from_millis(20), &mut events).expect("poll");
    }
    events
}

/// The connection an event is about.
pub fn connection_of(event: &Event) -> ConnectionId {
    match event {
        Event::Opened { connection, .. }
        | Event::Established { connection, .. }
        | Event::Inside { connection, .. }
        | Event::Segment { connection, .. }
        | Event::Fin { connection, .. }
        | Event::Closed { connection, .. }
        | Event::Lost { connection, .. } => *connection,
        Event::Library(_) | Event::Began { .. } => {
            panic!("no library is watched here, and no process that is younger than the source")
        }
    }
}

/// The captured bytes of one direction, placed by their offsets: `None` where nothing was seen.
pub fn captured(events: &[Event], wanted: Direction) -> Vec<Option<u8>> {
    let mut stream: Vec<Option<u8>> = Vec::new();
    for event in events {
        let Event::Segment { direction, offset, bytes, .. } = event else { continue };
        if *direction != wanted {
            continue;
        }
        let start = usize::try_from(*offset).expect("an offset");
        if stream.len() < start + bytes.len() {
            stream.resize(start + bytes.len(), None);
        }
        for (place, byte) in stream[start..].iter_mut().zip(bytes) {
            assert!(place.is_none_or(|seen| seen == *byte), "a retransmission repeats its bytes");
            *place = Some(*byte);
        }
    }
    stream
}

/// `len` bytes that begin with `prefix` and differ from place to place.
pub fn pattern(prefix: &[u8], len: usize) -> Vec<u8> {
    let rest = (prefix.len()..len).map(|i| u8::try_from(i * 31 % 251).unwrap_or_default());
    prefix.iter().copied().chain(rest).collect()
}

/// The start of a TLS record that holds a ClientHello.
pub const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// All of `bytes` as seen.
pub fn whole(bytes: &[u8]) -> Vec<Option<u8>> {
    bytes.iter().copied().map(Some).collect()
}

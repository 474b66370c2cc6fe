//! The right events, in the right order, with the right bytes.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use hopsight_capture::LiveOptions;
use hopsight_core::model::{Beginning, CloseCause, Direction, Event, Origin};
use hopsight_system::names::Watched;

use crate::harness::{
    HELLO, Turns, as_thread, captured, collect_closed, collect_for, collect_until, connection_of,
    converse, listen, options, pattern, privileged, start, whole,
};

/// Checks that `events` are one whole connection with these bytes and addresses.
fn assert_conversation(
    events: &[Event],
    name: &str,
    to: SocketAddr,
    from: SocketAddr,
    turns: &Turns,
) {
    let connection = connection_of(&events[0]);
    assert!(
        events.iter().all(|event| connection_of(event) == connection),
        "{name}: one connection"
    );
    let Event::Opened { origin: Origin::Process(process), destination, beginning, .. } = &events[0]
    else {
        panic!("{name}: begins with opened: {:?}", events[0]);
    };
    assert_eq!((process.pid, &*process.name), (std::process::id(), name));
    assert_ne!(process.cgroup_id, 0, "{name}");
    assert_eq!((*destination, *beginning), (to, Beginning::Seen), "{name}");
    let Event::Established { local, remote, .. } = &events[1] else {
        panic!("{name}: then established: {:?}", events[1]);
    };
    assert_eq!((*local, *remote), (from, to), "{name}");
    let Some(Event::Closed { cause: CloseCause::Closed, .. }) = events.last() else {
        panic!("{name}: ends with closed: {:?}", events.last());
    };
    let times: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Segment { at, direction: Direction::ToServer, .. } => Some(*at),
            _ => None,
        })
        .collect();
    assert!(times.is_sorted(), "{name}: in order");
    for (direction, mine) in [(Direction::ToServer, 0), (Direction::ToClient, 1)] {
        let said: Vec<u8> = turns.iter().skip(mine).step_by(2).flatten().copied().collect();
        assert!(captured(events, direction) == whole(&said), "{name}: {direction:?}");
    }
    // The server's may come to a socket that is past caring (TIME_WAIT).
    let mine = Direction::ToServer;
    let fin =
        events.iter().any(|e| matches!(e, Event::Fin { direction, .. } if *direction == mine));
    assert!(fin, "{name}: the client's FIN");
}

#[test]
fn a_conversation_is_seen_whole_over_every_address_family() {
    if !privileged("a_conversation_is_seen_whole_over_every_address_family") {
        return;
    }
    let mapped =
        |to: SocketAddr| SocketAddr::new("::ffff:127.0.0.1".parse().expect("address"), to.port());
    let same = |to: SocketAddr| to;
    let short: Turns =
        [&b"one"[..], b"two", b"three", b"four", b"five"].map(<[u8]>::to_vec).to_vec();
    // 200 KB both ways: segments of up to 64 KiB over loopback, each delivered in chunks.
    let long: Turns = vec![pattern(HELLO, 200_000), pattern(&[22, 3, 3, 0, 80, 2], 200_000)];
    // Around every size at which a chunk ends.
    let edges: Turns =
        [1, 255, 256, 257, 2047, 2048, 2049, 8191, 8192, 8193, 10_240, 16_384, 18_433]
            .map(|len| pattern(HELLO, len))
            .to_vec();
    for (name, listen_on, address, turns) in [
        ("hs-v4", "127.0.0.1", &same as &dyn Fn(_) -> _, &short),
        ("hs-v6", "::1", &same, &short),
        ("hs-mapped", "127.0.0.1", &mapped, &short),
        ("hs-v4-long", "127.0.0.1", &same, &long),
        ("hs-v6-long", "::1", &same, &long),
        ("hs-v4-edges", "127.0.0.1", &same, &edges),
    ] {
        let mut options = options(name);
        options.load.handshake_budget = 1 << 20;
        let mut source = start(options);
        let (listener, to) = listen(listen_on);
        let from = converse(name, listener, address(to), turns);
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let events = collect_closed(&mut source);
        assert_conversation(&events, name, to, from, turns);
        let stats = source.stats().read();
        assert!(stats.lost.iter().all(|loss| loss.count == 0), "{name}: {stats:?}");
        assert_eq!(stats.decode_errors, 0, "{name}");
    }
}

#[test]
fn with_all_every_thread_is_watched_and_the_log_may_be_on() {
    if !privileged("with_all_every_thread_is_watched_and_the_log_may_be_on") {
        return;
    }
    let mut options = options("unused");
    options.load.watched = Watched::All;
    options.load.kernel_log = true;
    let mut source = start(options);
    let (listener, to) = listen("127.0.0.1");
    let turns = vec![b"hello".to_vec()];
    converse("hs-any-name", listener, to, &turns);
    let events = collect_until(&mut source, |events| {
        events.iter().any(|e| matches!(e, Event::Opened { destination, .. } if *destination == to))
    });
    let opened = events.iter().find_map(|event| match event {
        Event::Opened { destination, origin: Origin::Process(process), .. }
            if *destination == to =>
        {
            Some(&*process.name)
        }
        _ => None,
    });
    assert_eq!(opened, Some("hs-any-name"));
}

#[test]
fn who_is_not_watched_is_not_seen() {
    if !privileged("who_is_not_watched_is_not_seen") {
        return;
    }
    let mut source = start(options("hs-nobody"));
    let (listener, to) = listen("127.0.0.1");
    converse("hs-somebody", listener, to, &vec![b"hello".to_vec(), b"world".to_vec()]);
    assert_eq!(collect_for(&mut source, Duration::from_millis(300)), []);
}

#[test]
fn threads_of_a_watched_process_may_have_other_names() {
    if !privileged("threads_of_a_watched_process_may_have_other_names") {
        return;
    }
    // Envoy's workers are called `wrk:worker_0`; here, the process is this test.
    let process = std::fs::read_to_string("/proc/self/comm").expect("own name");
    let process = process.trim_end().to_owned();
    let mut source = start(options(&process));
    let (listener, to) = listen("127.0.0.1");
    converse("wrk:worker_0", listener, to, &vec![b"hello".to_vec()]);
    let events = collect_until(&mut source, |events| {
        events.iter().any(|e| matches!(e, Event::Opened { destination, .. } if *destination == to))
    });
    let name = events.iter().find_map(|event| match event {
        Event::Opened { destination, origin: Origin::Process(process), .. }
            if *destination == to =>
        {
            Some(process.name.to_string())
        }
        _ => None,
    });
    assert_eq!(name, Some(process));
}

#[test]
fn a_refused_connect_is_a_failed_one() {
    if !privileged("a_refused_connect_is_a_failed_one") {
        return;
    }
    let name = "hs-refused";
    let mut source = start(options(name));
    let (listener, to) = listen("127.0.0.1");
    drop(listener);
    as_thread(name, move || TcpStream::connect(to).expect_err("nobody listens"))
        .join()
        .expect("the client");
    let events = collect_closed(&mut source);
    let [Event::Opened { .. }, Event::Closed { cause, .. }] = &events[..] else {
        panic!("opened, then closed: {events:?}");
    };
    assert_eq!(*cause, CloseCause::ConnectFailed);
}

#[test]
fn a_connect_without_a_route_never_opens() {
    if !privileged("a_connect_without_a_route_never_opens") {
        return;
    }
    let name = "hs-no-route";
    let mut source = start(options(name));
    // A scoped address without a scope cannot be reached.
    let to = SocketAddr::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 9);
    as_thread(name, move || TcpStream::connect(to).expect_err("no route")).join().expect("client");
    assert_eq!(collect_for(&mut source, Duration::from_millis(200)), []);
}

#[test]
fn defaults_watch_the_well_known_proxies() {
    let LiveOptions { load, .. } = LiveOptions::default();
    for name in ["nginx", "envoy", "haproxy", "traefik", "caddy", "httpd", "apache2"] {
        assert!(load.watched.includes(name), "{name}");
    }
    assert!(!load.watched.includes("curl"));
}

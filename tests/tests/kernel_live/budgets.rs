//! What leaves the kernel is bounded, and what is missing is recognisable.

use std::time::Duration;

use hopsight_capture::{CaptureStats, Source as _};
use hopsight_core::model::{Direction, Event};

use crate::harness::{
    HELLO, captured, collect_closed, collect_for, collect_until, connection_of, converse, listen,
    options, pattern, privileged, start,
};

const CLASSIFY: usize = 2048;
const HANDSHAKE: usize = 16_384;

/// The ranges of a direction that were captured, and whether a cut was announced.
fn ranges(events: &[Event], direction: Direction) -> (Vec<(usize, usize)>, bool) {
    let stream = captured(events, direction);
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for place in stream.iter().enumerate().filter(|(_, byte)| byte.is_some()).map(|(i, _)| i) {
        match ranges.last_mut() {
            Some((_, end)) if *end == place => *end += 1,
            _ => ranges.push((place, place + 1)),
        }
    }
    let cut = events.iter().any(|event| {
        matches!(event, Event::Segment { direction: d, payload_len, bytes, .. }
            if *d == direction && usize::try_from(*payload_len).is_ok_and(|len| len > bytes.len()))
    });
    (ranges, cut)
}

#[test]
fn each_budget_ends_what_leaves_the_kernel() {
    if !privileged("each_budget_ends_what_leaves_the_kernel") {
        return;
    }
    let clear = |len| pattern(b"GET / HTTP/1.1\r\n", len);
    let hello = |len| pattern(HELLO, len);
    let proxy_v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    let sslv2: &[u8] = &[0x80, 0x2e, 1, 3, 1, 0, 0x15];
    let cases = [
        ("hs-b-short", vec![clear(100)], vec![(0, 100)], false),
        ("hs-b-exact", vec![clear(CLASSIFY)], vec![(0, CLASSIFY)], false),
        ("hs-b-clear", vec![clear(10_000)], vec![(0, CLASSIFY)], true),
        ("hs-b-tls", vec![hello(HANDSHAKE)], vec![(0, HANDSHAKE)], false),
        ("hs-b-tls-cut", vec![hello(60_000)], vec![(0, HANDSHAKE)], true),
        ("hs-b-proxy1", vec![pattern(b"PROXY TCP4 10", 60_000)], vec![(0, HANDSHAKE)], true),
        ("hs-b-proxy2", vec![pattern(proxy_v2, 60_000)], vec![(0, HANDSHAKE)], true),
        ("hs-b-sslv2", vec![pattern(sslv2, 60_000)], vec![(0, HANDSHAKE)], true),
        (
            // TLS that begins after more clear text than the small budget lets through.
            "hs-b-starttls",
            vec![clear(10_000), b"ready".to_vec(), hello(3000)],
            vec![(0, CLASSIFY), (10_000, 13_000)],
            true,
        ),
    ];
    for (name, turns, expected, expect_cut) in cases {
        let mut options = options(name);
        options.load.classify_budget = CLASSIFY.try_into().expect("small");
        options.load.handshake_budget = HANDSHAKE.try_into().expect("small");
        options.load.flight_budget = options.load.handshake_budget;
        let mut source = start(options);
        let (listener, to) = listen("127.0.0.1");
        converse(name, listener, to, &turns);
        let events = collect_closed(&mut source);
        let (ranges, cut) = ranges(&events, Direction::ToServer);
        assert_eq!((ranges, cut), (expected, expect_cut), "{name}");
        let reached = source.stats().read().budget_reached;
        assert_eq!(reached > 0, expect_cut, "{name}: {reached}");
    }
}

#[test]
fn a_flight_of_the_handshake_has_a_budget_of_its_own() {
    const FLIGHT: usize = 64 << 10;
    const LONG: usize = 40_000;
    if !privileged("a_flight_of_the_handshake_has_a_budget_of_its_own") {
        return;
    }
    let hello = |len| pattern(HELLO, len);
    let long = || pattern(&[23, 3, 3], LONG);
    // What each side says in turns, and what of it leaves the kernel.
    let cases = [
        // Data behind the flights have the other budget.
        (
            "hs-f-plain",
            vec![hello(300), long(), long(), long(), long()],
            [vec![(0, 300 + LONG + HANDSHAKE)], vec![(0, LONG + HANDSHAKE)]],
        ),
        (
            "hs-f-retry",
            vec![hello(300), pattern(&[22, 3, 3], 99), hello(300), long(), long(), long(), long()],
            [vec![(0, 600 + LONG + HANDSHAKE)], vec![(0, 99 + LONG + HANDSHAKE)]],
        ),
        // It has a limit, too.
        (
            "hs-f-limit",
            vec![hello(300), pattern(&[23, 3, 3], 100_000), long()],
            [vec![(0, 300 + LONG)], vec![(0, FLIGHT)]],
        ),
    ];
    for (name, turns, expected) in cases {
        let mut options = options(name);
        options.load.handshake_budget = HANDSHAKE.try_into().expect("small");
        options.load.flight_budget = FLIGHT.try_into().expect("small");
        let mut source = start(options);
        let (listener, to) = listen("127.0.0.1");
        converse(name, listener, to, &turns);
        let events = collect_closed(&mut source);
        let seen = [Direction::ToServer, Direction::ToClient].map(|d| ranges(&events, d).0);
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn every_segment_says_what_its_sender_had_received() {
    if !privileged("every_segment_says_what_its_sender_had_received") {
        return;
    }
    let name = "hs-acked";
    let mut source = start(options(name));
    let (listener, to) = listen("127.0.0.1");
    converse(
        name,
        listener,
        to,
        &vec![pattern(HELLO, 300), vec![1; 500], vec![2; 200], vec![3; 9]],
    );
    let events = collect_closed(&mut source);
    let acked: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Segment { direction, offset, acked, .. } => Some((*direction, *offset, *acked)),
            _ => None,
        })
        .collect();
    let expected = [
        (Direction::ToServer, 0, Some(0)),
        (Direction::ToClient, 0, Some(300)),
        (Direction::ToServer, 300, Some(500)),
        (Direction::ToClient, 500, Some(500)),
    ];
    assert_eq!(acked, expected);
}

#[test]
fn who_reset_a_connection_is_told() {
    if !privileged("who_reset_a_connection_is_told") {
        return;
    }
    for (name, by) in [("hs-rst-c", Direction::ToServer), ("hs-rst-s", Direction::ToClient)] {
        let mut source = start(options(name));
        let (listener, to) = listen("127.0.0.1");
        let reset = |stream: &std::net::TcpStream| {
            let now = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(stream, now).expect("set SO_LINGER");
        };
        let client = crate::harness::as_thread(name, move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(to).expect("connect");
            stream.write_all(HELLO).expect("write");
            if by == Direction::ToServer {
                // It goes when the other side has read all.
                stream.read_exact(&mut [0]).expect("read");
                reset(&stream);
            } else {
                stream.read_exact(&mut [0]).expect("read");
                assert!(stream.read(&mut [0]).is_err(), "the connection is reset");
            }
        });
        let (mut accepted, _) = listener.accept().expect("accept");
        std::io::Read::read_exact(&mut accepted, &mut vec![0; HELLO.len()]).expect("read");
        std::io::Write::write_all(&mut accepted, b"x").expect("write");
        if by == Direction::ToClient {
            reset(&accepted);
            drop(accepted);
            client.join().expect("client");
        } else {
            client.join().expect("client");
        }
        let events = collect_closed(&mut source);
        let Some(Event::Closed { cause, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(*cause, hopsight_core::model::CloseCause::ResetBy(by), "{name}");
    }
}

#[test]
fn a_hello_sent_byte_by_byte_has_the_large_budget() {
    if !privileged("a_hello_sent_byte_by_byte_has_the_large_budget") {
        return;
    }
    let name = "hs-dribble";
    let mut source = start(options(name));
    let (listener, to) = listen("127.0.0.1");
    let hello = pattern(HELLO, 5000);
    let turns = vec![hello[..1].to_vec(), b"x".to_vec(), hello[1..].to_vec()];
    converse(name, listener, to, &turns);
    let events = collect_closed(&mut source);
    assert_eq!(ranges(&events, Direction::ToServer), (vec![(0, 5000)], false));
}

#[test]
fn done_ends_the_segments_but_not_the_close() {
    if !privileged("done_ends_the_segments_but_not_the_close") {
        return;
    }
    let name = "hs-done";
    let mut source = start(options(name));
    let (listener, to) = listen("127.0.0.1");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let client = crate::harness::as_thread(name, move || {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(to).expect("connect");
        stream.write_all(HELLO).expect("write");
        wait.recv().expect("go on");
        for _ in 0..10 {
            stream.write_all(b"more").expect("write");
        }
    });
    let (accepted, _) = listener.accept().expect("accept");
    let before = collect_until(&mut source, |events| {
        events.iter().any(|e| matches!(e, Event::Segment { .. }))
    });
    source.done(connection_of(&before[0]));
    let received = |source: &hopsight_capture::LiveSource| -> u64 {
        source.stats().read().received.iter().map(|(_, n)| n).sum()
    };
    let until_done = received(&source);
    go_on.send(()).expect("the client waits");
    client.join().expect("client");
    drop(accepted);
    let after = collect_closed(&mut source);
    assert!(matches!(after[..], [Event::Closed { .. }]), "{after:?}");
    assert_eq!(received(&source), until_done + 1);
}

#[test]
fn a_full_ring_is_counted_and_told() {
    if !privileged("a_full_ring_is_counted_and_told") {
        return;
    }
    let name = "hs-full-ring";
    let mut options = options(name);
    options.load.ring_bytes = 32_768;
    options.load.handshake_budget = 1 << 20;
    let mut source = start(options);
    let (listener, to) = listen("127.0.0.1");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let client = crate::harness::as_thread(name, move || {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(to).expect("connect");
        stream.write_all(&pattern(HELLO, 100_000)).expect("write");
        wait.recv().expect("go on");
    });
    let (mut accepted, _) = listener.accept().expect("accept");
    let mut all = vec![0; 100_000];
    std::io::Read::read_exact(&mut accepted, &mut all).expect("everything arrives");
    let before = collect_for(&mut source, Duration::from_millis(200));
    assert!(!before.iter().any(|e| matches!(e, Event::Lost { .. })), "nothing to carry it yet");
    go_on.send(()).expect("the client waits");
    client.join().expect("client");
    let after = collect_closed(&mut source);
    assert!(matches!(after.first(), Some(Event::Lost { .. })), "{after:?}");
    assert_eq!(after.iter().filter(|e| matches!(e, Event::Lost { .. })).count(), 1, "told once");
    let stats = source.stats().read();
    let lost = stats
        .lost
        .iter()
        .find(|loss| (loss.kind, loss.reason) == ("segment", "ring_full"))
        .map(|loss| loss.count);
    assert!(lost.is_some_and(|n| n > 0), "{stats:?}");
}

#[test]
fn what_a_full_ring_loses_is_counted_exactly() {
    if !privileged("what_a_full_ring_loses_is_counted_exactly") {
        return;
    }
    let name = "hs-exact";
    let [mut small, mut large] = [32_768, 4 << 20].map(|ring_bytes| {
        let mut options = options(name);
        options.load.ring_bytes = ring_bytes;
        options.load.handshake_budget = 1 << 20;
        start(options)
    });
    let (listener, to) = listen("127.0.0.1");
    // Nobody reads either ring meanwhile. Each turn is a segment, and a record small enough for one
    // chunk.
    let turns = (0..1000).map(|_| pattern(HELLO, 100)).collect();
    converse(name, listener, to, &turns);
    collect_closed(&mut large);
    collect_for(&mut small, Duration::from_millis(300));
    let sum = |counts: &[(&'static str, u64)]| counts.iter().map(|(_, n)| n).sum::<u64>();
    let [small, large] = [small.stats().read(), large.stats().read()];
    let lost = |stats: &CaptureStats| stats.lost.iter().map(|loss| loss.count).sum::<u64>();
    assert_eq!(lost(&large), 0, "{large:?}");
    assert!(lost(&small) > 0, "{small:?}");
    assert_eq!(sum(&small.received) + lost(&small), sum(&large.received));
}

use std::net::SocketAddr;

use super::{super::packet::Layer, *};

const CLIENT: &str = "10.0.0.1:1000";
const SERVER: &str = "10.0.0.2:443";

/// A segment as a sender makes it: `flags` are letters of SYN, ACK, FIN and RST.
fn segment<'a>(from: &str, flags: &str, numbers: (u32, u32), payload: &'a [u8]) -> TcpSegment<'a> {
    let to = if from == CLIENT { SERVER } else { CLIENT };
    let has = |letter| flags.contains(letter);
    TcpSegment {
        path: Path::default(),
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        sequence: numbers.0,
        acknowledged: numbers.1,
        syn: has('S'),
        ack: has('A'),
        fin: has('F'),
        rst: has('R'),
        payload_len: u32::try_from(payload.len()).unwrap(),
        payload,
    }
}

fn inside(layer: Layer, mut segment: TcpSegment<'_>) -> TcpSegment<'_> {
    segment.path.enter(layer);
    segment
}

fn events(segments: Vec<TcpSegment<'_>>) -> Vec<Event> {
    let mut tracker = TcpTracker::default();
    let mut out = Vec::new();
    for (at, segment) in (1..).zip(segments) {
        tracker.segment(Timestamp(at), segment, &mut out);
    }
    tracker.end(Timestamp(1_000), &mut out);
    out
}

/// Connections opened, connections closed, payload bytes.
fn summary(events: &[Event]) -> (usize, usize, usize) {
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    let payload = events.iter().map(|event| match event {
        Event::Segment { bytes, .. } => bytes.len(),
        _ => 0,
    });
    (
        count(|event| matches!(event, Event::Opened { .. })),
        count(|event| matches!(event, Event::Closed { .. })),
        payload.sum(),
    )
}

/// A connection from its opening to the acknowledgement of both its ends.
fn whole() -> Vec<TcpSegment<'static>> {
    vec![
        segment(CLIENT, "S", (10, 0), b""),
        segment(SERVER, "SA", (90, 11), b""),
        segment(CLIENT, "A", (11, 91), b""),
        segment(CLIENT, "A", (11, 91), b"hello"),
        segment(SERVER, "A", (91, 16), b"world!"),
        segment(CLIENT, "FA", (16, 97), b""),
        segment(SERVER, "FA", (97, 17), b""),
        segment(CLIENT, "A", (17, 98), b""),
    ]
}

#[test]
fn one_connection_stays_one() {
    for (name, more, expected) in [
        ("nothing more", vec![], (1, 1, 11)),
        ("payload and end repeated", vec![segment(SERVER, "FA", (91, 17), b"world!")], (1, 1, 11)),
        ("payload repeated", vec![segment(CLIENT, "A", (11, 91), b"hello")], (1, 1, 11)),
        ("a keep-alive", vec![segment(SERVER, "A", (96, 17), b"!")], (1, 1, 11)),
        ("the opening repeated", vec![segment(CLIENT, "S", (10, 0), b"")], (1, 1, 11)),
        ("the answer repeated", vec![segment(SERVER, "SA", (90, 11), b"")], (1, 1, 11)),
        ("a reset", vec![segment(CLIENT, "R", (17, 0), b"")], (1, 1, 11)),
        ("another opening", vec![segment(CLIENT, "S", (5_000, 0), b"")], (2, 1, 11)),
        (
            "another connection, joined later",
            vec![segment(CLIENT, "A", (2_000_000_000, 7), b"more")],
            (2, 1, 15),
        ),
    ] {
        let segments = whole().into_iter().chain(more).collect();
        assert_eq!(summary(&events(segments)), expected, "{name}");
    }
}

#[test]
fn what_was_missing_at_the_end_still_comes() {
    // The server's answer was lost on its way, its end was not.
    let mut segments = whole();
    let lost = segments.remove(4);
    let acknowledgement = segments.pop().unwrap();
    segments[5].acknowledged = 17;
    segments.extend([segment(CLIENT, "A", (17, 91), b""), lost, acknowledgement]);
    let events = events(segments);
    assert_eq!(summary(&events), (1, 1, 11));
    assert!(matches!(events.last(), Some(Event::Closed { at: Timestamp(9), .. })));
}

#[test]
fn ends_that_nobody_acknowledged_close_at_the_end() {
    let mut segments = whole();
    segments.pop();
    let events = events(segments);
    let closed = Event::Closed {
        connection: ConnectionId(1),
        at: Timestamp(1_000),
        cause: CloseCause::Closed,
    };
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn bytes_behind_a_reset_are_no_connection() {
    let segments = vec![
        segment(CLIENT, "S", (10, 0), b""),
        segment(SERVER, "SA", (90, 11), b""),
        segment(CLIENT, "A", (11, 91), b"hello"),
        segment(CLIENT, "R", (16, 0), b""),
        segment(SERVER, "A", (91, 16), b"late"),
        segment(SERVER, "A", (95, 16), b"later"),
    ];
    assert_eq!(summary(&events(segments)), (1, 1, 5));
}

#[test]
fn a_reset_counts_inside_of_the_window_only() {
    const FAR: u32 = 1 << 20;
    for (name, resets, payload) in [
        ("the next number of the client", vec![segment(CLIENT, "R", (16, 0), b"")], 5),
        ("the next number of the server", vec![segment(SERVER, "RA", (91, 16), b"")], 5),
        ("after bytes that were not captured", vec![segment(CLIENT, "R", (1_400, 0), b"")], 5),
        ("far ahead, client", vec![segment(CLIENT, "R", (16 + FAR, 0), b"")], 9),
        ("far ahead, server", vec![segment(SERVER, "RA", (91 + FAR, 16), b"")], 9),
        ("far behind", vec![segment(SERVER, "R", (91_u32.wrapping_sub(FAR), 0), b"")], 9),
        (
            "far ahead, then the next number",
            vec![segment(CLIENT, "R", (16 + FAR, 0), b""), segment(CLIENT, "R", (16, 0), b"")],
            5,
        ),
    ] {
        let mut segments = vec![
            segment(CLIENT, "S", (10, 0), b""),
            segment(SERVER, "SA", (90, 11), b""),
            segment(CLIENT, "A", (11, 91), b"hello"),
        ];
        segments.extend(resets);
        segments.push(segment(SERVER, "A", (91, 16), b"more"));
        let closed = usize::from(payload == 5);
        assert_eq!(summary(&events(segments)), (1, closed, payload), "{name}");
    }
    // A refused SYN: nothing of the server was seen.
    let refused = vec![segment(CLIENT, "S", (10, 0), b""), segment(SERVER, "RA", (0, 11), b"")];
    assert_eq!(summary(&events(refused)), (1, 1, 0));
}

#[test]
fn equal_addresses_in_different_tunnels_are_different_connections() {
    let other = Layer::Vxlan(2);
    for (name, layer) in [
        ("two networks", Some(Layer::Vxlan(1))),
        ("a network and the open", None),
        ("a VLAN", Some(Layer::Vlan(2))),
    ] {
        let mut segments = Vec::new();
        for segment in whole() {
            segments.push(inside(other, segment.clone()));
            segments.push(layer.map_or(segment.clone(), |layer| inside(layer, segment)));
        }
        let events = events(segments);
        assert_eq!(summary(&events), (2, 2, 22), "{name}");
        let tunnels: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Inside { tunnel, .. } => Some(&**tunnel),
                _ => None,
            })
            .collect();
        assert_eq!(tunnels.len(), 1 + usize::from(layer.is_some()), "{name}: {tunnels:?}");
        assert_eq!(tunnels[0], "vxlan:2", "{name}");
    }
}

#[test]
fn directions_may_come_by_different_ways() {
    let tagged = |from, layer: Option<Layer>| {
        move |segment: TcpSegment<'static>| {
            let is_tagged = segment.source == str::parse::<SocketAddr>(from).unwrap();
            match layer {
                Some(layer) if is_tagged => inside(layer, segment),
                _ => segment,
            }
        }
    };
    for (name, from, layer) in [
        ("the client's in a VLAN", CLIENT, Layer::Vlan(7)),
        ("the server's in a VLAN", SERVER, Layer::Vlan(7)),
        ("the server's in another network", SERVER, Layer::Vxlan(9)),
    ] {
        let repeated = segment(SERVER, "A", (91, 16), b"world!");
        let segments = whole().into_iter().chain([repeated]).map(tagged(from, Some(layer)));
        assert_eq!(summary(&events(segments.collect())), (1, 1, 11), "{name}");
    }
    // The answer acknowledges another opening: these are two connections.
    let other = inside(Layer::Vlan(7), segment(SERVER, "SA", (90, 500), b""));
    let segments = vec![segment(CLIENT, "S", (10, 0), b""), other];
    assert_eq!(summary(&events(segments)), (2, 0, 0));
}

#[test]
fn segments_that_say_nothing_are_counted() {
    let mut tracker = TcpTracker::default();
    let mut out = Vec::new();
    for flags in ["A", "FA", "RA"] {
        tracker.segment(Timestamp(1), segment(CLIENT, flags, (1, 1), b""), &mut out);
    }
    assert_eq!((tracker.silent(), out.len()), (3, 0));
}

#[test]
fn packets_out_of_order_do_not_open_twice() {
    let mut segments = whole();
    segments.swap(0, 3);
    assert_eq!(summary(&events(segments)).0, 1);
}

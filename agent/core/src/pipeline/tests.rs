use super::*;
use crate::model::{Beginning, Direction, Origin};

fn open(pipeline: &mut Pipeline, connection: u64, updates: &mut Vec<Update>) {
    let opened = Event::Opened {
        connection: ConnectionId(connection),
        at: Timestamp(connection),
        origin: Origin::PacketCapture,
        destination: ([10, 0, 0, 1], 443).into(),
        beginning: Beginning::Seen,
    };
    pipeline.handle(opened, updates);
}

fn close(pipeline: &mut Pipeline, connection: u64, updates: &mut Vec<Update>) {
    let (at, cause) = (Timestamp(connection), CloseCause::Closed);
    pipeline.handle(Event::Closed { connection: ConnectionId(connection), at, cause }, updates);
}

#[test]
fn one_silent_connection_does_not_hold_the_memory_of_those_after_it() {
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    open(&mut pipeline, 0, &mut updates);
    for connection in 1..20_000 {
        open(&mut pipeline, connection, &mut updates);
        close(&mut pipeline, connection, &mut updates);
        pipeline.tick(Timestamp(connection), &mut updates);
        updates.clear();
    }
    assert_eq!(pipeline.tracked(), 1);
    assert!(pipeline.order.len() <= 2 + ORDER_SLACK, "{} kept", pipeline.order.len());
}

#[test]
fn a_full_table_gives_up_the_oldest_as_evicted() {
    let mut pipeline = Pipeline::new(Limits { max_connections: 3, ..Limits::default() });
    let mut updates = Vec::new();
    for connection in 0..5 {
        open(&mut pipeline, connection, &mut updates);
    }
    let evicted: Vec<_> = updates
        .iter()
        .filter_map(|update| match update {
            Update::Report { report, .. } => Some((report.connection.0, report.verdict.reason)),
            Update::Done(_) => None,
        })
        .collect();
    assert_eq!(evicted, [(0, Some(Reason::Evicted)), (1, Some(Reason::Evicted))]);
    assert_eq!((pipeline.tracked(), pipeline.counters().evicted.of(Eviction::TableFull)), (3, 2));
}

#[test]
fn the_bytes_of_all_streams_together_are_bounded() {
    let max_stream_bytes = 1 << 20;
    let mut pipeline = Pipeline::new(Limits { max_stream_bytes, ..Limits::default() });
    let mut updates = Vec::new();
    // Handshakes that never end: records are announced and filled with a message that goes on.
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff, 3, 3];
    hello.resize(16_000, 7);
    for connection in 0..1000 {
        open(&mut pipeline, connection, &mut updates);
        let segment = Event::Segment {
            connection: ConnectionId(connection),
            at: Timestamp(connection),
            direction: Direction::ToServer,
            offset: 0,
            payload_len: 16_000,
            acked: None,
            bytes: hello.clone(),
        };
        pipeline.handle(segment, &mut updates);
        assert!(pipeline.stream_bytes() <= max_stream_bytes);
    }
    let said = |reason| {
        let is = |update: &&Update| matches!(update, Update::Report { report, .. } if report.verdict.reason == Some(reason));
        updates.iter().filter(is).count() as u64
    };
    assert!(pipeline.tracked() > 10, "{} tracked", pipeline.tracked());
    let evicted = pipeline.counters().evicted.of(Eviction::Memory);
    assert_eq!(evicted + pipeline.tracked() as u64, 1000);
    assert_eq!(said(Reason::Evicted), evicted);
    pipeline.finish(Timestamp(2000), &mut updates);
    assert_eq!(pipeline.stream_bytes(), 0);
}

#[test]
fn little_is_kept_of_a_connection() {
    let kept = size_of::<Entry>() + size_of::<crate::tls::wire::WireHandshake>();
    assert!(kept <= 850, "{kept} bytes, without what is on the heap");
    // Of a TLS 1.3 handshake that goes on.
    let encrypted = kept + size_of::<crate::tls::flights::Flights>();
    assert!(encrypted <= 1152, "{encrypted} bytes");
}

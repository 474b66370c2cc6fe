//! What the core spends its time on, as one table: criterion times these cases, and the program
//! `instructions` runs them where instructions are counted.

use std::{hint::black_box, net::SocketAddr};

use hopsight_core::{
    model::{ConnectionId, Direction, Event, Timestamp},
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
    stream::reassembly::Stream,
    tls::{
        certificate,
        flights::{Flights, HelloFacts},
        hello::{ClientHello, ServerHello},
        records::{RecordHeader, RecordReader},
        wire::WireHandshake,
    },
};
use hopsight_posture::hops::{
    moment::Moment,
    table::{HopLimits, HopTable},
};

use crate::recorded::{
    Script,
    events::{Setting, connection},
    script, scripts,
};

/// Hops in the tables of the cases that have one.
const HOPS: u16 = 100;
/// Payload bytes of a full TCP segment.
const MSS: u32 = 1448;

/// A prepared case: each call does it once.
pub type Run = Box<dyn FnMut()>;

/// A name, and what prepares the case.
type Case = (&'static str, fn() -> Run);

/// Every case.
pub const ALL: [Case; 11] = [
    ("client_hello", client_hello),
    ("server_hello", server_hello),
    ("certificate", certificate),
    ("records", records),
    ("reassembly_in_order", reassembly_in_order),
    ("flights", flights),
    ("handshake_tls12", || handshake(&recorded("tls12"))),
    ("handshake_mtls12", || handshake(&recorded("mtls12"))),
    ("handshake_mtls13", || handshake(&recorded("mtls13"))),
    ("handshakes_recorded", handshakes),
    ("hop_lookup", hop_lookup),
];

fn recorded(name: &str) -> Script {
    script(name).expect("a recording of this name")
}

/// Client and server flights in the record lengths of widespread stacks (SHA-256), with the first
/// application records, then the answer. Positive lengths go to the server, negative to the client.
const FLIGHTS: [&[i32]; 8] = [
    &[-23, -968, -95, -53, 53, 97, -266],
    &[-23, -115, -968, -95, -53, 25, 53, 97, -266],
    &[-23, -115, -968, -95, -53, 967, 96, 53, 97, -746],
    &[-640, 53, 97, -179],
    &[-725, 61, 97, -179],
    &[-725, 630, 412, -179],
    &[-65, -532, -112, -69, 69, 113, -776],
    &[-32, -48, -528, -96, -64, 528, 96, 64, 112, -160],
];

/// The first message of this direction, after the headers of record and message.
fn first_message(direction: Direction) -> Vec<u8> {
    let said = recorded("tls13").said.into_iter().find(|(sender, _)| *sender == direction);
    let (_, bytes) = said.expect("both sides speak");
    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    bytes[9..5 + length].to_vec()
}

fn client_hello() -> Run {
    let body = first_message(Direction::ToServer);
    Box::new(move || {
        black_box(ClientHello::parse(black_box(&body)).expect("a ClientHello"));
    })
}

fn server_hello() -> Run {
    let body = first_message(Direction::ToClient);
    Box::new(move || {
        black_box(ServerHello::parse(black_box(&body)).expect("a ServerHello"));
    })
}

fn certificate() -> Run {
    let mut wire = WireHandshake::default();
    for (direction, bytes) in &recorded("mtls12").said {
        wire.push(*direction, bytes);
    }
    let chain = wire.facts().server_certificate.clone().expect("a certificate in the clear");
    Box::new(move || {
        black_box(certificate::facts(black_box(&chain)).expect("X.509"));
    })
}

fn flights() -> Run {
    let facts = HelloFacts::for_cipher(0x1301).expect("TLS_AES_128_GCM_SHA256");
    Box::new(move || {
        for lengths in FLIGHTS {
            black_box(classify(facts, black_box(lengths)));
        }
    })
}

fn classify(facts: HelloFacts, lengths: &[i32]) -> Flights {
    let mut flights = Flights::new(facts);
    for &signed in lengths {
        let direction = if signed > 0 { Direction::ToServer } else { Direction::ToClient };
        let length = u16::try_from(signed.unsigned_abs()).unwrap_or(u16::MAX);
        flights.on_record(direction, 23, length);
        if flights.is_settled() {
            break;
        }
    }
    flights
}

fn records() -> Run {
    let said = recorded("mtls12").said;
    let bytes: Vec<u8> = said.into_iter().flat_map(|(_, bytes)| bytes).collect();
    Box::new(move || {
        let mut reader = RecordReader::default();
        let mut rest = black_box(bytes.as_slice());
        while let Ok(Some(header)) = RecordHeader::parse(rest) {
            reader.begin(header, &mut rest);
            black_box(reader.read(&mut rest));
        }
    })
}

/// 44 full segments, which is almost 64 KiB.
fn segments() -> Vec<(u32, Vec<u8>)> {
    (0..44).map(|n| (n * MSS, vec![0xa5; MSS as usize])).collect()
}

fn reassembly_in_order() -> Run {
    let segments = segments();
    Box::new(move || {
        let mut stream = Stream::new(64 * 1024, 64 * 1024);
        for (offset, bytes) in &segments {
            stream.push(*offset, MSS, bytes);
        }
        assert_eq!(stream.end(), segments.len() as u64 * u64::from(MSS));
    })
}

fn setting(number: u16) -> Setting {
    let [high, low] = number.to_be_bytes();
    Setting {
        connection: ConnectionId(u64::from(number)),
        at: Timestamp(1_000_000_000 + u64::from(number) * 1_000_000),
        proxy: "nginx".into(),
        upstream: SocketAddr::from(([10, 1, high, low], 443)),
    }
}

/// A whole connection through the pipeline.
fn handshake(script: &Script) -> Run {
    through_pipeline(vec![connection(script, &setting(1))])
}

/// Every recorded connection, one after the other.
fn handshakes() -> Run {
    let scripts = scripts().expect("the recordings");
    let settings = (1..).map(setting);
    through_pipeline(scripts.iter().zip(settings).map(|(s, at)| connection(s, &at)).collect())
}

fn through_pipeline(connections: Vec<Vec<Event>>) -> Run {
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    Box::new(move || {
        for event in connections.iter().flatten() {
            pipeline.handle(event.clone(), &mut updates);
        }
        assert!(updates.len() >= connections.len(), "a report each");
        updates.clear();
    })
}

/// A final report of each of [`HOPS`] hops.
fn reports() -> Vec<ConnectionReport> {
    let script = recorded("mtls12");
    let report = |number| {
        let mut pipeline = Pipeline::new(Limits::default());
        let mut updates = Vec::new();
        for event in connection(&script, &setting(number)) {
            pipeline.handle(event, &mut updates);
        }
        let report = updates.into_iter().rev().find_map(|update| match update {
            Update::Report { report, .. } if report.is_final => Some(*report),
            _ => None,
        });
        report.expect("a final report")
    };
    (0..HOPS).map(report).collect()
}

fn moment(second: u32) -> Moment {
    let monotonic = Timestamp(u64::from(second) * 1_000_000_000);
    Moment { unix_seconds: second.into(), monotonic }
}

fn hop_lookup() -> Run {
    let reports = reports();
    let mut table = HopTable::new(HopLimits::default());
    for report in &reports {
        table.record(report, moment(0));
    }
    let mut next = 0;
    Box::new(move || {
        table.record(black_box(&reports[next % reports.len()]), moment(1));
        next += 1;
    })
}

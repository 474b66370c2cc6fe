//! What the core spends its time on, as one table: criterion times these cases, and the example
//! `instructions` runs them where instructions are counted.

use std::{collections::BTreeMap, hint::black_box, net::SocketAddr};

use hopsight::{
    export::{
        Exporter,
        hops::{HopLimits, HopTable},
    },
    flow::reassembly::Stream,
    model::{Direction, Event, FlowId, Timestamp},
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
    tls::{
        certificate,
        flights::{Flights, HelloFacts},
        hello::{ClientHello, ServerHello},
        records::RecordReader,
        wire::WireHandshake,
    },
};

use crate::{
    events::{Setting, connection},
    recorded::Script,
};

/// Hops in the tables of the cases that have one.
const HOPS: u16 = 1000;
/// Payload bytes of a full TCP segment.
const MSS: usize = 1448;

/// Something that is measured.
pub struct Case {
    /// What one run is.
    pub name: &'static str,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

fn case(name: &'static str, run: impl FnMut() + 'static) -> Case {
    Case { name, run: Box::new(run) }
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

/// All cases, over the recorded connections `scripts`.
///
/// # Panics
/// If a recording is missing that a case is about.
#[must_use]
pub fn all(scripts: &[Script]) -> Vec<Case> {
    let named: BTreeMap<&str, &Script> = scripts.iter().map(|s| (s.name.as_str(), s)).collect();
    let mut cases = Vec::from(message_cases(named["mtls12"], named["tls13"]));
    cases.extend(stream_cases(named["mtls12"]));
    cases.extend(
        [("handshake_tls12", "tls12"), ("handshake_mtls12", "mtls12"), ("handshake_mtls13", "mtls13")]
            .map(|(name, script)| handshake(name, named[script])),
    );
    cases.extend(table_cases(named["mtls12"]));
    cases
}

fn message_cases(mtls12: &Script, tls13: &Script) -> [Case; 4] {
    // Behind the headers of record and message.
    let body = |direction: Direction| {
        let said = tls13.said.iter().find(|(sender, _)| *sender == direction);
        said.map(|(_, bytes)| bytes[9..].to_vec()).expect("both sides speak")
    };
    let client_hello = body(Direction::ToServer);
    let server_hello = {
        let bytes = body(Direction::ToClient);
        // The record holds nothing else: type, version, random, session id, cipher, extensions.
        let length = 2 + 32 + 1 + usize::from(bytes[34]) + 3;
        let extensions = usize::from(u16::from_be_bytes([bytes[length], bytes[length + 1]]));
        bytes[..length + 2 + extensions].to_vec()
    };
    ClientHello::parse(&client_hello).expect("a ClientHello");
    ServerHello::parse(&server_hello).expect("a ServerHello");
    let mut wire = WireHandshake::default();
    for (direction, bytes) in &mtls12.said {
        wire.push(*direction, bytes);
    }
    let chain = wire.facts().server_certificate.clone().expect("a certificate in clear");
    certificate::facts(&chain).expect("X.509");
    [
        case("client_hello", move || {
            let _ = black_box(ClientHello::parse(black_box(&client_hello)));
        }),
        case("server_hello", move || {
            let _ = black_box(ServerHello::parse(black_box(&server_hello)));
        }),
        case("certificate", move || {
            let _ = black_box(certificate::facts(black_box(&chain)));
        }),
        case("flights", {
            let facts = HelloFacts::for_cipher(0x1301).expect("TLS_AES_128_GCM_SHA256");
            move || {
                for lengths in FLIGHTS {
                    black_box(classify(facts, black_box(lengths)));
                }
            }
        }),
    ]
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

fn stream_cases(mtls12: &Script) -> [Case; 3] {
    let records: Vec<u8> = mtls12.said.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let segments: Vec<(u32, Vec<u8>)> =
        (0_u32..44).map(|n| (n * MSS as u32, vec![0xa5; MSS])).collect();
    let backwards: Vec<_> = segments.iter().rev().cloned().collect();
    let reassemble = |segments: Vec<(u32, Vec<u8>)>| {
        move || {
            let mut stream = Stream::new(64 * 1024, 64 * 1024);
            for (offset, bytes) in &segments {
                stream.push(*offset, MSS as u32, bytes);
            }
            assert_eq!(stream.take().len(), segments.len() * MSS);
        }
    };
    [
        case("records", move || {
            let mut reader = RecordReader::default();
            reader.extend(black_box(&records));
            while let Ok(Some(header)) = reader.peek() {
                reader.begin(header);
                black_box(reader.read());
            }
        }),
        case("reassembly_in_order", reassemble(segments)),
        case("reassembly_backwards", reassemble(backwards)),
    ]
}

fn setting(number: u16) -> Setting {
    Setting {
        flow: FlowId(u64::from(number)),
        at: Timestamp(1_000_000_000 + u64::from(number) * 1_000_000),
        proxy: "nginx".into(),
        upstream: SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 443)),
    }
}

/// A whole connection through the pipeline.
fn handshake(name: &'static str, script: &Script) -> Case {
    let events = connection(script, &setting(1));
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    case(name, move || {
        run(&mut pipeline, &events, &mut updates);
        assert!(!updates.is_empty(), "a report");
        updates.clear();
    })
}

fn run(pipeline: &mut Pipeline, events: &[Event], updates: &mut Vec<Update>) {
    for event in events {
        pipeline.handle(event.clone(), updates);
    }
}

fn table_cases(script: &Script) -> [Case; 2] {
    let reports: Vec<ConnectionReport> = (0..HOPS)
        .map(|number| {
            let mut updates = Vec::new();
            let mut pipeline = Pipeline::new(Limits::default());
            run(&mut pipeline, &connection(script, &setting(number)), &mut updates);
            let reports = updates.into_iter().rev().find_map(|update| match update {
                Update::Report { report, .. } if report.is_final => Some(*report),
                _ => None,
            });
            reports.expect("a final report")
        })
        .collect();
    let exporter = Exporter::new(HopLimits::default());
    let mut table = HopTable::new(HopLimits::default());
    for report in &reports {
        exporter.record(report);
        table.record(report, 0.0);
    }
    let mut next = 0;
    [
        case("hop_lookup", move || {
            table.record(black_box(&reports[next % reports.len()]), 1.0);
            next += 1;
        }),
        case("metrics_of_1000_hops", move || {
            black_box(exporter.gather().expect("text"));
        }),
    ]
}

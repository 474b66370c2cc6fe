//! How many TLS 1.3 handshakes per second one core can classify from their record lengths.

use std::{array, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hopsight::{
    model::{ClientAuth, Direction, Outcome},
    tls::flights::{Flights, HelloFacts},
};

/// Handshakes per measured pass.
const HANDSHAKES: usize = 1024;

/// Client and server flights in the lengths of widespread stacks (SHA-256), with the first
/// application records, then the answer.
const SHAPES: [(&[i32], ClientAuth); 8] = [
    (&[-23, -968, -95, -53, 53, 97, -266], ClientAuth::NotRequested),
    (&[-23, -115, -968, -95, -53, 25, 53, 97, -266], ClientAuth::RequestedNotPresented),
    (&[-23, -115, -968, -95, -53, 967, 96, 53, 97, -746], ClientAuth::Presented),
    (&[-640, 53, 97, -179], ClientAuth::NotRequested),
    (&[-725, 61, 97, -179], ClientAuth::RequestedNotPresented),
    (&[-725, 630, 412, -179], ClientAuth::Presented),
    (&[-65, -532, -112, -69, 69, 113, -776], ClientAuth::NotRequested),
    (&[-32, -48, -528, -96, -64, 528, 96, 64, 112, -160], ClientAuth::Presented),
];

/// One record: positive lengths go to the server, negative ones to the client.
fn record(signed: i32) -> (Direction, u16) {
    let direction = if signed > 0 { Direction::ToServer } else { Direction::ToClient };
    (direction, u16::try_from(signed.unsigned_abs()).expect("a record length"))
}

fn classify(facts: HelloFacts, records: &[(Direction, u16)]) -> Flights {
    let mut flights = Flights::new(facts);
    for &(direction, length) in records {
        flights.on_record(direction, 23, length);
        if flights.is_settled() {
            break;
        }
    }
    flights
}

fn bench(criterion: &mut Criterion) {
    let facts = HelloFacts::for_cipher(0x1301).expect("TLS_AES_128_GCM_SHA256");
    let shapes: [Vec<(Direction, u16)>; SHAPES.len()] =
        array::from_fn(|n| SHAPES[n].0.iter().copied().map(record).collect());
    for (records, (_, expected)) in shapes.iter().zip(SHAPES) {
        let flights = classify(facts, records);
        assert_eq!(flights.verdict().client_auth(), expected);
        assert_eq!(flights.outcome(), Outcome::Established);
    }

    let mut group = criterion.benchmark_group("flights");
    group.throughput(Throughput::Elements(HANDSHAKES as u64));
    group.bench_function("handshakes", |bencher| {
        bencher.iter(|| {
            for n in 0..HANDSHAKES {
                black_box(classify(facts, black_box(&shapes[n % SHAPES.len()])));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

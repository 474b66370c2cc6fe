//! Cut anywhere and interleaved in any way, a connection's records never give two answers.

use hopsight_core::{
    model::{ClientAuth, Direction, Outcome},
    tls::flights::{FlightVerdict, Flights, HelloFacts},
};

use hopsight_tools::flights::{Row, Step, feed};

use crate::{RECORDINGS, random::Random};

/// Random interleavings tried per connection.
const MERGES: u64 = 8;

#[test]
fn every_prefix_of_every_interleaving_agrees() {
    for (name, rows) in RECORDINGS.iter() {
        let mut prefixes = 0;
        for row in rows {
            let Some(facts) = row.facts else { continue };
            let settled = row.classify().map_or(FlightVerdict::Pending, |f| f.verdict());
            prefixes += check(facts, row, &row.steps, settled);
            for order in interleavings(row) {
                prefixes += check(facts, row, &order, settled);
            }
        }
        println!("{name}: {prefixes} prefixes");
        assert!(prefixes > 0);
    }
}

/// Feeds the steps one by one. After each, and if the capture stopped there, the answer is the
/// settled one or open; where the settled one is open, it contradicts no truth.
fn check(facts: HelloFacts, row: &Row, steps: &[Step], settled: FlightVerdict) -> usize {
    let mut flights = Flights::new(facts);
    let mut said = ClientAuth::Unknown;
    for &step in steps {
        feed(&mut flights, step);
        let mut cut = flights.clone();
        cut.finish();
        for verdict in [flights.verdict(), cut.verdict()] {
            let [now, finally] = [verdict.client_auth(), settled.client_auth()];
            assert!(
                now == ClientAuth::Unknown || finally == ClientAuth::Unknown || now == finally,
                "line {}: {now} after {step:?}, then {finally}: {steps:?}",
                row.line
            );
            assert!(!row.truth.is_contradicted_by(verdict, Outcome::Incomplete));
        }
        let now = flights.verdict().client_auth();
        assert!(said == ClientAuth::Unknown || said == now, "line {}: {said} changed", row.line);
        said = now;
    }
    steps.len()
}

/// The client's steps before the server's, the other way round, and random merges, each direction
/// in its own order.
fn interleavings(row: &Row) -> impl Iterator<Item = Vec<Step>> {
    let of = |direction| -> Vec<Step> {
        row.steps.iter().copied().filter(|&step| direction_of(step) == direction).collect()
    };
    let (client, server) = (of(Direction::ToServer), of(Direction::ToClient));
    let line = row.line as u64;
    let fixed = [[&client[..], &server[..]].concat(), [&server[..], &client[..]].concat()];
    let merges = (0..MERGES).map(move |n| {
        let mut random = Random::new(line * MERGES + n);
        let (mut client, mut server) = (client.iter().copied(), server.iter().copied());
        // Merges that prefer one direction shift it ahead of the other.
        let weight = random.below(10) + 1;
        let mut merged = Vec::with_capacity(row.steps.len());
        loop {
            let next = if random.below(11) < weight {
                client.next().or_else(|| server.next())
            } else {
                server.next().or_else(|| client.next())
            };
            match next {
                Some(step) => merged.push(step),
                None => break merged,
            }
        }
    });
    fixed.into_iter().chain(merges)
}

const fn direction_of(step: Step) -> Direction {
    match step {
        Step::Record(direction, ..) | Step::Close(direction) => direction,
    }
}

//! Recorded connections whose client is made to pad its records in ways no known stack does.
//!
//! Whatever the padding, a client that sent no certificate must not be said to have sent one. And a
//! client that was asked must not be said not to have been, unless padding gave its first record
//! exactly the length of another stack's Finished and the server's flight shows nothing.

use std::{collections::BTreeMap, mem, sync::LazyLock};

use hopsight_core::{
    model::{ClientAuth, Direction},
    tls::flights::{Confidence, FlightVerdict, Rule},
};

use hopsight_tools::flights::{Row, Step, Truth};

use crate::{RECORDINGS, random::Random};

/// Content type of encrypted records.
const ENCRYPTED: u8 = 23;
/// Longest inner plaintext: 2^14 bytes and a content type.
const LONGEST_INNER: u16 = (1 << 14) + 1;

/// Which of the client's records are padded.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Everything,
    Handshake,
}

/// What became of the answers.
#[derive(Debug, Default)]
struct Tally {
    /// Rows by truth and answer.
    answers: BTreeMap<(&'static str, ClientAuth), usize>,
    /// A certificate where there was none.
    false_certificates: Vec<String>,
    /// No request where there was one, and no excuse.
    false_one_way: Vec<String>,
    /// No request where there was one, because the padded record is a Finished to the byte.
    impersonations: usize,
}

/// A recorded full handshake that is read as it stands.
struct Sample<'a> {
    row: &'a Row,
    verdict: FlightVerdict,
    /// Records of the client's flight.
    flight: u8,
}

static SAMPLES: LazyLock<Vec<(&str, Vec<Sample<'_>>)>> = LazyLock::new(|| {
    let sample = |row| match Row::classify(row)?.verdict() {
        verdict @ FlightVerdict::Decided { client_flight_end: flight, .. } => {
            row.is_plain().then_some(Sample { row, verdict, flight })
        }
        _ => None,
    };
    RECORDINGS
        .iter()
        .map(|(name, rows)| (*name, rows.iter().filter_map(sample).collect()))
        .collect()
});

/// Pads the client's records (inner plaintext lengths go through `pad`).
fn padded(sample: &Sample<'_>, scope: Scope, pad: &mut dyn FnMut(u16) -> u16) -> Row {
    let mut row = sample.row.clone();
    let (tag, mut left) = (row.facts.map_or(16, |facts| facts.suite.tag()), sample.flight);
    for step in &mut row.steps {
        if let Step::Record(Direction::ToServer, ENCRYPTED, length) = step
            && (left > 0 || matches!(scope, Scope::Everything))
        {
            let inner = *length - tag;
            *length = tag + pad(inner).clamp(inner, LONGEST_INNER.max(inner));
            left = left.saturating_sub(1);
        }
    }
    row
}

fn tally(samples: &[Sample<'_>], scope: Scope, pad: &mut dyn FnMut(u16) -> u16) -> Tally {
    let mut tally = Tally::default();
    for sample in samples {
        let (row, padded) = (sample.row, padded(sample, scope, pad));
        let verdict = padded.classify().expect("has a ServerHello").verdict();
        let said = verdict.client_auth();
        *tally.answers.entry((row.truth.as_str(), said)).or_default() += 1;
        let describe = || format!("line {} {verdict:?}: {}", row.line, padded.stream());
        match (said, row.truth) {
            (ClientAuth::Presented, Truth::Oneway | Truth::Empty) => {
                tally.false_certificates.push(describe());
            }
            (ClientAuth::NotRequested, Truth::Empty | Truth::Mtls) => match verdict {
                FlightVerdict::Decided {
                    rule: Rule::Finished | Rule::FinishedFixedPadding,
                    confidence: Confidence::Moderate,
                    ..
                } => tally.impersonations += 1,
                _ => tally.false_one_way.push(describe()),
            },
            _ => {}
        }
    }
    tally
}

/// Runs one kind of padding in both scopes over all recordings.
fn check(kind: &str, mut pad: impl FnMut(u16) -> u16) {
    for (name, samples) in SAMPLES.iter() {
        for scope in [Scope::Everything, Scope::Handshake] {
            let tally = tally(samples, scope, &mut pad);
            println!(
                "{name}: {kind} on {scope:?}: {:?}, impersonations {}",
                tally.answers, tally.impersonations
            );
            assert!(
                tally.false_certificates.is_empty() && tally.false_one_way.is_empty(),
                "{kind} on {scope:?}: {:#?} {:#?}",
                tally.false_certificates,
                tally.false_one_way
            );
        }
    }
}

#[test]
fn blocks() {
    for block in [8_u16, 24, 32, 40, 48, 64, 100, 128, 200, 256, 512, 1024, 2048, 4096, 16384] {
        check(&format!("blocks of {block}"), |inner| inner.next_multiple_of(block));
    }
}

#[test]
fn constants() {
    for constant in (1..=64).chain([96, 128, 160, 196, 200, 212, 240, 255]) {
        check(&format!("{constant} bytes"), |inner| inner + constant);
    }
}

#[test]
fn random_amounts() {
    for most in [7, 15, 31, 63, 127, 255] {
        let mut random = Random::new(u64::from(most));
        check(&format!("up to {most} bytes at random"), |inner| inner + random.below(most + 1));
    }
}

/// Finished, and an empty Certificate with it, as long as any certificate the recordings have, and
/// application data that imitates the rest of the flight. Only a server whose flight shows nothing
/// can leave that standing, and then not as a strong verdict unless the imitation is complete.
#[test]
fn imitations() {
    for (name, samples) in SAMPLES.iter() {
        let (mut imitated, mut exposed) = (0, 0);
        for length in [333, 476, 515, 630, 967, 1005, 1379, 1581, 1881] {
            for sample in samples.iter().filter(|sample| sample.row.truth == Truth::Oneway) {
                let mut first = true;
                let imitation = padded(sample, Scope::Handshake, &mut |inner| {
                    if mem::take(&mut first) { length - 16 } else { inner }
                });
                let verdict = imitation.classify().expect("has a ServerHello").verdict();
                let strong = |verdict| {
                    matches!(verdict, FlightVerdict::Decided { confidence: Confidence::Strong, .. })
                };
                let presented = verdict.client_auth() == ClientAuth::Presented;
                if strong(sample.verdict) {
                    exposed += 1;
                    assert!(!presented, "line {}: {}", sample.row.line, imitation.stream());
                }
                if presented {
                    imitated += 1;
                    assert!(!strong(verdict), "line {}: {}", sample.row.line, imitation.stream());
                }
            }
        }
        println!("{name}: {exposed} exposed by the server's flight, {imitated} taken for real");
    }
}

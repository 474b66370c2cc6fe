//! Recorded connections whose client is made to pad its records in ways no known stack does.
//!
//! Whatever the padding, a client that sent no certificate must not be said to have sent one. And a
//! client that was asked must not be said not to have been, unless padding gave its first record
//! exactly the length of another stack's Finished and the server's flight shows nothing.

use std::collections::BTreeMap;

use hopsight::{
    model::{ClientAuth, Direction},
    tls::flights::{Confidence, FlightVerdict, Rule},
};

use crate::{
    RECORDINGS,
    random::Random,
    row::{Row, Step, Truth},
};

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

/// Pads the client's records of `row` (inner plaintext lengths go through `pad`).
fn padded(row: &Row, scope: Scope, pad: &mut dyn FnMut(u16) -> u16) -> Option<Row> {
    let FlightVerdict::Decided { client_flight_end, .. } = row.classify()?.verdict() else {
        return None;
    };
    let (tag, mut left) = (row.facts?.suite.tag(), usize::from(client_flight_end));
    let mut row = row.clone();
    for step in &mut row.steps {
        if let Step::Record(Direction::ToServer, ENCRYPTED, length) = step
            && (left > 0 || matches!(scope, Scope::Everything))
        {
            let inner = *length - tag;
            *length = tag + pad(inner).clamp(inner, LONGEST_INNER.max(inner));
            left = left.saturating_sub(1);
        }
    }
    Some(row)
}

fn tally(rows: &[Row], scope: Scope, pad: &mut dyn FnMut(u16) -> u16) -> Tally {
    let mut tally = Tally::default();
    for row in rows.iter().filter(|row| row.is_plain() && row.truth != Truth::Psk) {
        let Some(padded) = padded(row, scope, pad) else { continue };
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
    for (name, rows) in RECORDINGS.iter() {
        for scope in [Scope::Everything, Scope::Handshake] {
            let tally = tally(rows, scope, &mut pad);
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
    for (name, rows) in RECORDINGS.iter() {
        let (mut imitated, mut exposed) = (0, 0);
        for length in [333, 476, 515, 630, 967, 1005, 1379, 1581, 1881] {
            for row in rows.iter().filter(|row| row.is_plain() && row.truth == Truth::Oneway) {
                let mut first = true;
                let imitation = padded(row, Scope::Handshake, &mut |inner| {
                    if std::mem::take(&mut first) { length - 16 } else { inner }
                });
                let Some(imitation) = imitation else { continue };
                let honest = row.classify().expect("has a ServerHello").verdict();
                let verdict = imitation.classify().expect("has a ServerHello").verdict();
                let two_witnesses = matches!(
                    honest,
                    FlightVerdict::Decided {
                        rule: Rule::Finished,
                        confidence: Confidence::Strong,
                        ..
                    }
                );
                if two_witnesses {
                    exposed += 1;
                    assert_ne!(verdict.client_auth(), ClientAuth::Presented, "{}", row.line);
                }
                if let FlightVerdict::Decided {
                    client_auth: ClientAuth::Presented,
                    confidence,
                    ..
                } = verdict
                {
                    imitated += 1;
                    assert_eq!(confidence, Confidence::Moderate, "{}", imitation.stream());
                }
            }
        }
        println!("{name}: {exposed} exposed by the server's flight, {imitated} taken for real");
    }
}

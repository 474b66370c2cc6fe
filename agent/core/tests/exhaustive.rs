//! Recorded handshakes, cut, split and shuffled in every way: the verdict stays the same or gets
//! less certain, and never becomes a different certain one.
//!
//! The recordings in `fixtures/handshakes` are ours, one per hop of the demo
//! (`cargo xtask bless` records them anew).

#![expect(clippy::disallowed_methods, reason = "tests read fixtures")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use hopsight_core::{
    model::{
        Beginning, ClientAuth, CloseCause, ConnectionId, Direction, Event, Origin, Outcome,
        Process, Security, Timestamp,
    },
    pipeline::{Limits, Pipeline, Update},
    report::{ConnectionReport, Verdict},
};

const CONNECTION: ConnectionId = ConnectionId(1);

/// A recorded connection as its two byte streams and the order in which their pieces came.
struct Recorded {
    name: String,
    segments: Vec<(Direction, usize, Vec<u8>)>,
    verdict: Verdict,
}

fn recordings() -> Vec<Recorded> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handshakes");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("fixtures/handshakes")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    files.iter().map(|path| Recorded::read(path)).collect()
}

/// Tries every recording, on all processors.
fn for_each_recording(test: impl Fn(&Recorded) + Sync) {
    let (recordings, next) = (recordings(), AtomicUsize::new(0));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(recorded) = recordings.get(next.fetch_add(1, Ordering::Relaxed)) {
                    test(recorded);
                }
            });
        }
    });
}

impl Recorded {
    /// The first connection of the file, from its wire bytes alone.
    fn read(path: &Path) -> Self {
        let name = path.file_stem().expect("name").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("fixture");
        let events: Vec<Event> =
            text.lines().map(|line| serde_json::from_str(line).expect("event")).collect();
        let first = events.iter().find_map(|event| match event {
            Event::Opened { connection, .. } => Some(*connection),
            _ => None,
        });
        let segments = events
            .iter()
            .filter_map(|event| match event {
                Event::Segment { connection, direction, offset, bytes, .. }
                    if Some(*connection) == first =>
                {
                    Some((*direction, *offset as usize, bytes.clone()))
                }
                _ => None,
            })
            .collect();
        let mut recorded = Self { name, segments, verdict: unknown() };
        recorded.verdict = verdict(&recorded.segments);
        recorded
    }

    fn stream(&self, direction: Direction) -> Vec<u8> {
        let mut stream = Vec::new();
        for (from, offset, bytes) in &self.segments {
            if *from == direction {
                stream.resize(stream.len().max(offset + bytes.len()), 0);
                stream[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        stream
    }
}

fn unknown() -> Verdict {
    verdict(&[])
}

fn verdict(segments: &[(Direction, usize, Vec<u8>)]) -> Verdict {
    let reports = run(segments);
    reports.last().expect("a final report").verdict
}

/// Runs one connection of these segments through the pipeline; every report on it.
fn run(segments: &[(Direction, usize, Vec<u8>)]) -> Vec<ConnectionReport> {
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    let process = Process { pid: 1, name: "nginx".into(), cgroup_id: 0 };
    let [local, remote] = ["127.0.0.1:1000", "127.0.0.2:443"].map(|a| a.parse().expect("address"));
    let at = Timestamp(1);
    let opened = Event::Opened {
        connection: CONNECTION,
        at,
        origin: Origin::Process(process),
        destination: remote,
        beginning: Beginning::Seen,
    };
    pipeline.handle(opened, &mut updates);
    pipeline.handle(Event::Established { connection: CONNECTION, at, local, remote }, &mut updates);
    for (direction, offset, bytes) in segments {
        let event = Event::Segment {
            connection: CONNECTION,
            at,
            direction: *direction,
            offset: u32::try_from(*offset).expect("offset"),
            payload_len: u32::try_from(bytes.len()).expect("length"),
            acked: None,
            bytes: bytes.clone(),
        };
        pipeline.handle(event, &mut updates);
    }
    let closed = Event::Closed { connection: CONNECTION, at, cause: CloseCause::SourceEnded };
    pipeline.handle(closed, &mut updates);
    pipeline.finish(at, &mut updates);
    updates
        .into_iter()
        .filter_map(|update| match update {
            Update::Report { report, .. } => Some(*report),
            Update::Done(_) => None,
        })
        .collect()
}

/// Every report of a changed connection must say what the whole one says, or less.
///
/// How a TLS 1.3 handshake ended rests on what answered what: where even the directions were
/// shuffled against each other (`in_time_order` is false) it is not compared.
fn assert_not_other(recorded: &Recorded, change: &str, reports: &[ConnectionReport]) {
    let in_time_order = !change.starts_with("any order");
    let whole = &recorded.verdict;
    for report in reports {
        let said = &report.verdict;
        let context = || format!("{}, {change}: {said:?} instead of {whole:?}", recorded.name);
        // A handshake that failed says nothing of security; before its end it may have been seen that
        // the server asks for no certificate.
        let unasked = whole.outcome == Outcome::Failed
            && said.outcome == Outcome::Incomplete
            && (said.security, said.client_auth) == (Security::Tls, ClientAuth::NotRequested);
        assert!(
            unasked || [Security::Unknown, whole.security].contains(&said.security),
            "{}",
            context()
        );
        assert!(
            unasked || [ClientAuth::Unknown, whole.client_auth].contains(&said.client_auth),
            "{}",
            context()
        );
        // Provisional until the server answered; and a refusal without what it refuses is a failure.
        let provisional = !report.is_final && said.outcome == Outcome::Established
            || whole.outcome == Outcome::Rejected && said.outcome == Outcome::Failed
            || !in_time_order;
        assert!(
            provisional || [Outcome::Incomplete, whole.outcome].contains(&said.outcome),
            "{}",
            context()
        );
    }
}

/// Once all bytes came, their order does not matter.
fn assert_same_security(recorded: &Recorded, change: &str, reports: &[ConnectionReport]) {
    let (said, whole) = (reports.last().expect("a final report").verdict, &recorded.verdict);
    let context = || format!("{}, {change}: {said:?} instead of {whole:?}", recorded.name);
    assert_eq!(said.security, whole.security, "{}", context());
    assert_eq!(said.client_auth, whole.client_auth, "{}", context());
}

#[test]
fn the_recordings_say_what_their_names_say() {
    let recordings = recordings();
    assert!(recordings.len() >= 30, "only {} recordings", recordings.len());
    for recorded in &recordings {
        let (name, security) = (&recorded.name, recorded.verdict.security);
        let refused_by_client = name.contains("wrong-root") && security == Security::Unknown;
        let expected = match name.split(['1', '-']).next() {
            Some("mtls") => Security::Mtls,
            Some("tls") => Security::Tls,
            _ => Security::Plaintext,
        };
        assert!(security == expected || refused_by_client, "{name}: {security}");
    }
}

/// OpenSSL answers an empty Certificate with `handshake_failure`, GnuTLS with `decode_error`, wolfSSL
/// with a `close_notify` at warning level.
#[test]
fn every_alert_that_refuses_an_empty_certificate() {
    const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    let recordings = recordings();
    let recorded = recordings.iter().find(|recorded| recorded.name == "tls12-no-cert");
    let recorded = recorded.expect("a recording of a refused handshake");
    assert_eq!(recorded.verdict.outcome, Outcome::Rejected);
    for alert in [[2, 50], [1, 0], [2, 0]] {
        let mut segments = recorded.segments.clone();
        let bytes = segments.iter_mut().find(|(.., bytes)| bytes == HANDSHAKE_FAILURE);
        bytes.expect("the alert").2[5..].copy_from_slice(&alert);
        assert_eq!(verdict(&segments), recorded.verdict, "{alert:?}");
    }
}

#[test]
fn every_prefix() {
    for_each_recording(|recorded| {
        let streams = [Direction::ToServer, Direction::ToClient].map(|d| (d, recorded.stream(d)));
        for (cut, (direction, stream)) in streams.iter().enumerate() {
            let (other, whole) = &streams[1 - cut];
            for end in 0..=stream.len() {
                let segments =
                    [(*other, 0, whole.clone()), (*direction, 0, stream[..end].to_vec())];
                let change = format!("any order, {direction:?} cut at {end}");
                let reports = run(&segments);
                assert_not_other(recorded, &change, &reports);
                if end == stream.len() {
                    assert_same_security(recorded, &change, &reports);
                }
            }
        }
        // In the order of time: the capture stops at any byte.
        for (count, (direction, offset, bytes)) in recorded.segments.iter().enumerate() {
            for end in 0..bytes.len() {
                let mut segments = recorded.segments[..count].to_vec();
                segments.push((*direction, *offset, bytes[..end].to_vec()));
                let change = format!("stopped in segment {count} at {end}");
                assert_not_other(recorded, &change, &run(&segments));
            }
        }
    });
}

#[test]
fn every_split_in_two() {
    for_each_recording(|recorded| {
        for (index, (direction, offset, bytes)) in recorded.segments.iter().enumerate() {
            for at in 1..bytes.len() {
                let mut segments = recorded.segments.clone();
                let tail = (*direction, offset + at, bytes[at..].to_vec());
                segments[index].2.truncate(at);
                segments.insert(index + 1, tail);
                let said = verdict(&segments);
                assert_eq!(
                    said, recorded.verdict,
                    "{}, segment {index} split at {at}",
                    recorded.name
                );
                segments.swap(index, index + 1);
                let change = format!("segment {index} split at {at}, swapped");
                assert_not_other(recorded, &change, &run(&segments));
            }
        }
    });
}

/// A small deterministic generator (Knuth's MMIX constants), so that failures repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }
}

#[test]
fn any_order_with_overlaps_and_repetitions() {
    let mut random = Random(7);
    for recorded in recordings() {
        for round in 0..200 {
            let mut pieces = Vec::new();
            for (direction, offset, bytes) in &recorded.segments {
                let mut at = 0;
                while at < bytes.len() {
                    let length = (1 + random.below(400)).min(bytes.len() - at);
                    let from = at.saturating_sub(random.below(20));
                    pieces.push((*direction, offset + from, bytes[from..at + length].to_vec()));
                    at += length;
                }
            }
            for _ in 0..random.below(4) {
                let again = pieces[random.below(pieces.len())].clone();
                pieces.push(again);
            }
            // Late and early pieces of one flight, as networks make them, or any order at all.
            let any = round % 2 == 1;
            for index in 0..pieces.len() {
                let other = index + random.below(if any { pieces.len() } else { 6 });
                let other = other.min(pieces.len() - 1);
                let one_flight = pieces[index..=other].iter().all(|p| p.0 == pieces[index].0);
                if any || one_flight {
                    pieces.swap(index, other);
                }
            }
            let reports = run(&pieces);
            let change = if round % 2 == 0 {
                format!("order {round}")
            } else {
                format!("any order {round}")
            };
            assert_not_other(&recorded, &change, &reports);
            assert_same_security(&recorded, &change, &reports);
        }
    }
}

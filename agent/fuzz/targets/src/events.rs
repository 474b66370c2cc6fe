//! Events of libraries and connections.

use std::collections::HashMap;

use hopsight_core::{
    model::{
        Beginning, ClientAuth, CloseCause, ConnectionId, Descent, Direction, Event, Evidence,
        LibraryEvent, LibraryObservation, Origin, Process, Security, SessionName, Timestamp,
    },
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
    tls::transcript::{TranscriptLimits, Transcripts},
};

use super::input::Input;

/// Library events of a few processes and contexts: bounded, and "presented" only after a
/// CertificateVerify.
pub fn transcript(data: &[u8]) {
    let mut input = Input(data);
    let max = 8;
    let mut transcripts = Transcripts::new(TranscriptLimits { max, max_age_ns: 1000 });
    let mut keys = Vec::new();
    for at in 0.. {
        if input.0.is_empty() {
            break;
        }
        let (event, _) = library_event(&mut input, Timestamp(at * 10));
        if let Some(key) = transcripts.observe(&event) {
            keys.push(key);
        }
        if at % 16 == 0 {
            transcripts.expire(Timestamp(at * 10));
        }
        for (pid, random) in keys.iter().rev().take(2) {
            let Some(found) = transcripts.find(*pid, random, None) else { continue };
            assert_eq!(found.pid, *pid);
            let presented = found.facts.client_auth() == ClientAuth::Presented;
            assert!(!presented || found.facts.client_certificate_verify);
        }
    }
}

/// An event of one of four processes with two contexts each.
fn library_event(input: &mut Input<'_>, at: Timestamp) -> (LibraryEvent, u8) {
    let (who, what) = (input.byte(), input.byte());
    let context = u64::from(who >> 2 & 1) + 1;
    let observation = match what % 11 {
        0..=2 => {
            let length = input.short();
            let bytes = input.bytes(usize::from(length)).to_vec();
            let len = if what & 0x80 == 0 { bytes.len() } else { bytes.len() + 1 };
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            let direction = match who >> 3 & 3 {
                1 => Some(Direction::ToServer),
                2 => Some(Direction::ToClient),
                _ => None,
            };
            LibraryObservation::TranscriptUpdate { context, direction, len, bytes }
        }
        3 => {
            let error = i32::from(input.byte());
            LibraryObservation::VerifyResult { error, enforced: what & 0x10 != 0 }
        }
        4 => LibraryObservation::ApplicationVerifyResult { error: i64::from(input.byte()) },
        5 => LibraryObservation::ApplicationCheckedHost { result: i32::from(input.byte() & 1) },
        6 => LibraryObservation::AlertReceived { description: input.byte() },
        7 => LibraryObservation::VerifyCallback { result: i32::from(input.byte() & 3) },
        8 => LibraryObservation::NeverVerified,
        9 => match SessionName::of(&[input.byte()]) {
            Some(name) => LibraryObservation::TicketReceived { name },
            None => LibraryObservation::NeverVerified,
        },
        _ => LibraryObservation::ClientConnectionMade,
    };
    let pid = u32::from(who & 3);
    (LibraryEvent { at, pid, ssl: context * 16, observation }, who)
}

/// What must hold of every report.
#[derive(Default)]
pub struct Checker {
    finals: HashMap<ConnectionId, u32>,
}

impl Checker {
    /// Panics where `report` breaks a promise.
    pub fn check(&mut self, report: &ConnectionReport) {
        let verdict = report.verdict;
        match verdict.security {
            Security::Mtls => assert_eq!(verdict.client_auth, ClientAuth::Presented, "{report:?}"),
            Security::Tls => assert!(
                matches!(
                    verdict.client_auth,
                    ClientAuth::NotRequested | ClientAuth::RequestedNotPresented
                ),
                "{report:?}"
            ),
            Security::Plaintext => assert_eq!(verdict.evidence, Evidence::Wire, "{report:?}"),
            Security::Unknown => assert!(verdict.reason.is_some(), "{report:?}"),
        }
        if verdict.security != Security::Unknown {
            assert_ne!(verdict.evidence, Evidence::None, "{report:?}");
        }
        if report.is_final {
            *self.finals.entry(report.connection).or_default() += 1;
        }
    }
}

/// Any events through the whole pipeline.
///
/// Byte code: see [`Code`]. Invariants: every report is consistent ([`Checker`]); each connection has
/// one final report; memory stays within the limits; nothing is left at the end.
pub fn pipeline(data: &[u8]) {
    const MAX_STREAM_BYTES: usize = 256 * 1024;
    let limits = Limits {
        max_connections: 3,
        max_stream_bytes: MAX_STREAM_BYTES,
        max_sessions: 4,
        max_transcripts: 4,
        ..Limits::default()
    };
    let mut pipeline = Pipeline::new(limits);
    let mut checker = Checker::default();
    let mut opened: HashMap<ConnectionId, u32> = HashMap::new();
    let mut updates = Vec::new();
    let mut decoder = Decoder::new(data);
    while let Some(step) = decoder.next_step() {
        match step {
            Step::Event(event) => {
                if let Event::Opened { connection, .. } = &event {
                    *opened.entry(*connection).or_default() += 1;
                }
                pipeline.handle(event, &mut updates);
            }
            Step::Tick(now) => pipeline.tick(now, &mut updates),
        }
        assert!(pipeline.tracked() <= limits.max_connections);
        assert!(pipeline.stream_bytes() <= MAX_STREAM_BYTES);
        for update in updates.drain(..) {
            if let Update::Report { report, .. } = update {
                checker.check(&report);
            }
        }
    }
    pipeline.finish(decoder.now(), &mut updates);
    for update in updates.drain(..) {
        if let Update::Report { report, .. } = update {
            checker.check(&report);
        }
    }
    assert_eq!((pipeline.tracked(), pipeline.stream_bytes()), (0, 0));
    assert_eq!(checker.finals, opened);
}

/// One step of the pipeline's byte code.
enum Step {
    Event(Event),
    Tick(Timestamp),
}

/// Operations of the byte code: the high nibble of the first byte; the low one is the connection (two
/// bits) and the direction (one).
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Code {
    /// Opens the next connection.
    Open = 0,
    /// Addresses become known.
    Established = 1,
    /// Two bytes of length, then the bytes, where the direction's last segment ended.
    Segment = 2,
    /// The same, two bytes of signed distance from there before them.
    Shifted = 3,
    /// The same, with a capture that was cut: two bytes more of length that are not there.
    Cut = 4,
    /// FIN where the direction's last segment ended.
    Fin = 5,
    /// The connection closes.
    Close = 6,
    /// Events were lost.
    Lost = 7,
    /// A byte of seconds passes.
    Tick = 8,
    /// A library event, see `library_event`.
    Library = 9,
    /// A process begins.
    Began = 11,
}

struct Decoder<'a> {
    input: Input<'a>,
    at: u64,
    next: u64,
    connections: [ConnectionId; 4],
    ends: [[u32; 2]; 4],
}

impl<'a> Decoder<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            input: Input(data),
            at: 1,
            next: 1,
            connections: [ConnectionId(0); 4],
            ends: [[0; 2]; 4],
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.at)
    }

    fn next_step(&mut self) -> Option<Step> {
        if self.input.0.is_empty() {
            return None;
        }
        let first = self.input.byte();
        let slot = usize::from(first & 3);
        let direction = if first & 4 == 0 { Direction::ToServer } else { Direction::ToClient };
        self.at += 1000;
        let (connection, at) = (self.connections[slot], Timestamp(self.at));
        let event = match first >> 4 {
            0 => {
                let connection = ConnectionId(self.next);
                self.next += 1;
                self.connections[slot] = connection;
                self.ends[slot] = [0; 2];
                let process = Process { pid: u32::from(first & 3), name: "p".into(), cgroup_id: 1 };
                let beginning = if first & 8 == 0 { Beginning::Seen } else { Beginning::MidStream };
                Event::Opened {
                    connection,
                    at,
                    origin: Origin::Process(process),
                    destination: ([10, 0, 0, 1], 443).into(),
                    beginning,
                }
            }
            1 => Event::Established {
                connection,
                at,
                local: ([10, 0, 0, 2], 1024).into(),
                remote: ([10, 0, 0, 1], 443).into(),
            },
            code @ 2..=4 => {
                let shift = if code == 3 { self.input.short().cast_signed() } else { 0 };
                let unseen = if code == 4 { self.input.short() } else { 0 };
                let length = self.input.short();
                let bytes = self.input.bytes(usize::from(length)).to_vec();
                let end = &mut self.ends[slot][direction.index()];
                let offset = end.wrapping_add_signed(i32::from(shift));
                let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let payload_len = captured + u32::from(unseen);
                if code != 3 {
                    *end = end.wrapping_add(payload_len);
                }
                // Half of the sources say what was acknowledged.
                let acked = (length & 1 == 1).then(|| self.ends[slot][1 - direction.index()]);
                Event::Segment { connection, at, direction, offset, payload_len, acked, bytes }
            }
            5 => {
                Event::Fin { connection, at, direction, offset: self.ends[slot][direction.index()] }
            }
            6 => {
                let cause =
                    if slot % 2 == 0 { CloseCause::Closed } else { CloseCause::ResetBy(direction) };
                Event::Closed { connection, at, cause }
            }
            7 => Event::Lost { connection, at },
            11 => {
                let descent = match first >> 2 & 3 {
                    0 => Descent::default(),
                    1 => Descent::Unknown,
                    2 => Descent::From(vec![2]),
                    other => Descent::InPlaceOf(u32::from(other)),
                };
                Event::Began { pid: u32::from(first & 3), descent, at }
            }
            9 | 10 => Event::Library(library_event(&mut self.input, at).0),
            _ => {
                self.at += u64::from(self.input.byte()) * 1_000_000_000;
                return Some(Step::Tick(self.now()));
            }
        };
        Some(Step::Event(event))
    }
}

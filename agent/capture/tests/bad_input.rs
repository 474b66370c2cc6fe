//! Damaged and foreign input: a clear error or an `unknown` with its reason, never a panic.

use std::{fs, path::Path};

use hopsight_capture::replay;
use hopsight_core::{
    model::{Beginning, ConnectionId, Direction, Event, Origin, Security, Timestamp},
    pipeline::{Limits, Pipeline, Update},
    report::ConnectionReport,
};

fn replayed(bytes: &[u8]) -> anyhow::Result<(Vec<ConnectionReport>, Option<String>)> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    let mut reports = Vec::new();
    let counts = replay::replay(file.path(), replay::limits(), &mut |report| {
        reports.push(report);
        Ok(())
    })?;
    Ok((reports, counts.damaged))
}

/// A small deterministic generator (xorshift), so that failures repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// A pcap of one packet: Ethernet, IPv4, TCP SYN.
fn small_pcap() -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 443, 1, 100)
        .syn()
        .write(&mut frame, &[])
        .expect("a small valid value");
    let mut writer = pcap_file::pcap::PcapWriter::new(Vec::new()).expect("a small valid value");
    let length = u32::try_from(frame.len()).expect("a small valid value");
    let at = std::time::Duration::from_secs(1);
    writer
        .write_packet(&pcap_file::pcap::PcapPacket::new_owned(at, length, frame))
        .expect("a small valid value");
    writer.into_writer()
}

#[test]
fn files_that_are_no_captures_are_refused_with_advice() {
    let random: Vec<u8> = (0..4096).scan(Random(9), |random, _| Some(random.byte())).collect();
    for (name, bytes, said) in [
        ("empty", &b""[..], "is empty"),
        ("text", b"hello", "neither pcap nor pcapng"),
        ("random bytes", &random, "neither pcap nor pcapng"),
        ("pcap magic alone", &[0xd4, 0xc3, 0xb2, 0xa1], "header cannot be read"),
        ("pcapng magic alone", &[0x0a, 0x0d, 0x0d, 0x0a], "header cannot be read"),
    ] {
        let error = format!("{:#}", replayed(bytes).expect_err(name));
        assert!(error.contains(said), "{name}: {error}");
    }
    let missing = replay::replay(Path::new("no/such/file"), replay::limits(), &mut |_| Ok(()));
    assert!(format!("{:#}", missing.expect_err("missing")).contains("no/such/file"));
}

#[test]
fn a_capture_cut_anywhere_is_read_as_far_as_it_goes() {
    let whole = small_pcap();
    for end in 24..whole.len() {
        let (reports, damaged) = replayed(&whole[..end]).unwrap();
        assert!(reports.is_empty(), "{end}");
        assert_eq!(damaged.is_some(), end > 24, "{end}: {damaged:?}");
    }
    let (reports, damaged) = replayed(&whole).unwrap();
    assert_eq!((reports.len(), damaged), (1, None));
    assert_eq!(reports[0].verdict.security, Security::Unknown);
}

#[test]
fn damaged_events_end_the_replay_with_their_line() {
    let (_, damaged) = replayed(b"{\"event\":\"nonsense\"}\n").unwrap();
    assert!(damaged.is_some_and(|reason| reason.starts_with("event 1: ")));
}

fn pipeline_of(streams: [&[u8]; 2]) -> Vec<ConnectionReport> {
    let mut pipeline = Pipeline::new(Limits::default());
    let mut updates = Vec::new();
    let (connection, at) = (ConnectionId(1), Timestamp(1));
    let destination = "10.0.0.2:443".parse().expect("a small valid value");
    let origin = Origin::PacketCapture;
    let opened = Event::Opened { connection, at, origin, destination, beginning: Beginning::Seen };
    pipeline.handle(opened, &mut updates);
    for (direction, stream) in [Direction::ToServer, Direction::ToClient].into_iter().zip(streams) {
        for (index, bytes) in stream.chunks(700).enumerate() {
            let event = Event::Segment {
                connection,
                at,
                direction,
                offset: u32::try_from(index * 700).expect("a small valid value"),
                payload_len: u32::try_from(bytes.len()).expect("a small valid value"),
                acked: None,
                bytes: bytes.to_vec(),
            };
            pipeline.handle(event, &mut updates);
        }
    }
    pipeline.finish(at, &mut updates);
    updates
        .into_iter()
        .filter_map(|update| match update {
            Update::Report { report, .. } => Some(*report),
            Update::Done(_) => None,
        })
        .collect()
}

#[test]
fn random_bytes_are_never_mutual() {
    let mut random = Random(77);
    for round in 0..3_000 {
        let mut stream = || -> Vec<u8> {
            let length = random.next() % 2_000;
            (0..length).map(|_| random.byte()).collect()
        };
        let mut streams = [stream(), stream()];
        if round % 2 == 0 {
            // Enough of a beginning to reach the inner parsers.
            for (stream, message) in streams.iter_mut().zip([1, 2]) {
                let head = [0x16, 3, 1, 1, 0, message, 0, 0, 252, 3, 3];
                stream.splice(..head.len().min(stream.len()), head);
            }
        }
        for report in pipeline_of([&streams[0], &streams[1]]) {
            assert_ne!(report.verdict.security, Security::Mtls, "round {round}");
        }
    }
}

#[test]
fn a_certificate_of_16_megabytes_is_not_believed() {
    let hello = |message: u8| {
        let mut bytes = vec![0x16, 3, 3, 0, 46, message, 0, 0, 42, 3, 3];
        bytes.resize(51, 0);
        bytes
    };
    let certificate = [0x16, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
    let server = [hello(2), certificate.to_vec(), vec![0; 60_000]].concat();
    let reports = pipeline_of([&hello(1), &server]);
    let verdict = reports.last().expect("a report").verdict;
    assert_eq!(verdict.security, Security::Unknown);
    assert!(verdict.reason.is_some());
}

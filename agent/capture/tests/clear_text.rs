//! How often counting errs about what is clear text: over the captures that others made, where they
//! are present. The numbers are in agent/RELIABILITY.md.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use hopsight_capture::{Source as _, SourceState, replay::ReplaySource};
use hopsight_core::{
    model::{ConnectionId, Event},
    stream::{
        prelude::{Ending, Opening, Protocol, SAMPLE, inspect, reads_as_clear},
        reassembly::Stream,
    },
    tls::records::{ContentType, HEADER, RecordHeader},
};
use hopsight_test_support::shared;

/// Both directions of every connection of a capture, as far as they are whole.
fn streams(path: &Path) -> Vec<[Vec<u8>; 2]> {
    let Ok(mut source) = ReplaySource::open(path) else { return Vec::new() };
    let mut found: HashMap<ConnectionId, [Stream; 2]> = HashMap::new();
    let mut events = Vec::new();
    loop {
        let state = source.poll(Duration::ZERO, &mut events).expect("a capture");
        for event in events.drain(..) {
            if let Event::Segment { connection, direction, offset, payload_len, bytes, .. } = event
            {
                let new = || [Stream::new(1 << 20, 1 << 16), Stream::new(1 << 20, 1 << 16)];
                let streams = found.entry(connection).or_insert_with(new);
                streams[direction.index()].push(offset, payload_len, &bytes);
            }
        }
        if state == SourceState::Ended {
            return found.into_values().map(|both| both.map(|s| s.ready().to_vec())).collect();
        }
    }
}

/// What the application-data records of a direction carry: bytes that are certainly encrypted.
fn encrypted(mut bytes: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    while let Ok(Some(header)) = RecordHeader::parse(bytes) {
        let end = (HEADER + usize::from(header.length)).min(bytes.len());
        if header.content_type == ContentType::ApplicationData {
            found.extend_from_slice(&bytes[HEADER.min(end)..end]);
        }
        bytes = &bytes[end..];
    }
    found
}

/// Bytes as text, as somebody might send what is encrypted: hexadecimal, base32, base64, ascii85, each
/// as far as a sample goes.
fn encoded(bytes: &[u8]) -> [Vec<u8>; 4] {
    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = |alphabet: &[u8]| -> Vec<u8> {
        bytes.iter().map(|byte| alphabet[usize::from(*byte) % alphabet.len()]).collect()
    };
    let ascii85: Vec<u8> = (b'!'..=b'u').collect();
    [letters(b"0123456789abcdef"), letters(BASE32), letters(BASE64), letters(&ascii85)]
}

/// As many bytes are needed of text that is all words.
const SHORT: usize = 45;

#[test]
fn counting_errs_hardly_ever() {
    let corpus = shared().join("corpus");
    let mut captures = hopsight_test_support::captures(&corpus);
    if captures.is_empty() {
        println!("SKIP: no corpus at {}", corpus.display());
        return;
    }
    captures.sort();
    let (mut trials, mut wrong) = (0, Vec::new());
    let (mut clear, mut counted, mut short) = (0, 0, 0);
    let mut left = BTreeMap::<_, u32>::new();
    for path in &captures {
        for [client, server] in streams(path) {
            // As if a protocol that is not TLS had encrypted them: every sample of each direction.
            for stream in [&client, &server].map(|bytes| encrypted(bytes)) {
                for sample in stream.chunks_exact(SAMPLE) {
                    trials += 1;
                    let said = inspect(sample, &[], Ending::Closed).opening;
                    if reads_as_clear(sample, &[]) || matches!(said, Opening::Plaintext(_)) {
                        wrong.push(format!("{}: {said:?}", path.display()));
                    }
                    for text in encoded(sample) {
                        let said = inspect(&text, &[], Ending::Closed).opening;
                        if matches!(said, Opening::Plaintext(_)) {
                            wrong.push(format!("{}, encoded: {said:?}", path.display()));
                        }
                    }
                }
            }
            // Protocols that are known, judged by counts alone.
            let known = inspect(&client, &server, Ending::Closed).opening;
            if let Opening::Plaintext(name) = known
                && name != Protocol::Other
            {
                let told = reads_as_clear(&client, &server);
                clear += 1;
                counted += usize::from(told);
                short += usize::from(!told && client.len() < SHORT);
                *left.entry(name.as_str()).or_default() += u32::from(!told);
            }
        }
    }
    println!(
        "encrypted samples of {SAMPLE} bytes, and each in four encodings, called clear: {} of \
         {trials}; known clear protocols that counting alone would tell: {counted} of {clear}; of \
         the others {short} say less than {SHORT} bytes: {left:?}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(counted * 2 > clear, "{counted} of {clear}");
}

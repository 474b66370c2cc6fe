//! What is fuzzed: each function takes any bytes and panics where something promised does not hold.
//!
//! cargo-fuzz drives them with coverage (`cargo xtask fuzz`), `tests/fuzz` drives the same
//! functions on stable with mutations of the seeds.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a target says what does not hold")]

mod chain;
pub mod events;
mod input;
mod inventory;
mod strangers;

use std::{
    collections::HashMap,
    io::{self, Cursor},
    path::Path,
};

use hopsight::config::Config;
use hopsight_capture::{
    library::{
        elf::Elf,
        placement::{self, Hook, Isa, Linked, Rustls},
    },
    replay::{self, ReplayCounts, ReplaySource},
};
use hopsight_core::{
    model::{ClientAuth, Direction},
    pipeline::Limits,
    stream::{
        prelude::{self, Ending, Opening},
        reassembly::Stream,
    },
    tls::{
        certificate::{self, Chain, MAX_ISSUERS},
        encrypted_extensions::encrypted_extensions_alpn,
        flights::{FlightVerdict, Flights, HelloFacts},
        group::MAX_OFFERED,
        hello::{ClientHello, ServerHello},
        key_exchange::ServerKeyExchange,
        message::MessageReader,
        records::{HEADER, RecordHeader, RecordReader},
        wire::WireHandshake,
    },
};
use hopsight_posture::policy::{certificate as pem, exempt::PolicyDocument};

pub use self::{
    chain::chain,
    events::{pipeline, transcript},
    inventory::inventory,
    strangers::{apache_conf, haproxy_conf, nginx_conf, process, traefik_conf},
};
use self::{events::Checker, input::Input};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("records", records),
    ("wire", wire),
    ("hello", hello),
    ("certificate", certificate),
    ("chain", chain),
    ("flights", flights),
    ("prelude", prelude),
    ("capture", capture),
    ("nginx_conf", nginx_conf),
    ("haproxy_conf", haproxy_conf),
    ("apache_conf", apache_conf),
    ("traefik_conf", traefik_conf),
    ("process", process),
    ("policy", policy),
    ("transcript", transcript),
    ("reassembly", reassembly),
    ("pipeline", pipeline),
    ("program", program),
    ("inventory", inventory),
];

/// Record walker and message reassembly: the same records and messages however the bytes are cut,
/// and never more memory than bytes.
pub fn records(data: &[u8]) {
    /// Headers, messages, and whether it broke.
    type Read = (Vec<(u8, u16)>, Vec<(u8, Vec<u8>)>, bool);

    /// What a stream becomes that arrives in pieces of `size` bytes.
    fn read(data: &[u8], size: usize) -> Read {
        let (mut records, mut messages) = (RecordReader::default(), MessageReader::default());
        let (mut headers, mut bodies, mut broken) = (Vec::new(), Vec::new(), false);
        let mut unread = Vec::new();
        for piece in data.chunks(size) {
            unread.extend_from_slice(piece);
            let mut rest = unread.as_slice();
            loop {
                if !records.in_record() {
                    match RecordHeader::parse(rest) {
                        Ok(Some(header)) => {
                            headers.push((header.content_type.number(), header.length));
                            records.begin(header, &mut rest);
                            continue;
                        }
                        Ok(None) => break,
                        Err(_) => return (headers, bodies, true),
                    }
                }
                let mut fragment = records.read(&mut rest);
                if fragment.is_empty() {
                    break;
                }
                while !broken {
                    match messages.next_message(&mut fragment) {
                        Ok(Some((kind, body))) => bodies.push((kind, body.to_vec())),
                        Ok(None) => break,
                        Err(_) => broken = true,
                    }
                }
            }
            unread = rest.to_vec();
            let most = 4 * (data.len() + HEADER) + 64;
            assert!(messages.held() <= most, "memory grows beyond the input");
        }
        (headers, bodies, broken)
    }
    let whole = read(data, data.len().max(1));
    for size in [1, 7, 1448] {
        assert_eq!(read(data, size), whole, "cut into pieces of {size}");
    }
}

/// The handshake of both directions: the same answers however it is cut and interleaved.
pub fn wire(data: &[u8]) {
    /// What the lengths of a TLS 1.3 handshake say, once no more bytes come.
    fn inferred(mut handshake: WireHandshake) -> Option<ClientAuth> {
        handshake.finish();
        match handshake.flights().map(Flights::verdict) {
            Some(FlightVerdict::Decided { client_auth, .. }) => Some(client_auth),
            _ => None,
        }
    }
    let mut input = Input(data);
    let size = usize::from(input.byte()).max(1);
    let length = usize::from(input.short());
    let (client, server) = (input.bytes(length), input.0);
    let mut whole = WireHandshake::default();
    whole.push(Direction::ToServer, client);
    whole.push(Direction::ToClient, server);
    let mut server_first = WireHandshake::default();
    server_first.push(Direction::ToClient, server);
    server_first.push(Direction::ToServer, client);
    let mut cut = WireHandshake::default();
    for (direction, stream) in [(Direction::ToClient, server), (Direction::ToServer, client)] {
        for piece in stream.chunks(size) {
            cut.push(direction, piece);
        }
    }
    let mut in_turn = WireHandshake::default();
    let (mut to_server, mut to_client) = (client.chunks(size), server.chunks(size));
    loop {
        let pieces = [to_server.next(), to_client.next()];
        if pieces == [None, None] {
            break;
        }
        for (direction, piece) in [Direction::ToServer, Direction::ToClient].into_iter().zip(pieces)
        {
            in_turn.push(direction, piece.unwrap_or_default());
        }
    }
    for other in [&server_first, &cut, &in_turn] {
        assert_eq!(whole.facts(), other.facts());
        assert_eq!(whole.finished(), other.finished());
        assert_eq!(whole.abbreviated(), other.abbreviated());
        assert_eq!(whole.broken(), other.broken());
    }
    let mut presented = whole.facts().client_certificate.is_some();
    presented &= whole.facts().client_certificate_verify;
    assert!(presented || whole.facts().client_auth() != ClientAuth::Presented);
    // Whether an alert stands in a flight's place rests on what came first.
    let mut decided = [whole, server_first, cut, in_turn].map(inferred).into_iter().flatten();
    if let Some(first) = decided.next() {
        assert!(decided.all(|other| other == first));
    }
}

/// Hello bodies.
pub fn hello(data: &[u8]) {
    if let Ok(hello) = ClientHello::parse(data) {
        // Nothing in it is larger than what was sent; an escaped byte is four characters.
        let names = hello.alpn.iter().map(|name| name.len()).sum::<usize>();
        assert!(names <= 4 * data.len() && hello.offered.versions().count() <= data.len());
        assert!(hello.offered.groups().count() <= MAX_OFFERED.min(data.len()));
    }
    if let Ok(hello) = ServerHello::parse(data)
        && let Some(sent) = ServerKeyExchange::parse(&hello, data)
    {
        assert!(sent.signature.is_none() || sent.is_signed);
    }
    if let Ok(Some((_, length))) = ClientHello::parse_ssl2(data) {
        assert!(length <= data.len());
    }
    drop(encrypted_extensions_alpn(data));
}

/// Certificate messages, X.509 and PEM.
pub fn certificate(data: &[u8]) {
    for chain in [certificate::parse_chain(data), certificate::parse_chain_13(data)] {
        let Ok(chain) = chain else { continue };
        let kept = chain.issuers.iter().map(|der| der.len()).sum::<usize>();
        assert!(chain.end_entity.len() + kept <= data.len());
        assert!(chain.issuers.len() <= MAX_ISSUERS.min(chain.length));
        if let Ok(facts) = certificate::facts(&chain) {
            assert_eq!(facts.chain_length, chain.length);
            assert!(facts.issuers.len() <= chain.issuers.len());
        }
    }
    drop(certificate::facts(&Chain { end_entity: data.into(), length: 1, ..Chain::default() }));
    drop(pem::read(data));
}

/// The TLS 1.3 classifier: any sequence of record lengths. "Presented" takes a client flight that
/// has room for a certificate, its proof and a Finished.
pub fn flights(data: &[u8]) {
    let mut input = Input(data);
    let suites = [0x1301, 0x1302, 0x1303, 0x1304, 0x1305];
    let suite = suites[usize::from(input.byte()) % suites.len()];
    let Ok(facts) = HelloFacts::for_cipher(suite) else { panic!("a suite of TLS 1.3") };
    let bits = input.byte();
    let facts = HelloFacts {
        psk_offered: bits & 1 != 0,
        psk_selected: bits & 2 != 0,
        early_data_offered: bits & 4 != 0,
        hello_retry_request: bits & 8 != 0,
        post_handshake_auth_offered: bits & 16 != 0,
        certificate_compression_offered: bits & 32 != 0,
        application_settings_offered: bits & 64 != 0,
        record_size_limit: (bits & 128 != 0).then(|| input.short()),
        ..facts
    };
    let mut flights = Flights::new(facts);
    let mut client_bytes = 0_u64;
    while !input.0.is_empty() {
        let what = input.byte();
        let direction = if what & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        if what & 0xf0 == 0xf0 {
            flights.on_close(direction);
            continue;
        }
        let content_type = [23, 23, 23, 21, 20, 22, 24, 0][usize::from(what >> 1) % 8];
        let length = input.short();
        if direction == Direction::ToServer {
            client_bytes += u64::from(length);
        }
        flights.on_record(direction, content_type, length);
    }
    flights.finish();
    if let FlightVerdict::Decided { client_auth: ClientAuth::Presented, .. } = flights.verdict() {
        // Smallest: Certificate 4+4+3+2 around some 100 bytes, CertificateVerify 8+64, Finished 36.
        assert!(client_bytes >= 200, "mutual after {client_bytes} bytes of the client");
        assert!(!facts.psk_selected, "a resumed handshake shows no certificate");
    }
}

/// What comes before TLS: an answer never becomes another one when more bytes come.
pub fn prelude(data: &[u8]) {
    let mut input = Input(data);
    let length = usize::from(input.short());
    let (client, server) = (input.bytes(length), input.0);
    let mut answer: Option<Opening> = None;
    let longest = client.len().max(server.len());
    let step = (longest / 64).max(1);
    for end in (0..=longest).step_by(step).chain([longest]) {
        let [client, server] = [client, server].map(|stream| &stream[..end.min(stream.len())]);
        let seen = prelude::inspect(client, server, Ending::Open).opening;
        if let Opening::Tls(start) = &seen {
            assert!(start.at[0] <= client.len() && start.at[1] <= server.len());
        }
        match &answer {
            Some(before) => assert_eq!(*before, seen, "another answer with more bytes"),
            None if seen != Opening::Pending => answer = Some(seen),
            None => {}
        }
    }
    for ending in [Ending::SourceEnded, Ending::Closed] {
        drop(prelude::inspect(client, server, ending));
    }
    drop(prelude::inspect_mid_stream(data));
}

/// Gives few bytes at a time, as a pipe may.
struct Dripping(Cursor<Vec<u8>>);

impl io::Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let few = buffer.len().min(13);
        self.0.read(&mut buffer[..few])
    }
}

/// Captures and recorded event files: read to their end, or as far as they can be read, and the
/// same however they arrive.
pub fn capture(data: &[u8]) {
    fn replayed(source: ReplaySource) -> (ReplayCounts, Vec<String>) {
        let limits = Limits { max_connections: 64, max_stream_bytes: 4 << 20, ..replay::limits() };
        let mut checker = Checker::default();
        let mut said = Vec::new();
        let counts = replay::replay_source(source, limits, &mut |_| {}, &mut |report| {
            checker.check(&report);
            said.push(format!("{report:?}"));
            Ok(())
        });
        let counts = counts.unwrap_or_else(|error| panic!("{error:#}"));
        assert!(counts.not_tcp <= counts.read, "{counts:?}");
        assert!(counts.told().is_none_or(|told| !told.is_empty()));
        (counts, said)
    }
    let file = Cursor::new(data.to_vec());
    let path = Path::new("input");
    let Ok(whole) = ReplaySource::new(file.clone(), path) else { return };
    let Ok(dripping) = ReplaySource::new(Dripping(file), path) else {
        panic!("it was read at once");
    };
    assert_eq!(replayed(whole), replayed(dripping));
}

/// The agent's own files: policy and configuration.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PolicyDocument::parse(text) {
        // The built-in ones are always there.
        Ok(document) => assert!(!document.policies.policies().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    drop(Config::parse(text));
}

/// A reassembled stream says the bytes that were sent, or that it was contradicted, however they
/// were cut, repeated and shuffled.
pub fn reassembly(data: &[u8]) {
    let mut input = Input(data);
    let mut stream = Stream::new(4096, 1024);
    let mut first_copy: HashMap<u64, u8> = HashMap::new();
    let mut read = Vec::new();
    while !input.0.is_empty() {
        let (offset, length) = (input.short() % 2048, input.byte());
        let bytes = input.bytes(usize::from(length));
        stream.push(
            u32::from(offset),
            u32::from(length.min(u8::try_from(bytes.len()).unwrap_or(0))),
            bytes,
        );
        for (index, byte) in bytes.iter().enumerate() {
            first_copy.entry(u64::from(offset) + index as u64).or_insert(*byte);
        }
        read.extend_from_slice(stream.ready());
        stream.consume();
        assert!(stream.held() <= 3 * 4096 + 1024);
    }
    if !stream.contradicted() && stream.drops().out_of_window == 0 {
        let expected: Vec<u8> =
            (0..read.len() as u64).filter_map(|at| first_copy.get(&at).copied()).collect();
        assert_eq!(read, expected);
    }
}

/// A program of a watched process, which may be made to mislead: it is refused, or each place lies
/// in its code, and on a call where the hook wants one. Headers, function tables of Go, unwind
/// tables, the search for constants, for texts and for tables of methods are all read on the way.
pub fn program(data: &[u8]) {
    /// `call` relative to the next instruction.
    const CALL: u8 = 0xe8;
    let Ok(survey) = placement::survey_with(&data, Rustls::LookedFor) else { return };
    let Linked::Placed { placement, .. } = survey.linked else { return };
    let Ok(elf) = Elf::open(&data) else { panic!("a file that was read before") };
    assert!(placement.transcript_calls() > 0, "a stack whose messages are not seen");
    for point in &placement.points {
        let address = elf.address_of(point.offset);
        assert!(address.is_some_and(|address| elf.is_code(address)), "{point:?} is no code");
        let wants_call = matches!(
            point.hook,
            Hook::GoSent
                | Hook::GoReceived
                | Hook::BoringMessage
                | Hook::BoringAlert
                | Hook::TicketInside
        );
        if wants_call && elf.isa == Isa::X86_64 {
            let at = usize::try_from(point.offset).unwrap_or(usize::MAX);
            assert_eq!(data.get(at), Some(&CALL), "{point:?} is no call");
        }
    }
}

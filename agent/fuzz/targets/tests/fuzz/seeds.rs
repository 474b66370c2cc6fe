//! Seeds in the form that each target reads: made of our own recordings and configurations, and
//! where they are present small captures of others.

mod code;

use std::{
    fs,
    path::{Path, PathBuf},
};

use hopsight_core::{
    model::{Direction, Event, LibraryObservation},
    tls::certificate::{parse_chain, parse_chain_13},
};

use hopsight_test_support::{captures, crafted, shared};

/// Longest capture of others that is a seed: as long as cargo-fuzz makes an input.
const CAPTURE_BYTES: usize = 8192;

/// The files of a folder below `agent`; none where it does not exist.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

fn contents(folder: &str) -> Vec<Vec<u8>> {
    files(folder).iter().map(|path| fs::read(path).expect("read a fixture")).collect()
}

/// The recorded events of each file.
fn recordings() -> Vec<Vec<Event>> {
    let read = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("event")).collect()
    };
    contents("core/fixtures/handshakes").into_iter().map(read).collect()
}

/// The bytes of one direction of the first connection.
fn stream(events: &[Event], wanted: Direction) -> Vec<u8> {
    let first = events.iter().find_map(|event| match event {
        Event::Opened { connection, .. } => Some(*connection),
        _ => None,
    });
    let mut stream = Vec::new();
    for event in events {
        if let Event::Segment { connection, direction, offset, bytes, .. } = event
            && (Some(*connection), *direction) == (first, wanted)
        {
            let start = *offset as usize;
            stream.resize(stream.len().max(start + bytes.len()), 0);
            stream[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }
    stream
}

fn both(events: &[Event]) -> [Vec<u8>; 2] {
    [Direction::ToServer, Direction::ToClient].map(|direction| stream(events, direction))
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number.min(usize::from(u16::MAX))).expect("clamped").to_be_bytes()
}

/// Bodies of the handshake messages (of these types, or all) in every transcript.
fn messages(kinds: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for event in recordings().iter().flatten() {
        let Event::Library(event) = event else { continue };
        let LibraryObservation::TranscriptUpdate { bytes, .. } = &event.observation else {
            continue;
        };
        let mut rest = &bytes[..];
        while let [kind, a, b, c, tail @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some((body, after)) = tail.split_at_checked(length) else { break };
            if kinds.contains(kind) {
                bodies.push(body.to_vec());
            }
            rest = after;
        }
    }
    bodies.sort();
    bodies.dedup();
    bodies.truncate(40);
    bodies
}

/// What was presented, at a time when it was valid, to somebody who trusts its last certificate.
fn chain(body: &[u8]) -> Option<Vec<u8>> {
    let chain = parse_chain_13(body).or_else(|_| parse_chain(body)).ok()?;
    let ders = || std::iter::once(&chain.end_entity).chain(&chain.issuers);
    let mut seed = vec![0];
    seed.extend(1_790_000_000_u32.to_be_bytes());
    seed.extend(b"a.upstream.test\0");
    seed.extend([1, u8::try_from(chain.issuers.len()).ok()?]);
    for der in ders().next_back().into_iter().chain(ders()) {
        seed.extend(short(der.len()));
        seed.extend(&**der);
    }
    Some(seed)
}

/// Inputs that once failed this target.
pub fn regressions(target: &str) -> Vec<Vec<u8>> {
    contents(&format!("fuzz/regressions/{target}"))
}

/// Seeds of the target of this name; inputs that once failed come first.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = regressions(target);
    let recordings = recordings();
    match target {
        "records" => seeds.extend(recordings.iter().flat_map(|events| both(events))),
        "wire" => seeds.extend(recordings.iter().map(|events| {
            let [client, server] = both(events);
            [&[64][..], &short(client.len()), &client, &server].concat()
        })),
        "hello" => seeds.extend(messages(&[1, 2, 8])),
        "certificate" => seeds.extend(messages(&[11])),
        "chain" => seeds.extend(messages(&[11]).iter().filter_map(|body| chain(body))),
        "flights" => seeds.extend(flights()),
        "prelude" => {
            seeds.extend(recordings.iter().map(|events| {
                let [client, server] = both(events);
                [&short(client.len())[..], &client, &server].concat()
            }));
            seeds.extend(preludes());
        }
        "capture" => {
            seeds.push(pcap());
            seeds.extend(wrapped());
            seeds.push(pcapng());
            let small =
                contents("core/fixtures/handshakes").into_iter().filter(|f| f.len() < 20_000);
            seeds.extend(small.take(6));
            let captures = captures(&shared().join("corpus")).into_iter();
            let read = captures.map(|path| fs::read(path).expect("read a capture"));
            seeds.extend(read.filter(|capture| capture.len() <= CAPTURE_BYTES));
        }
        "inventory" => {
            let text = include_str!("../../../../docs/HOPS.md");
            let example = text.split("```").find_map(|block| block.strip_prefix("json\n"));
            seeds.push(example.expect("an example").as_bytes().to_vec());
        }
        "nginx_conf" => seeds.extend(contents("posture/fixtures/nginx")),
        "haproxy_conf" => seeds.extend(contents("posture/fixtures/haproxy")),
        "apache_conf" => seeds.extend(contents("posture/fixtures/apache")),
        "traefik_conf" => seeds.extend(contents("posture/fixtures/traefik")),
        "process" => {
            let id = "0123456789abcdef".repeat(4);
            let pod = "kubepods.slice/kubepods-pod1f2e3d4c_5b6a_4978_8695_a4b3c2d1e0f1.slice";
            seeds.extend([
                format!("0::/{pod}/cri-containerd-{id}.scope\n").into_bytes(),
                format!("0::/user.slice/user-1000.slice/user@1000.service/{pod}/{id}\n")
                    .into_bytes(),
                format!("4:memory:/docker/{id}\n0::/system.slice/nginx.service\n").into_bytes(),
                b"nginx: master process nginx -p /srv -c edge.conf -g daemon".to_vec(),
                b"/usr/sbin/nginx\0-tqc\0/etc/nginx/nginx.conf\0-p/srv\0".to_vec(),
                b"\0 --prefix=/etc/nginx --conf-path=/etc/nginx/nginx.conf \0".to_vec(),
            ]);
        }
        "policy" => {
            seeds.push(hopsight::config::DEFAULT_FILE.as_bytes().to_vec());
            seeds.push(POLICY.as_bytes().to_vec());
        }
        "transcript" => seeds.extend(recordings.iter().map(|events| {
            let mut code = Vec::new();
            for event in events {
                let Event::Library(event) = event else { continue };
                match &event.observation {
                    LibraryObservation::TranscriptUpdate { bytes, .. } => {
                        code.extend([0, 0]);
                        code.extend(short(bytes.len()));
                        code.extend(bytes);
                    }
                    LibraryObservation::VerifyResult { .. } => code.extend([0, 3, 0]),
                    _ => {}
                }
            }
            code
        })),
        "program" => seeds.extend(
            [
                crafted::go_client().go("go1.27.1", true),
                crafted::go_client().go("go1.24.11", false),
                crafted::boringssl().c(&["BoringSSL"]),
                crafted::openssl().c_with(
                    &["OpenSSL 3.5.4 30 Sep 2025"],
                    &["tls_process_new_session_ticket", "EVP_Digest"],
                ),
                crafted::rustls().c(&["/rustls-0.23.46/src/"]),
            ]
            .map(|file| file.bytes),
        ),
        "reassembly" => seeds.extend([
            b"\0\0\x04abcd\0\x04\x04efgh\0\x02\x03cde".to_vec(),
            b"\0\x08\x04ijkl\0\0\x04abcd\0\x04\x04efgh".to_vec(),
            b"\0\x02\x04cdef\0\0\x04abcX\0\x04\x02ef".to_vec(),
        ]),
        "pipeline" => seeds.extend(recordings.iter().map(|events| code::of(events))),
        other => panic!("no seeds for {other}"),
    }
    seeds.retain(|seed| !seed.is_empty());
    seeds
}

/// One-way, empty, mutual and resumed flights (lengths as in `fixture.jsonl` of the flight tests).
fn flights() -> Vec<Vec<u8>> {
    let record = |from: u8, length: u16| [&[from][..], &length.to_be_bytes()].concat();
    let server = [record(1, 27), record(1, 900), record(1, 281), record(1, 53)].concat();
    let asking = [record(1, 27), record(1, 40), record(1, 900), record(1, 281), record(1, 53)];
    let client = |lengths: &[u16]| lengths.iter().flat_map(|l| record(0, *l)).collect::<Vec<u8>>();
    vec![
        [&[0, 0][..], &server, &client(&[53, 200])].concat(),
        [&[0, 0][..], &asking.concat(), &client(&[25, 53, 200])].concat(),
        [&[0, 0][..], &asking.concat(), &client(&[900, 281, 53, 200])].concat(),
        [&[0, 3][..], &client(&[53, 200])].concat(),
        [&[1, 0][..], &asking.concat(), &client(&[1230]), &[0xf1]].concat(),
    ]
}

fn preludes() -> Vec<Vec<u8>> {
    let texts: [(&[u8], &[u8]); 8] = [
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n\x16\x03\x01\x00\x05\x01", b""),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02\x16\x03\x01",
            b"",
        ),
        (b"\0\0\0\x08\x04\xd2\x16\x2f\x16\x03\x01", b"S"),
        (b"EHLO a\r\nSTARTTLS\r\n\x16\x03\x01", b"220 a\r\n250-a\r\n250 STARTTLS\r\n220 go\r\n"),
        (b"a STARTTLS\r\n\x16\x03\x01", b"* OK\r\na OK go\r\n"),
        (b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16", b""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n\x16\x03\x01\x00\x05\x01", b"HTTP/1.1 200 OK\r\n\r\n"),
    ];
    texts.map(|(client, server)| [&short(client.len())[..], client, server].concat()).to_vec()
}

/// A SYN and a hello in Ethernet frames.
fn pcap() -> Vec<u8> {
    let mut writer = pcap_file::pcap::PcapWriter::new(Vec::new()).expect("a header");
    for (syn, payload) in [(true, &b""[..]), (false, b"\x16\x03\x01\x00\x05\x01\0\0\x01\0")] {
        let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1000, 443, if syn { 1 } else { 2 }, 100);
        let mut frame = Vec::new();
        let builder = if syn { builder.syn() } else { builder };
        builder.write(&mut frame, payload).expect("a frame");
        let length = u32::try_from(frame.len()).expect("a small frame");
        let at = std::time::Duration::from_secs(1);
        let packet = pcap_file::pcap::PcapPacket::new_owned(at, length, frame);
        writer.write_packet(&packet).expect("a packet");
    }
    writer.into_writer()
}

/// Link types and what stands there before an IP packet, tunnels among it.
const WRAPPINGS: &[(u8, &[u8])] = &[
    (0, &[2, 0, 0, 0]),
    (9, &[0xff, 3, 0, 0x21]),
    (50, &[0x0f, 0, 8, 0]),
    (101, &[]),
    (113, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 5, 8, 0]),
    (117, &[4, 2, 0, 0]),
    (239, &[2, 0, 0, 0, 54, 0, 9, 0]),
    // Ethernet: two tags, MPLS, PPPoE, Cisco MetaData, 802.1ah, MACsec, SNAP.
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x91, 0, 0, 5, 0x81, 0, 0, 6, 8, 0]),
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x47, 0, 1, 1, 9]),
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x64, 0x11, 0, 0, 9, 0, 52, 0, 0x21]),
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x89, 0x09, 1, 1, 0, 1, 0, 5, 8, 0]),
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xe5, 0, 0, 0, 0, 0, 0, 8, 0]),
    (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
    // IPv4 with GRE and a key, with IP, with a fragment; with UDP to VXLAN and to GENEVE.
    (101, b"\x45\0\0\x46\0\0\0\0\x40\x2f\0\0\xc0\0\x02\x01\xc0\0\x02\x02\x20\0\x08\0\0\0\0\x2a"),
    (101, b"\x45\0\0\x46\0\0\0\0\x40\x04\0\0\xc0\0\x02\x01\xc0\0\x02\x02"),
    (101, b"\x45\0\0\x44\0\x07\x20\0\x40\x04\0\0\xc0\0\x02\x01\xc0\0\x02\x02"),
    (
        101,
        b"\x45\0\0\x5c\0\0\0\0\x40\x11\0\0\xc0\0\x02\x01\xc0\0\x02\x02\xc3\x50\x21\x18\0\0\0\0\
          \x08\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0",
    ),
    (
        101,
        b"\x45\0\0\x5c\0\0\0\0\x40\x11\0\0\xc0\0\x02\x01\xc0\0\x02\x02\xc3\x50\x17\xc1\0\0\0\0\
          \x01\0\x08\0\0\0\x07\0\0\0\0\0",
    ),
];

/// A classic capture for each wrapping, with the hello in it.
fn wrapped() -> Vec<Vec<u8>> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 443, 2, 100)
        .write(&mut packet, b"\x16\x03\x01\x00\x05\x01\0\0\x01\0")
        .expect("a packet");
    let file = |(link, wrapping): &(u8, &[u8])| {
        let mut file = pcap()[..24].to_vec();
        file[20] = *link;
        let length = u32::try_from(wrapping.len() + packet.len()).expect("a small packet");
        for field in [1, 0, length, length] {
            file.extend(field.to_le_bytes());
        }
        [&file, *wrapping, &packet].concat()
    };
    WRAPPINGS.iter().map(file).collect()
}

/// A section, an interface with options, and a packet block of each kind.
fn pcapng() -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 12).expect("a small block").to_be_bytes();
        [&kind.to_be_bytes()[..], &length, &body, &length].concat()
    };
    let frame = &pcap()[40..94];
    let length = 54_u32.to_be_bytes();
    let options = [0, 9, 0, 1, 9, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];
    [
        block(
            0x0a0d_0d0a,
            &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        ),
        block(1, &[&[0, 1, 0, 0, 0, 0, 0, 0][..], &options].concat()),
        block(
            6,
            &[&[0; 12][..], &length, &length, frame, &[0, 0, 0, 2, 0, 4, 0, 0, 0, 0]].concat(),
        ),
        block(2, &[&[0; 12][..], &length, &length, frame].concat()),
        block(3, &[&length[..], frame].concat()),
    ]
    .concat()
}

const POLICY: &str = r#"[[policies]]
name = "payments"
match = { proxy = "nginx*", upstream = ["*.pay.test"], cidr = "10.0.0.0/8", port = 443 }
require = "mtls"
min_version = "TLSv1.2"
verify_upstream = true
allowed_client_issuers = ["*CN=Mesh CA*"]
forbidden_ciphers = ["*CBC*"]
"#;

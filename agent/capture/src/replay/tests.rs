use std::{io::Cursor, path::Path};

use super::{frame::Order, *};

/// Bytes of a number in one of the two orders.
fn number(order: Order, value: u32) -> [u8; 4] {
    if order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
}

fn short(order: Order, value: u16) -> [u8; 2] {
    if order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// The opening of a connection between these ports, in Ethernet.
fn syn(from: u16, to: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(from, to, 7, 100)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame
}

/// Every event of a capture and what became of its packets.
fn read(file: Vec<u8>) -> (Vec<Event>, ReplayCounts) {
    let mut source = ReplaySource::new(Cursor::new(file), Path::new("test")).unwrap();
    let mut events = Vec::new();
    while source.poll(Duration::ZERO, &mut events).unwrap() == SourceState::Open {}
    (events, source.counts())
}

/// When each connection was opened, by the port that opened it.
fn openings(file: Vec<u8>) -> Vec<(u64, u16)> {
    let (events, counts) = read(file);
    assert_eq!(counts.damaged, None);
    let opened = events.iter().filter_map(|event| match event {
        Event::Opened { at, destination, .. } => Some((at.0, destination.port())),
        _ => None,
    });
    opened.collect()
}

/// A classic capture.
struct Classic {
    order: Order,
    magic: u32,
    version: (u16, u16),
    snap_len: u32,
    link: u32,
    /// Exchanges captured and original length.
    exchanged: bool,
}

const CLASSIC: Classic = Classic {
    order: Order::Little,
    magic: 0xa1b2_c3d4,
    version: (2, 4),
    snap_len: 262_144,
    link: 1,
    exchanged: false,
};

impl Classic {
    fn header(&self) -> Vec<u8> {
        let Self { order, magic, version, snap_len, link, .. } = *self;
        let mut file = number(order, magic).to_vec();
        file.extend(short(order, version.0));
        file.extend(short(order, version.1));
        for field in [0, 0, snap_len, link] {
            file.extend(number(order, field));
        }
        file
    }

    fn packet(&self, fraction: u32, data: &[u8], original: u32) -> Vec<u8> {
        let captured = u32::try_from(data.len()).unwrap();
        let lengths = if self.exchanged { [original, captured] } else { [captured, original] };
        let mut packet = Vec::new();
        for field in [1, fraction, lengths[0], lengths[1]] {
            packet.extend(number(self.order, field));
        }
        if self.magic == 0xa1b2_cd34 {
            packet.extend([9; 8]);
        }
        packet.extend(data);
        packet
    }

    fn of_one(&self, fraction: u32) -> Vec<u8> {
        let frame = syn(1000, 443);
        [self.header(), self.packet(fraction, &frame, u32::try_from(frame.len()).unwrap())].concat()
    }
}

#[test]
fn every_kind_of_classic_capture_is_read() {
    let at = 1_000_005_000;
    for (name, file, fraction, at) in [
        ("little endian", CLASSIC, 5, at),
        ("big endian", Classic { order: Order::Big, ..CLASSIC }, 5, at),
        ("nanoseconds", Classic { magic: 0xa1b2_3c4d, ..CLASSIC }, 5, 1_000_000_005),
        (
            "nanoseconds, big endian",
            Classic { magic: 0xa1b2_3c4d, order: Order::Big, ..CLASSIC },
            5,
            1_000_000_005,
        ),
        ("patched", Classic { magic: 0xa1b2_cd34, ..CLASSIC }, 5, at),
        (
            "patched, big endian",
            Classic { magic: 0xa1b2_cd34, order: Order::Big, ..CLASSIC },
            5,
            at,
        ),
        ("snapshot length 0", Classic { snap_len: 0, ..CLASSIC }, 5, at),
        ("snapshot length below the packet's", Classic { snap_len: 20, ..CLASSIC }, 5, at),
        ("fraction above a second", CLASSIC, 3_000_000, 4_000_000_000),
        ("largest fraction", CLASSIC, u32::MAX, 4_295_967_295_000),
        ("frame check sequences", Classic { link: 0x1400_0001, ..CLASSIC }, 5, at),
        ("lengths exchanged", Classic { version: (2, 2), exchanged: true, ..CLASSIC }, 5, at),
        ("lengths as one liked", Classic { version: (2, 3), exchanged: true, ..CLASSIC }, 5, at),
    ] {
        assert_eq!(openings(file.of_one(fraction)), [(at, 443)], "{name}");
    }
}

#[test]
fn a_packet_longer_than_what_is_looked_at_is_passed() {
    let mut long = syn(1000, 443);
    long.resize(3 << 20, 0);
    let last = syn(1001, 444);
    let length = |data: &[u8]| u32::try_from(data.len()).unwrap();
    let file = [
        CLASSIC.header(),
        CLASSIC.packet(0, &long, length(&long)),
        CLASSIC.packet(1, &last, length(&last)),
    ];
    assert_eq!(openings(file.concat()), [(1_000_000_000, 443), (1_000_001_000, 444)]);
}

#[test]
fn what_ends_a_file_early_is_said() {
    let whole = CLASSIC.of_one(0);
    let mut absurd = whole.clone();
    absurd[32..36].fill(0xff);
    for (name, file, read_before, said) in [
        ("cut packet", whole[..whole.len() - 1].to_vec(), 0, "ends inside"),
        ("cut header", [&whole[..], &[0; 15]].concat(), 1, "ends inside"),
        ("absurd length", absurd, 0, "4294967295 bytes long"),
    ] {
        let (_, counts) = read(file);
        assert_eq!(counts.read, read_before, "{name}");
        assert!(counts.damaged.is_some_and(|why| why.contains(said)), "{name}");
    }
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let length = number(order, u32::try_from(padded.len() + 12).unwrap());
    [&number(order, kind)[..], &length, &padded, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    let body = [&number(order, 0x1a2b_3c4d)[..], &short(order, 1), &[0; 2], &[0xff; 8]].concat();
    block(order, 0x0a0d_0d0a, &body)
}

fn option(order: Order, code: u16, value: &[u8]) -> Vec<u8> {
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(4), 0);
    let length = short(order, u16::try_from(value.len()).unwrap());
    [&short(order, code)[..], &length, &padded].concat()
}

fn interface(order: Order, options: &[u8]) -> Vec<u8> {
    block(order, 1, &[&short(order, 1)[..], &[0; 2], &number(order, 0), options].concat())
}

/// An enhanced packet block of the opening to this port, at one second and five units.
fn packet(order: Order, interface: u32, to: u16, options: &[u8]) -> Vec<u8> {
    let frame = syn(1000, to);
    let length = number(order, u32::try_from(frame.len()).unwrap());
    let stamp = [number(order, 0), number(order, 1_000_005)].concat();
    let mut data = frame.clone();
    data.resize(frame.len().next_multiple_of(4), 0);
    let body = [&number(order, interface)[..], &stamp, &length, &length, &data, options].concat();
    block(order, 6, &body)
}

#[test]
fn every_kind_of_pcapng_is_read() {
    use Order::{Big, Little};
    let frame = syn(1000, 443);
    let length = number(Little, u32::try_from(frame.len()).unwrap());
    let obsolete = [
        &short(Little, 0)[..],
        &short(Little, 0),
        &number(Little, 0),
        &number(Little, 1_000_005),
        &length,
        &length,
        &frame,
    ];
    let simple = block(Little, 3, &[&length[..], &frame].concat());
    let at = 1_000_005_000;
    let resolution = |value: &[u8]| interface(Little, &option(Little, 9, value));
    let overrunning = [&short(Little, 2)[..], &short(Little, 400), b"eth0"].concat();
    let one = packet(Little, 0, 443, &[]);
    let plain = interface(Little, &[]);
    let unknown = block(Little, 0x0bad, &vec![7; 3 << 20]);
    for (name, blocks, opened) in [
        ("plain", vec![section(Little), plain.clone(), one.clone()], vec![(at, 443)]),
        (
            "big endian",
            vec![section(Big), interface(Big, &[]), packet(Big, 0, 443, &[])],
            vec![(at, 443)],
        ),
        (
            "sections in both orders",
            vec![
                section(Big),
                interface(Big, &option(Big, 9, &[9])),
                packet(Big, 0, 443, &[]),
                section(Little),
                plain.clone(),
                packet(Little, 0, 444, &[]),
            ],
            vec![(1_000_005, 443), (at, 444)],
        ),
        (
            "two interfaces",
            vec![
                section(Little),
                plain.clone(),
                resolution(&[9]),
                packet(Little, 1, 443, &[]),
                packet(Little, 0, 444, &[]),
            ],
            vec![(1_000_005, 443), (at, 444)],
        ),
        ("obsolete", vec![section(Little), plain.clone(), block(Little, 2, &obsolete.concat())], {
            vec![(at, 443)]
        }),
        ("simple", vec![section(Little), plain.clone(), simple], vec![(0, 443)]),
        (
            "blocks that are not read",
            vec![section(Little), unknown, plain.clone(), one.clone()],
            vec![(at, 443)],
        ),
        ("milliseconds", vec![section(Little), resolution(&[3]), one.clone()], {
            vec![(1_000_005_000_000, 443)]
        }),
        ("picoseconds", vec![section(Little), resolution(&[12]), one.clone()], vec![(1_000, 443)]),
        ("powers of two", vec![section(Little), resolution(&[0x94]), one.clone()], {
            vec![(953_679_084, 443)]
        }),
        ("absurd resolution", vec![section(Little), resolution(&[0x7f]), one.clone()], {
            vec![(0, 443)]
        }),
        (
            "offset",
            vec![
                section(Big),
                interface(Big, &option(Big, 14, &2_i64.to_be_bytes())),
                packet(Big, 0, 443, &[]),
            ],
            vec![(at + 2_000_000_000, 443)],
        ),
        (
            "text in Latin-1",
            vec![section(Little), interface(Little, &option(Little, 3, b"R\xe9seau")), one.clone()],
            vec![(at, 443)],
        ),
        (
            "options without an end",
            vec![
                section(Little),
                plain.clone(),
                packet(Little, 0, 443, &option(Little, 2, &[0; 4])),
            ],
            vec![(at, 443)],
        ),
        (
            "an option longer than its packet block",
            vec![section(Little), plain.clone(), packet(Little, 0, 443, &overrunning), one.clone()],
            vec![(at, 443)],
        ),
    ] {
        assert_eq!(openings(blocks.concat()), opened, "{name}");
    }
}

#[test]
fn odd_options_are_passed_over_and_told() {
    use Order::Little;
    for (name, options, odd) in [
        ("resolution of four bytes", option(Little, 9, &[6, 0, 0, 0]), 1),
        ("resolution of none", option(Little, 9, &[]), 1),
        ("offset of four bytes", option(Little, 14, &[1, 0, 0, 0]), 1),
        ("overrun", [&option(Little, 9, &[9])[..], &[2, 0, 0xff, 0, b'x', 0, 0, 0]].concat(), 1),
        ("unknown", option(Little, 0x7777, &[1, 2, 3]), 0),
        ("end", option(Little, 0, &[]), 0),
    ] {
        let file = [section(Little), interface(Little, &options), packet(Little, 0, 443, &[])];
        let (events, counts) = read(file.concat());
        assert_eq!(counts.odd_options, odd, "{name}");
        assert_eq!(counts.damaged, None, "{name}");
        assert!(matches!(events[0], Event::Opened { .. }), "{name}");
    }
}

#[test]
fn packets_of_undescribed_interfaces_are_told() {
    let file = [section(Order::Little), packet(Order::Little, 3, 443, &[])];
    let (_, counts) = read(file.concat());
    let told = "1 of 1 packets belong to interfaces that the file does not describe";
    assert_eq!(counts.told().as_deref(), Some(told));
}

#[test]
fn blocks_whose_lengths_disagree_end_the_file() {
    let mut file = [section(Order::Little), interface(Order::Little, &[])].concat();
    file.extend(packet(Order::Little, 0, 443, &[]));
    let last = file.len() - 4;
    file[last] ^= 0x40;
    let (events, counts) = read(file);
    assert!(!events.is_empty(), "the packet itself is whole");
    assert!(counts.damaged.is_some_and(|why| why.starts_with("a block's lengths are")));
}

#[test]
fn what_was_not_read_is_told_beside_what_was() {
    let mut file = CLASSIC.header();
    let gtp = {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(2152, 2152)
            .write(&mut frame, &[0x30, 255, 0, 0, 0, 0, 0, 1, 0x45])
            .unwrap();
        frame
    };
    for frame in [&gtp, &gtp, &syn(1000, 443)] {
        file.extend(CLASSIC.packet(0, frame, u32::try_from(frame.len()).unwrap()));
    }
    let (_, counts) = read(file);
    assert_eq!(
        counts.told().as_deref(),
        Some("2 of 3 packets are inside GTP-U, which is not read")
    );
    let mut other = Classic { link: 239, ..CLASSIC }.of_one(0);
    other[20] = 147;
    assert_eq!(read(other).1.told().as_deref(), Some("link type 147 is not read (1 packet)"));
}

//! The error that matters most: encrypted bytes called clear text, or taken for a protocol.
//!
//! A million messages of bytes that look encrypted, alone and after what other protocols put before
//! theirs: lengths and small numbers. Each recogniser fixes 24 bits or more beside those, and there
//! are some 30, so that fewer than two in a million would be expected if they were all as loose as
//! they may be. None is.

#[path = "support/spread.rs"]
mod spread;

use std::{collections::BTreeMap, thread};

use hopsight_core::stream::prelude::{Ending, Opening, inspect};
use spread::Spread;

/// A framing: what stands before a message of this length, where it is the n-th.
type Framing = (&'static str, fn(length: usize, n: u32) -> Vec<u8>);

fn big(length: usize, bytes: usize) -> Vec<u8> {
    length.to_be_bytes()[8 - bytes..].to_vec()
}

fn little(length: usize, bytes: usize) -> Vec<u8> {
    length.to_le_bytes()[..bytes].to_vec()
}

/// A number as protocols count: 0 to 31.
const fn small(n: u32) -> u8 {
    (n % 32) as u8
}

const FRAMINGS: &[Framing] = &[
    ("nothing", |_, _| Vec::new()),
    ("a length of 2 bytes", |length, _| big(length, 2)),
    ("a length of 2 bytes, little-endian", |length, _| little(length, 2)),
    ("a length of 3 bytes", |length, _| big(length, 3)),
    ("a length of 4 bytes", |length, _| big(length, 4)),
    ("a length of 4 bytes that counts itself", |length, _| big(length + 4, 4)),
    ("a length of 4 bytes, little-endian", |length, _| little(length, 4)),
    ("a length, a nonce that counts", |length, n| {
        [big(length + 12, 4), vec![0; 11], vec![small(n) / 8]].concat()
    }),
    ("a length of 8 bytes", |length, _| big(length, 8)),
    ("a type, a length of 2 bytes", |length, n| [vec![small(n)], big(length, 2)].concat()),
    ("a type, a length of 4 bytes", |length, n| [vec![small(n)], big(length, 4)].concat()),
    ("a length, two small numbers of 2 bytes", |length, n| {
        [big(length, 4), vec![0, small(n), 0, small(n / 32)]].concat()
    }),
    // With 6 as the first it is ALTS's own, by which alone that is told.
    ("a length, two small numbers of 4 bytes, little-endian", |length, n| {
        [little(length, 4), vec![small(n) % 6, 0, 0, 0, small(n / 6), 0, 0, 0]].concat()
    }),
    ("a number, zero, a length: Modbus's own", |length, n| {
        [vec![0, small(n), 0, 0], big(length, 2)].concat()
    }),
    ("a length of 3 bytes, a number: MySQL's own", |length, n| {
        [little(length, 3), vec![small(n) % 2]].concat()
    }),
    ("a version, flags, a number, a type, a length: Cassandra's own", |length, n| {
        [vec![small(n) % 6, 0, 0, small(n), small(n / 32)], big(length, 4)].concat()
    }),
];

/// What is wrongly said of a message, if anything is: a protocol, encrypted or not.
fn mistaken(client: &[u8], server: &[u8]) -> Option<String> {
    match inspect(client, server, Ending::Closed).opening {
        Opening::Pending | Opening::Undecided | Opening::Tls(_) => None,
        mistaken => Some(format!("{mistaken:?}")),
    }
}

/// Tries as many messages of a framing, of 16 bytes and more: shorter ones have no room for a tag.
fn try_framing(framing: &Framing, trials: u32, seed: u64) -> BTreeMap<String, u32> {
    let mut spread = Spread(seed);
    let mut found = BTreeMap::new();
    for n in 0..trials {
        let length = 16 + (n as usize * 7) % 112;
        let message = |bytes: Vec<u8>| [framing.1(bytes.len(), n), bytes].concat();
        let client = message(spread.bytes(length));
        let server = if n % 2 == 0 { Vec::new() } else { message(spread.bytes(length)) };
        // Some servers speak first, and alone.
        let (client, server) =
            if n % 8 == 0 { (&[][..], &client[..]) } else { (&client[..], &server[..]) };
        if let Some(what) = mistaken(client, server) {
            *found.entry(format!("{}: {what}", framing.0)).or_default() += 1;
        }
    }
    found
}

#[test]
fn evenly_spread_bytes_are_nothing() {
    const TRIALS: u32 = 1_000_000 / 16;
    assert_eq!(FRAMINGS.len(), 16);
    let found: BTreeMap<String, u32> = thread::scope(|scope| {
        let halves = FRAMINGS.chunks(8).enumerate().map(|(half, framings)| {
            scope.spawn(move || {
                let tried = framings.iter().zip(1..).map(|(framing, n)| {
                    try_framing(framing, TRIALS, 0x5eed + 100 * half as u64 + n)
                });
                tried.flatten().collect::<BTreeMap<_, _>>()
            })
        });
        let threads: Vec<_> = halves.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// An encoding of evenly spread bytes as text.
type Encoding = (&'static str, &'static [u8], usize);

/// Name, alphabet, characters of a line or group.
const ENCODINGS: &[Encoding] = &[
    ("base64", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64),
    (
        "base64url, one line",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        999,
    ),
    ("hexadecimal", b"0123456789abcdef", 64),
    ("hexadecimal, bytes", b"0123456789ABCDEF", 2),
    ("hexadecimal, words", b"0123456789abcdef", 8),
    ("base32", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 72),
    ("base32, in groups", b"abcdefghijklmnopqrstuvwxyz234567", 5),
    ("base32hex", b"0123456789ABCDEFGHIJKLMNOPQRSTUV", 72),
    ("base58", b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", 999),
    (
        "ascii85",
        b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu",
        75,
    ),
    (
        "Z85",
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
        999,
    ),
    ("uuencode", b"`!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_", 61),
    ("letters", b"abcdefghijklmnopqrstuvwxyz", 999),
];

#[test]
fn encoded_bytes_are_no_words() {
    const TRIALS: u32 = 4_000;
    let mut spread = Spread(0xc0de);
    for (name, alphabet, group) in ENCODINGS {
        for separator in ["\n", " "] {
            let mut text = |length: usize| {
                let letter = |byte: &u8| alphabet[usize::from(*byte) % alphabet.len()];
                let letters: Vec<u8> = spread.bytes(length).iter().map(letter).collect();
                let lines = letters.chunks(*group).collect::<Vec<_>>();
                [&lines.join(separator.as_bytes())[..], b"\r\n"].concat()
            };
            for n in 0..TRIALS {
                let length = 24 + n as usize % 200;
                let (client, server) = (text(length), text(length));
                for server in [&[], &server[..]] {
                    let said = mistaken(&client, server);
                    assert_eq!(said, None, "{name} divided by {separator:?}: {client:?}");
                }
            }
        }
    }
}

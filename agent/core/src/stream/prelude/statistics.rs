//! Whether the bytes of a protocol that nobody here knows read as clear text, by counting.
//!
//! Encrypted bytes are spread evenly over all values; encoded as text, over the letters of an
//! alphabet. Each test compares one of these with what clear protocols send, by a likelihood ratio:
//! what is evenly spread exceeds a ratio of 2^n at most once in 2^n trials, whatever its length
//! (Markov's inequality), and [`THRESHOLD`] is 24 bits. Zeros, and 0xff, count for nothing: they come
//! with lengths and counters, which may stand before encrypted bytes as well. What is left open is
//! undecided. How often each errs on captured traffic is in `agent/RELIABILITY.md`.
//!
//! A protocol that negotiates in the clear and encrypts afterwards passes by its beginning; those that
//! are known are told by name before anything is counted.

use super::words;

/// Bytes of each direction that are counted: an unknown protocol that says more is at its work.
pub const SAMPLE: usize = 128;
/// In tenths of a bit.
const THRESHOLD: i32 = 240;
/// As strong a word of the server's against what the client's bytes say.
const DOUBT: i32 = -THRESHOLD;

/// Some twenty evenly spread bytes at the end of what was said, after clear ones.
const LATE_DOUBT: i32 = -200;

/// Whether both directions read as clear text. The client's bytes decide, where it has spoken; the
/// server's must not contradict, and its words help where both speak in text. What decides may not end
/// in what is evenly spread: a negotiation in the clear, and then what was negotiated.
#[must_use]
pub fn reads_as_clear(client: &[u8], server: &[u8]) -> bool {
    let [client, server] = [client, server].map(|bytes| &bytes[..bytes.len().min(SAMPLE)]);
    let (decides, other) = if client.is_empty() { (server, client) } else { (client, server) };
    let answers_in_text = text(other) > 0;
    let is_clear = if text(decides) >= THRESHOLD {
        let answer = if answers_in_text { words::text_words(other).max(0) } else { 0 };
        words::is_document(decides) || words::text_words(decides) + answer >= THRESHOLD
    } else {
        structure(decides) >= THRESHOLD
    };
    is_clear && !ends_evenly_spread(decides) && (answers_in_text || structure(other) > DOUBT)
}

/// Whether the last of these bytes speak against clear text, whatever came before them.
fn ends_evenly_spread(bytes: &[u8]) -> bool {
    let mut evidence = 0;
    text(bytes) == 0
        && bytes.iter().rev().any(|byte| {
            evidence += number(*byte);
            evidence < LATE_DOUBT
        })
}

/// Evidence for text, in tenths of a bit: printable characters and white space in UTF-8, and a line
/// that ends. Zero if another byte is among them.
pub fn text(bytes: &[u8]) -> i32 {
    // Per byte: ASCII, and the sequences of two to four bytes, are that much likelier than evenly
    // spread bytes to be what is sent.
    const BYTE: i32 = 11;
    // One value of 256.
    const LINE_END: i32 = 80;
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A character that is cut at the end is no fault.
        Err(error) if error.error_len().is_none() => {
            let valid = &bytes[..error.valid_up_to()];
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return 0,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    if !whole.chars().all(is_text) {
        return 0;
    }
    let line = whole.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let ends = whole.len() - line.unwrap_or(whole).len();
    let weigh = |count: usize, weight: i32| i32::try_from(count).unwrap_or(0) * weight;
    weigh(whole.len() - ends, BYTE) + weigh(ends, LINE_END)
}

/// Evidence for a binary protocol, in tenths of a bit: small numbers and words, few values beyond
/// ASCII.
pub fn structure(bytes: &[u8]) -> i32 {
    bytes.iter().map(|byte| number(*byte)).sum::<i32>() + words::words(bytes)
}

const fn number(byte: u8) -> i32 {
    match byte {
        b'\t' | b'\n' | b'\r' => 0,
        // 28 values, 44 percent of what counts.
        0x01..=0x1f => 20,
        // 128 values, 10 percent of all.
        0x7f..=0xfe => -23,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_those_of_a_likelihood_ratio() {
        // The sum of chance times ratio over all values is 1 at most, or the bound does not hold.
        let ratio = |weight: i32| 2_f64.powf(f64::from(weight) / 10.0);
        let sum: f64 = (0..=255_u8).map(|byte| ratio(number(byte)) / 256.0).sum();
        assert!(sum <= 1.0, "{sum}");
        // Characters of one to four bytes, among all sequences as long.
        let characters: f64 = [98.0, 1920.0, 61_440.0, 1_048_576.0]
            .iter()
            .zip(1..)
            .map(|(count, length)| count / 256_f64.powi(length) * ratio(11 * length))
            .sum();
        assert!(characters <= 1.0, "{characters}");
    }

    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    #[test]
    fn what_is_clear() {
        let random: Vec<u8> =
            (0..200_u32).map(|n| (n * n * 193 + n * 77).to_be_bytes()[3]).collect();
        let framed = |header: &[u8]| [header, &random[..120]].concat();
        let counted: Vec<u8> =
            random.chunks(12).flat_map(|frame| [&[0; 7][..], &[5], frame].concat()).collect();
        let base64: Vec<u8> = random.iter().map(|byte| BASE64[usize::from(byte % 64)]).collect();
        let hex: Vec<u8> =
            random.iter().flat_map(|byte| format!("{byte:02x} ").into_bytes()).collect();
        let armour = [&b"-----BEGIN PGP MESSAGE-----\nVersion: some\n\n"[..], &base64].concat();
        let fields = [
            &b"\0\0\0\x60\x01\0\x02\x03"[..],
            b"\x08username\x03bob\x01\x02\x03\x07project\x04main\x01\x01\x05state\x05ready",
        ]
        .concat();
        let words = b"HELLO I am a client that speaks in lines, who are you\r\n";
        let cases: [(&str, &[u8], &[u8], bool); 20] = [
            ("nothing", b"", b"", false),
            ("a word", b"hello", b"", false),
            ("JSON of twenty-one characters", b"{\"hello\": \"my world\"}", b"", false),
            ("JSON of twenty-two characters", b"{\"hello\":  \"my world\"}", b"", true),
            ("some words", b"HELLO I am a client\r\n", b"", false),
            ("some words, and an answer", b"HELLO I am a client\r\n", words, true),
            ("more words", words, b"", true),
            (
                "text in another script",
                "\u{442}\u{435}\u{441}\u{442}\u{442} \u{442}\u{435}\u{441}\u{442}\u{442}!"
                    .as_bytes(),
                b"",
                true,
            ),
            ("small numbers and words", &fields, b"", true),
            ("numbers and zeros", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a", b"", false),
            ("base64", &base64, b"", false),
            ("hexadecimal", &hex, b"", false),
            ("an armour", &armour, b"", false),
            ("evenly spread", &random, b"", false),
            ("evenly spread after a length", &framed(b"\0\0\0\x78"), b"", false),
            ("short frames, each after a counter", &counted, b"", false),
            ("evenly spread after two words", &framed(b"\0\0\0\x78\0\0\0\x01"), b"", false),
            ("words, then what is evenly spread", &[words, &random[..40]].concat(), b"", false),
            ("words answered by what is evenly spread", words, &random, false),
            ("words answered in base64", words, &base64, true),
        ];
        for (name, client, server, expected) in cases {
            assert_eq!(reads_as_clear(client, server), expected, "{name}");
        }
    }
}

//! Whether the bytes of a protocol that nobody here knows read as clear text, by counting.
//!
//! Encrypted bytes are spread evenly over all values. Two tests compare that with what clear
//! protocols send, each by a likelihood ratio: evenly spread bytes exceed a ratio of 2^n at most
//! once in 2^n trials, whatever their number (Markov's inequality), and [`THRESHOLD`] is 24 bits.
//! What both leave open is undecided. How often each errs on captured traffic is in
//! `agent/RELIABILITY.md`.
//!
//! A protocol that negotiates in the clear and encrypts afterwards passes by its beginning; those that
//! are known are told by name before anything is counted.

/// Bytes of each direction that are counted: an unknown protocol that says more is at its work.
pub const SAMPLE: usize = 128;
/// In tenths of a bit.
const THRESHOLD: i32 = 240;
/// As strong a word of the server's against what the client's bytes say.
const DOUBT: i32 = -THRESHOLD;

/// Whether both directions read as clear text. The client's bytes decide, where it has spoken; the
/// server's must not contradict.
#[must_use]
pub fn reads_as_clear(client: &[u8], server: &[u8]) -> bool {
    let [client, server] = [client, server].map(|bytes| &bytes[..bytes.len().min(SAMPLE)]);
    let (decides, other) = if client.is_empty() { (server, client) } else { (client, server) };
    let is_structured = structure(decides) >= THRESHOLD && !is_spread_between_zeros(decides);
    (text(decides) >= THRESHOLD || is_structured) && (text(other) > 0 || structure(other) > DOUBT)
}

/// Whether what is left without zeros has many values beyond ASCII: short encrypted frames, each
/// after a counter or a length that is mostly zeros. A few such values are in any protocol.
fn is_spread_between_zeros(bytes: &[u8]) -> bool {
    const FEW: usize = 8;
    let count = |test: fn(u8) -> bool| bytes.iter().filter(|byte| test(**byte)).count();
    let others = count(|byte| !matches!(byte, 0 | 0xff));
    let high = count(|byte| matches!(byte, 0x7f..=0xfe));
    high >= FEW && high * 4 > others
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

/// Evidence for a binary protocol, in tenths of a bit: many zeros, small numbers and text, few
/// values beyond ASCII.
pub fn structure(bytes: &[u8]) -> i32 {
    let weight = |byte: &u8| match byte {
        // One of 256 values, a quarter of all bytes.
        0 => 60,
        // 31 values, 15 percent.
        1..=0x1f => 3,
        // 95 values, half of all.
        0x20..=0x7e => 4,
        // 128 values, 5 percent.
        0x7f..=0xfe => -33,
        // One value, 5 percent: what is -1, or a mark.
        0xff => 36,
    };
    bytes.iter().map(weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_those_of_a_likelihood_ratio() {
        // The sum of chance times ratio over all values is 1 at most, or the bound does not hold.
        let ratio = |weight: i32| 2_f64.powf(f64::from(weight) / 10.0);
        let sum: f64 = (0..=255_u8).map(|byte| ratio(structure(&[byte])) / 256.0).sum();
        assert!(sum <= 1.0, "{sum}");
        // Characters of one to four bytes, among all sequences as long.
        let characters: f64 = [98.0, 1920.0, 61_440.0, 1_048_576.0]
            .iter()
            .zip(1..)
            .map(|(count, length)| count / 256_f64.powi(length) * ratio(11 * length))
            .sum();
        assert!(characters <= 1.0, "{characters}");
    }

    #[test]
    fn what_is_clear() {
        let random: Vec<u8> =
            (0..200_u32).map(|n| (n * n * 193 + n * 77).to_be_bytes()[3]).collect();
        let framed = |header: &[u8]| [header, &random[..120]].concat();
        let counted: Vec<u8> =
            random.chunks(12).flat_map(|frame| [&[0; 7][..], &[5], frame].concat()).collect();
        let cases: [(&str, &[u8], &[u8], bool); 13] = [
            ("nothing", b"", b"", false),
            ("a word", b"hello", b"", false),
            ("twenty-one characters", b"{\"hello\": \"my world\"}", b"", false),
            ("twenty-two characters", b"{\"hello\":  \"my world\"}", b"", true),
            ("a short line", b"stats xy\r\n", b"", true),
            (
                "text in another script",
                "{\"name\":\"\u{442}\u{435}\u{441}\u{442}\u{442}\"} ".as_bytes(),
                b"",
                true,
            ),
            ("Modbus: read registers", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a", b"", true),
            (
                "BGP: keepalive",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\x13\x04",
                b"",
                true,
            ),
            ("evenly spread", &random, b"", false),
            ("evenly spread after a length", &framed(b"\0\0\0\x78"), b"", false),
            ("short frames, each after a counter", &counted, b"", false),
            ("evenly spread after two words", &framed(b"\0\0\0\x78\0\0\0\x01"), b"", false),
            (
                "a clear word answered by what is evenly spread",
                b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a",
                &random,
                false,
            ),
        ];
        for (name, client, server, expected) in cases {
            assert_eq!(reads_as_clear(client, server), expected, "{name}");
        }
    }
}

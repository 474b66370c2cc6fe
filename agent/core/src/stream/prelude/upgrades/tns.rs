//! TNS, which Oracle's database speaks (as Wireshark's dissector `packet-tns.c` reads it): connected in
//! clear, after which both sides may agree to encrypt by themselves.

use super::{Protocol, Reading, Stage};

const HEADER: usize = 8;
const CONNECT: u8 = 1;
const DATA: u8 = 6;
/// What data about encryption and checksums begins with.
const NEGOTIATION: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

/// Reads a client's packets.
pub fn read(client: &[u8], _: &[u8]) -> Reading {
    // Checksum 0, connect, version 300 to 330 after the header.
    let [_, _, 0, 0, CONNECT, _, 0, 0, 1, 0x2c..=0x4a, 1, ..] = *client else { return None };
    let mut rest = client;
    let mut stage = Stage::MayUpgrade;
    while let Some([high, low, 0, 0, kind, ..]) = rest.first_chunk::<HEADER>() {
        match (*kind, rest.get(HEADER + 2..HEADER + 6)) {
            // A connect descriptor that is too long for the first packet follows in one of its own.
            (DATA, Some([b'(', ..])) if stage == Stage::MayUpgrade => {}
            // What follows is encrypted or not, as the server likes.
            (DATA, Some(data)) if data == NEGOTIATION => stage = Stage::Upgrading,
            (DATA, Some(_)) if stage == Stage::Upgrading => {}
            (DATA, Some(_)) => return Some((Protocol::Tns, Stage::StaysClear)),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*high, *low])).max(HEADER);
        rest = rest.get(length..).unwrap_or_default();
    }
    // What is no packet is not what was connected in the clear.
    let is_broken = rest.len() >= HEADER && stage == Stage::MayUpgrade;
    Some((Protocol::Tns, if is_broken { Stage::Unrecognised } else { stage }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_encrypted() {
        let connect = b"\0\x20\0\0\x01\0\0\0\x01\x3e\x01\x2c\0\0\0\0\0\0\0\0(DESCRIPTION)";
        let then = |next: &[u8]| read(&[&connect[..32], next].concat(), b"");
        let cases = [
            ("connecting", then(b""), Some((Protocol::Tns, Stage::MayUpgrade))),
            (
                "negotiating",
                then(b"\0\x10\0\0\x06\0\0\0\0\0\xde\xad\xbe\xef\0\0"),
                Some((Protocol::Tns, Stage::Upgrading)),
            ),
            (
                "a long descriptor, then negotiating",
                then(b"\0\x10\0\0\x06\0\0\0\0\0(DESC)\0\x10\0\0\x06\0\0\0\0\0\xde\xad\xbe\xef\0\0"),
                Some((Protocol::Tns, Stage::Upgrading)),
            ),
            (
                "at work",
                then(b"\0\x10\0\0\x06\0\0\0\0\0\x01\x06\x05\x04\0\0"),
                Some((Protocol::Tns, Stage::StaysClear)),
            ),
            ("no packet", then(&[7; 40]), Some((Protocol::Tns, Stage::Unrecognised))),
            ("something else", read(b"\0\x20\0\0\x01\0\0\0\x09\x3e\x01", b""), None),
        ];
        for (what, said, expected) in cases {
            assert_eq!(said, expected, "{what}");
        }
    }
}

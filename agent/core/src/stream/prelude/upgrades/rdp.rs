//! What begins with a connection request of X.224 in TPKT (RFC 1006, ITU-T X.224 section 13.3): RDP,
//! which may become TLS and otherwise encrypts by itself (MS-RDPBCGR section 5.3), and the protocols of
//! controllers, such as S7.

use super::{Protocol, Reading, Stage};

/// Reads a client's requests.
pub fn read(client: &[u8], _: &[u8]) -> Reading {
    /// X.224's variable part, where it names its ends: RDP has none.
    const ENDS: std::ops::RangeInclusive<u8> = 0xc0..=0xc2;
    // Its own length, and no destination yet.
    let [3, 0, high, low, rest, 0xe0, 0, 0, _, _, 0, variable @ ..] = client else { return None };
    let request = usize::from(u16::from_be_bytes([*high, *low]));
    if request != usize::from(*rest) + 5 {
        return None;
    }
    let next = client.get(request..).unwrap_or_default();
    if variable.first().is_some_and(|first| ENDS.contains(first)) {
        let stage = if is_s7(next) { Stage::StaysClear } else { Stage::Unrecognised };
        return Some((Protocol::S7, stage));
    }
    Some((Protocol::Rdp, if next.is_empty() { Stage::Upgrading } else { Stage::Opaque }))
}

/// Whether a message is one of S7, in data of X.224. (S7comm-plus, 0x72, may have TLS in its data.)
pub fn is_s7(message: &[u8]) -> bool {
    matches!(message, [3, 0, _, _, 2, 0xf0, 0x80, 0x32, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is() {
        let request = b"\x03\0\0\x0b\x06\xe0\0\0\0\0\0";
        let tsap = b"\x03\0\0\x0f\x0a\xe0\0\0\0\x01\0\xc1\x02\x01\0";
        let job = b"\x03\0\0\x08\x02\xf0\x80\x32";
        let cases: [(&str, Vec<u8>, Reading); 6] = [
            ("RDP asks", request.to_vec(), Some((Protocol::Rdp, Stage::Upgrading))),
            (
                "RDP goes on",
                [&request[..], b"\x03\0"].concat(),
                Some((Protocol::Rdp, Stage::Opaque)),
            ),
            ("S7 connects", tsap.to_vec(), Some((Protocol::S7, Stage::Unrecognised))),
            ("S7", [&tsap[..], job].concat(), Some((Protocol::S7, Stage::StaysClear))),
            ("two lengths that differ", b"\x03\0\0\x0c\x06\xe0\0\0\0\0\0".to_vec(), None),
            ("something else", b"\x03\0\0\x0b\x06\xe0\x07\0\0\0\0".to_vec(), None),
        ];
        for (what, client, expected) in cases {
            assert_eq!(read(&client, b""), expected, "{what}");
        }
        assert!(is_s7(job));
    }
}

//! TDS (MS-TDS section 2.2.3), the protocol of SQL Server.

use super::{Protocol, Reading, Stage};

/// Reads the packets of a client that begins with a prelogin, or as old ones do with a login.
///
/// Its TLS is in packets of its own.
pub fn read(client: &[u8], _: &[u8]) -> Reading {
    const HEADER: usize = 8;
    const PRELOGIN: u8 = 0x12;
    const LOGIN: u8 = 0x10;
    const OLD_LOGIN: u8 = 0x02;
    /// It fills the first packet.
    const OLD_LOGIN_LENGTH: u16 = 512;
    let begins = |bytes: &[u8]| bytes.first_chunk::<HEADER>().copied();
    let [kind, 0 | 1, high, low, 0, 0, _, 0] = begins(client)? else { return None };
    let length = u16::from_be_bytes([high, low]);
    let begins_so = match kind {
        PRELOGIN => true,
        OLD_LOGIN => length == OLD_LOGIN_LENGTH,
        // It begins with its own length.
        LOGIN => {
            let own = client.get(HEADER..)?.first_chunk().map(|own| u32::from_le_bytes(*own))?;
            own.checked_add(8) == Some(length.into())
        }
        _ => false,
    };
    if !begins_so {
        return None;
    }
    let mut rest = client;
    let mut packets = 0;
    let mut stage = Stage::Upgrading;
    while let Some([kind, _, high, low, ..]) = begins(rest) {
        stage = match kind {
            PRELOGIN if packets == 0 => Stage::Upgrading,
            // A login or more, in the clear.
            LOGIN | OLD_LOGIN | 0x01 | 0x03 | 0x0e => Stage::StaysClear,
            _ => Stage::Opaque,
        };
        if stage != Stage::Upgrading {
            break;
        }
        packets += 1;
        let length = usize::from(u16::from_be_bytes([high, low])).max(HEADER);
        rest = rest.get(length..).unwrap_or_default();
    }
    Some((Protocol::Tds, stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_encrypts_in_packets_of_its_own() {
        let prelogin = b"\x12\x01\0\x0a\0\0\x01\0xx";
        let then = |next: &[u8]| read(&[&prelogin[..], next].concat(), b"").map(|(_, stage)| stage);
        let login = b"\x10\x01\0\x68\0\0\x01\0\x60\0\0\0\x04\0\0\x74";
        assert_eq!(read(b"\x12\x01\0", b""), None);
        assert_eq!(read(login, b""), Some((Protocol::Tds, Stage::StaysClear)));
        assert_eq!(read(&[&[0x10, 1, 0, 0, 0, 0, 1, 0], &login[8..]].concat(), b""), None);
        assert_eq!(read(b"\x02\0\x02\0\0\0\x01\0", b""), Some((Protocol::Tds, Stage::StaysClear)));
        assert_eq!(then(b""), Some(Stage::Upgrading));
        assert_eq!(then(b"\x12\x01\0\x40\0\0\x02\0\x16\x03\x01"), Some(Stage::Opaque));
        assert_eq!(then(b"\x10\x01\0\x40\0\0\x02\0"), Some(Stage::StaysClear));
    }
}

//! SMB over TCP (MS-SMB2 sections 2.1 and 2.2, MS-CIFS section 2.2.2): negotiated in the clear, and from
//! version 3 on encrypted message by message once both sides want that.

use super::{Protocol, Reading, Stage};

/// Session message: a zero, and the length in three bytes.
const SESSION_HEADER: usize = 4;
/// Session header and magic number.
const LEAST: usize = SESSION_HEADER + 4;
/// Where the command is, after the session header.
const COMMAND: usize = SESSION_HEADER + 12;

/// Commands that carry a file's name or data: CREATE, READ, WRITE, QUERY_DIRECTORY, CHANGE_NOTIFY,
/// QUERY_INFO and SET_INFO.
const WORK: [u8; 7] = [5, 8, 9, 14, 15, 16, 17];
const TREE_CONNECT: u8 = 3;
/// The share of pipes (MS-SMB2 section 3.2.4.2.2: clients ask there what the others are), in UTF-16.
const PIPES: &[u8] = b"I\0P\0C\0$\0";

/// Reads a client's messages.
pub fn read(client: &[u8], _: &[u8]) -> Reading {
    let mut rest = client;
    let mut seen = None;
    let mut only_pipes = false;
    while let [0, high, middle, low, magic, b'S', b'M', b'B', ..] = *rest {
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match magic {
            // A message that is encrypted, or compressed and then encrypted or not.
            0xfd => return Some((Protocol::Smb3, Stage::Opaque)),
            // Before a file is named nothing is done yet, and what follows may be encrypted: each share
            // may ask for that, and pipes are asked first which there are.
            0xfe => match rest.get(COMMAND..COMMAND + 2) {
                Some(&[TREE_CONNECT, 0]) => {
                    let message = &rest[..rest.len().min(SESSION_HEADER + length)];
                    only_pipes = message.ends_with(PIPES);
                }
                Some(&[command, 0]) if WORK.contains(&command) && !only_pipes => {
                    return Some((Protocol::Smb, Stage::StaysClear));
                }
                _ => {}
            },
            // SMB 1, or the old way to begin, which asks for SMB 2 as well.
            0xff => match rest.get(8) {
                None | Some(0x72 | 0x73) => {}
                Some(_) => return Some((Protocol::Smb, Stage::StaysClear)),
            },
            _ => break,
        }
        seen = Some((Protocol::Smb, Stage::MayUpgrade));
        rest = rest.get(SESSION_HEADER + length..).unwrap_or_default();
    }
    // What is no message of SMB is not what was negotiated in the clear.
    let is_broken = seen.is_some() && rest.len() >= LEAST;
    if is_broken { Some((Protocol::Smb, Stage::Unrecognised)) } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_and_what_is_not() {
        let message = |magic: u8, command: u8| {
            let head = [0, 0, 0, 64, magic, b'S', b'M', b'B'];
            [&head[..], &[0; 8], &[command], &[0; 51]].concat()
        };
        let pipes = || {
            let mut message = message(0xfe, 3);
            let path_at = message.len() - PIPES.len();
            message[path_at..].copy_from_slice(PIPES);
            message
        };
        let negotiate = message(0xfe, 0);
        let then = |next: Vec<u8>| read(&[negotiate.clone(), next].concat(), b"");
        let cases = [
            ("nothing", read(b"", b""), None),
            ("negotiation", then(Vec::new()), Some((Protocol::Smb, Stage::MayUpgrade))),
            (
                "the old way",
                read(b"\0\0\0\x2f\xffSMB\x72\0\0", b""),
                Some((Protocol::Smb, Stage::MayUpgrade)),
            ),
            ("a tree", then(message(0xfe, 3)), Some((Protocol::Smb, Stage::MayUpgrade))),
            ("an ioctl", then(message(0xfe, 11)), Some((Protocol::Smb, Stage::MayUpgrade))),
            (
                "an echo, then encrypted",
                then([message(0xfe, 13), message(0xfd, 5)].concat()),
                Some((Protocol::Smb3, Stage::Opaque)),
            ),
            (
                "pipes, then a file that is encrypted",
                then([pipes(), message(0xfe, 5), message(0xfd, 5)].concat()),
                Some((Protocol::Smb3, Stage::Opaque)),
            ),
            (
                "pipes, then a file of another share",
                then([pipes(), message(0xfe, 3), message(0xfe, 5)].concat()),
                Some((Protocol::Smb, Stage::StaysClear)),
            ),
            ("a file", then(message(0xfe, 5)), Some((Protocol::Smb, Stage::StaysClear))),
            ("encrypted", then(message(0xfd, 5)), Some((Protocol::Smb3, Stage::Opaque))),
            (
                "SMB 1",
                read(b"\0\0\0\x22\xffSMB\x06\0\0", b""),
                Some((Protocol::Smb, Stage::StaysClear)),
            ),
            ("anything else", then(vec![7; 80]), Some((Protocol::Smb, Stage::Unrecognised))),
        ];
        for (what, said, expected) in cases {
            assert_eq!(said, expected, "{what}");
        }
    }
}

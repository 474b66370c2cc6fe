//! Android's debug bridge (protocol.txt and SERVICES.TXT in AOSP's `packages/modules/adb`): to a device,
//! whose connection may become TLS, and to the server on this machine.

use super::{Protocol, Reading, Stage};

const NAME: Protocol = Protocol::Adb;
/// Command, two arguments, length and checksum of the data, and the command once more, inverted.
const HEADER: usize = 24;

/// Reads a client's messages.
pub fn read(client: &[u8], _: &[u8]) -> Reading {
    if asks_server(client) {
        return Some((NAME, Stage::StaysClear));
    }
    let mut rest = client;
    let mut stage = None;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        if header[..4].iter().zip(&header[20..]).any(|(command, magic)| *command != !*magic) {
            break;
        }
        let next = match &header[..4] {
            b"CNXN" | b"AUTH" => Stage::MayUpgrade,
            b"STLS" => Stage::Upgrading,
            b"OPEN" => return Some((NAME, Stage::StaysClear)),
            _ => break,
        };
        stage = Some(next);
        let length = header[12..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        rest = rest.get(HEADER.saturating_add(length as usize)..).unwrap_or_default();
    }
    // What is no message is not what was connected in the clear.
    let is_broken = rest.len() >= HEADER && stage != Some(Stage::Upgrading);
    stage.map(|stage| (NAME, if is_broken { Stage::Unrecognised } else { stage }))
}

/// A request after its length in four hexadecimal digits.
fn asks_server(client: &[u8]) -> bool {
    const SERVICES: [&[u8]; 2] = [b"host:", b"host-"];
    client.split_first_chunk::<4>().is_some_and(|(length, service)| {
        length.iter().all(u8::is_ascii_hexdigit)
            && SERVICES.iter().any(|known| service.starts_with(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_messages() {
        let message = |command: &[u8; 4], data: &[u8]| {
            let inverted: Vec<u8> = command.iter().map(|byte| !byte).collect();
            let length = u32::try_from(data.len()).expect("length").to_le_bytes();
            [&command[..], &[0; 8], &length, &[0; 4], &inverted, data].concat()
        };
        let connect = message(b"CNXN", b"host::\0");
        let then = |next: &[u8]| read(&[&connect[..], next].concat(), b"").map(|(_, stage)| stage);
        let cases = [
            ("to connect", then(b""), Some(Stage::MayUpgrade)),
            ("TLS", then(&message(b"STLS", b"")), Some(Stage::Upgrading)),
            ("anything", then(&[7; 40]), Some(Stage::Unrecognised)),
            ("a shell", then(&message(b"OPEN", b"shell:\0")), Some(Stage::StaysClear)),
            ("the server", read(b"000chost:version", b"").map(|(_, s)| s), Some(Stage::StaysClear)),
            ("not inverted", read(&[b'C'; 24], b"").map(|(_, s)| s), None),
        ];
        for (what, said, expected) in cases {
            assert_eq!(said, expected, "{what}");
        }
    }
}

//! MySQL and MariaDB (client/server protocol, connection phase): the server greets, the client asks
//! for TLS or logs in.

use super::{Protocol, Reading, Stage, statistics};

/// Length in three bytes, and the packet's number.
const HEADER: usize = 4;
/// What a login and a request for TLS begin with: capabilities, longest packet, character set, and
/// 23 bytes that are zero (MariaDB has capabilities of its own in the last four).
const FIXED: usize = 32;
const ZEROS: std::ops::Range<usize> = 9..28;

/// Reads a client's answer to the server's greeting.
pub fn read(client: &[u8], server: &[u8]) -> Reading {
    const CLIENT_SSL: u8 = 0x08;
    const CLIENT_PROTOCOL_41: u8 = 0x02;
    // The server speaks first: an answer alone is anything.
    if !greets(server) {
        return None;
    }
    let stage = match client.get(..HEADER + FIXED) {
        None => Stage::Greeted,
        Some([_, _, 0, 1, body @ ..])
            if body[ZEROS].iter().all(|byte| *byte == 0) && body[1] & CLIENT_PROTOCOL_41 != 0 =>
        {
            if body[1] & CLIENT_SSL == 0 {
                Stage::StaysClear
            } else {
                Stage::Upgrading
            }
        }
        Some(_) => return None,
    };
    Some((Protocol::Mysql, stage))
}

/// Packet number 0 with protocol version 10 and the server's version, which begins with a number and
/// ends with a zero; or with an error, of which the number is 1024 or more. A part of that is anything.
pub fn greets(server: &[u8]) -> bool {
    const LONGEST: usize = 64;
    const LEAST_OF_AN_ERROR: usize = 16;
    let version = match server {
        [_, _, 0, 0, 0xff, _, 4 | 5, message @ ..] => {
            return message.len() >= LEAST_OF_AN_ERROR && statistics::text(message) > 0;
        }
        [_, _, 0, 0, 10, version @ ..] => version,
        _ => return false,
    };
    let end = version.iter().take(LONGEST).position(|byte| *byte == 0);
    let numbers = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=2).contains(&numbers)
        && version.get(numbers) == Some(&b'.')
        && end.is_some_and(|end| version[..end].iter().all(u8::is_ascii_graphic))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = Option<Stage>;

    #[test]
    fn greetings_and_answers() {
        let greeting = b"\x4a\0\0\0\x0a8.0.32\0";
        let answer = |flags: u8, zero: u8| {
            let mut packet = vec![32, 0, 0, 1, 0x85, flags, 0xff, 0, 0, 0, 0, 1, 45];
            packet.resize(HEADER + FIXED, zero);
            packet
        };
        let random = [&[70, 0, 0, 0, 10][..], &[0xe7; 69]].concat();
        let cases: [(&str, Vec<u8>, &[u8], Said); 8] = [
            ("no answer", vec![], greeting, Some(Stage::Greeted)),
            (
                "a refusal",
                vec![],
                b"\x2d\0\0\0\xff\x6a\x04Host '10.0.0.1' is not allowed",
                Some(Stage::Greeted),
            ),
            ("half an answer", answer(2, 0)[..20].to_vec(), greeting, Some(Stage::Greeted)),
            ("a login", answer(2, 0), greeting, Some(Stage::StaysClear)),
            ("TLS", answer(10, 0), greeting, Some(Stage::Upgrading)),
            ("anything", answer(2, 7), greeting, None),
            ("a login without a greeting", answer(2, 0), b"", None),
            ("something like a greeting", answer(2, 0), &random, None),
        ];
        for (what, client, server, expected) in cases {
            assert_eq!(read(&client, server).map(|(_, stage)| stage), expected, "{what}");
        }
    }
}

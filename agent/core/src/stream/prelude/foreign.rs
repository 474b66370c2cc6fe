//! Protocols that encrypt from their first message on, but not by TLS, or by TLS in packets of their
//! own.

use super::{
    Protocol,
    signatures::{Match, prefix},
};

/// What a connection's first bytes say of such a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// They are this one's.
    Protocol(Protocol),
    /// They may become one's.
    Maybe,
    /// They are none's.
    None,
}

/// Recognises what cannot be mistaken for clear text.
pub fn recognise(client: &[u8], server: &[u8]) -> Foreign {
    if client.is_empty() {
        return if greets_as_ssh(server) {
            Foreign::Protocol(Protocol::Ssh)
        } else {
            Foreign::None
        };
    }
    let mut foreign = Foreign::None;
    for (name, found) in [
        (Protocol::Ssh, prefix(client, b"SSH-")),
        (Protocol::Tlcp, tlcp(client)),
        (Protocol::Alts, alts(client)),
        (Protocol::Curvezmq, curvezmq(client)),
        (Protocol::Noise, multistream_noise(client)),
        (Protocol::Openvpn, openvpn(client)),
    ] {
        match found {
            Match::Yes => return Foreign::Protocol(name),
            Match::Partial => foreign = Foreign::Maybe,
            Match::No => {}
        }
    }
    foreign
}

/// A server may say other lines before its version (RFC 4253 section 4.2).
pub fn greets_as_ssh(server: &[u8]) -> bool {
    const LINES: usize = 16;
    server.split(|byte| *byte == b'\n').take(LINES).any(|line| line.starts_with(b"SSH-"))
}

/// A handshake record of TLCP (GB/T 38636): as in TLS, but of version 1.1 where TLS has 3.x, with a
/// ClientHello of that version. It resembles TLS 1.2 and is not read as such: its certificates come
/// in pairs, and nothing shows that more is the same.
fn tlcp(client: &[u8]) -> Match {
    let holds = |at: usize, test: fn(u8) -> bool| client.get(at).is_none_or(|byte| test(*byte));
    let fits = holds(0, |kind| kind == 0x16)
        && holds(1, |major| major == 1)
        && holds(2, |minor| minor == 1)
        && holds(5, |message| message == 1)
        && holds(6, |length| length == 0)
        && holds(9, |major| major == 1)
        && holds(10, |minor| minor == 1);
    match (fits, client.len() > 10) {
        (false, _) => Match::No,
        (true, false) => Match::Partial,
        (true, true) => Match::Yes,
    }
}

/// Frames of ALTS (gRPC's Application Layer Transport Security): a length that counts the type, and
/// the type, both little-endian words; 6 is that of data. Messages of MongoDB begin alike, with a
/// number that may be 6 as well, and have zeros after it.
fn alts(client: &[u8]) -> Match {
    const LONGEST: u32 = 1 << 20;
    const HANDSHAKE: u32 = 1;
    const DATA: u32 = 6;
    let word = |at: usize| client.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
    let is_length = |length: u32| (4..=LONGEST).contains(&length);
    let Some(length) = word(0) else {
        return if client.get(3).is_none_or(|high| *high == 0) {
            Match::Partial
        } else {
            Match::No
        };
    };
    match (is_length(length), word(4), word(8)) {
        (false, ..) | (_, Some(DATA), Some(0)) => Match::No,
        (true, Some(DATA), Some(_)) => Match::Yes,
        (true, Some(HANDSHAKE), Some(_)) => {
            let next = 4 + length as usize;
            match (word(next), word(next + 4)) {
                (None, _) | (Some(4..=LONGEST), None) => Match::Partial,
                (Some(length), Some(DATA)) if is_length(length) => Match::Yes,
                _ => Match::No,
            }
        }
        (true, None | Some(HANDSHAKE | DATA), None) => Match::Partial,
        _ => Match::No,
    }
}

/// A greeting of ZMTP 3 (RFC 23/ZMTP) that names the mechanism CURVE.
fn curvezmq(client: &[u8]) -> Match {
    let signature = [client.first() == Some(&0xff), client.get(9).is_none_or(|end| *end == 0x7f)];
    match client.get(12..) {
        _ if signature.contains(&false) => Match::No,
        None => Match::Partial,
        Some(mechanism) => prefix(mechanism, b"CURVE\0"),
    }
}

/// libp2p's multistream-select, where the next protocol asked for is Noise.
fn multistream_noise(client: &[u8]) -> Match {
    const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
    match client.get(HEADER.len()..) {
        Some(next) if client.starts_with(HEADER) => prefix(next, b"\x07/noise\n"),
        _ => prefix(client, HEADER),
    }
}

/// OpenVPN over TCP: a packet length, then P_CONTROL_HARD_RESET_CLIENT_V2 or _V3 with key id 0 and a
/// session id. Its TLS is wrapped packet by packet.
///
/// What follows is an empty list of acknowledgements and packet number 0 (after a digest with
/// `tls-auth`), or with `tls-crypt` the first number of its own counter, which version 2 may mark.
fn openvpn(client: &[u8]) -> Match {
    const SESSION: usize = 8;
    let [high, low, opcode, ..] = *client else { return Match::Partial };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(opcode, 0x38 | 0x50) || !(14..=2048).contains(&length) {
        return Match::No;
    }
    let Some(packet) = client.get(3 + SESSION..2 + length) else { return Match::Partial };
    if packet.ends_with(&[0; 5]) || matches!(packet, [0 | 0x0f, 0, 0, 1, ..]) {
        Match::Yes
    } else {
        Match::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_from_its_beginning() {
        let tlcp = [0x16, 1, 1, 0, 46, 1, 0, 0, 42, 1, 1];
        let zmtp = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE\0\0\0";
        let cases: [(Protocol, &[u8], usize); 8] = [
            (Protocol::Ssh, b"SSH-2.0-x", 4),
            (Protocol::Tlcp, &tlcp, 11),
            (Protocol::Alts, b"\x64\0\0\0\x06\0\0\0\x0a\x08\x08\x01", 12),
            (Protocol::Alts, b"\x06\0\0\0\x01\0\0\0hi\x08\0\0\0\x06\0\0\0", 18),
            (Protocol::Curvezmq, zmtp, 18),
            (Protocol::Noise, b"\x13/multistream/1.0.0\n\x07/noise\n", 28),
            (Protocol::Openvpn, b"\0\x0e\x38sessionX\0\0\0\0\0", 16),
            (Protocol::Openvpn, b"\0\x10\x50sessionX\x0f\0\0\x01time", 18),
        ];
        for (name, bytes, after) in cases {
            for length in 1..=bytes.len() {
                let said = recognise(&bytes[..length], b"");
                assert_eq!(said == Foreign::Protocol(name), length >= after, "{name}, {length}");
                let told = matches!(said, Foreign::Protocol(_)) && length < after;
                assert!(!told, "{name}, {length}: {said:?}");
            }
        }
    }

    #[test]
    fn a_server_of_ssh_may_say_something_before() {
        for greeting in [&b"SSH-2.0-x\r\n"[..], b"Welcome.\r\nNo entry.\r\nSSH-2.0-x\r\n"] {
            assert_eq!(recognise(b"", greeting), Foreign::Protocol(Protocol::Ssh));
        }
        assert_eq!(recognise(b"", b"220 an SSH-2.0 gateway\r\n"), Foreign::None);
    }
}

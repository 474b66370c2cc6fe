//! Binary protocols that speak in the clear from their first byte, by what that first message must hold.
//!
//! Each check fixes 24 bits or more, so that bytes which look random (another protocol's encryption)
//! pass for a protocol at most once in 2^24 connections.

/// Whether bytes begin a protocol: `None` while they are too few to tell.
type Check = fn(&[u8]) -> Option<bool>;

/// Protocols of which the first message of the client tells.
const CHECKS: &[(&str, Check)] = &[
    ("amqp", amqp),
    ("mqtt", mqtt),
    ("fastcgi", fastcgi),
    ("uwsgi", uwsgi),
    ("scgi", scgi),
    ("ajp", ajp),
    ("memcached", memcached),
    ("thrift", thrift),
    ("mongodb", mongodb),
    ("kafka", kafka),
    ("cassandra", cassandra),
    ("dns", dns),
    ("kerberos", kerberos),
    ("modbus", modbus),
];

/// What the checks say of a client's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// They are this protocol.
    Protocol(&'static str),
    /// They may become one.
    Maybe,
    /// They are none of them.
    None,
}

/// Reads a client's first bytes.
pub fn recognise(client: &[u8]) -> Seen {
    let mut seen = Seen::None;
    for (name, check) in CHECKS {
        match check(client) {
            Some(true) => return Seen::Protocol(name),
            Some(false) => {}
            None => seen = Seen::Maybe,
        }
    }
    seen
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn big16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn big32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn little16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn little32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whether the bytes are `pattern` and more, as far as they go.
fn begins(bytes: &[u8], pattern: &[u8]) -> Option<bool> {
    let length = bytes.len().min(pattern.len());
    if bytes[..length] != pattern[..length] {
        return Some(false);
    }
    (length == pattern.len()).then_some(true)
}

/// Whether `length` bytes from `at` on make a name: graphic ASCII. Four of them are enough.
fn name(bytes: &[u8], at: usize, length: usize) -> Option<bool> {
    let there = bytes.get(at..).unwrap_or_default();
    let wanted = length.min(4);
    if !there.iter().take(wanted).all(u8::is_ascii_graphic) {
        return Some(false);
    }
    (there.len() >= wanted).then_some(true)
}

/// AMQP 0-9-1 section 4.2.2 and AMQP 1.0 section 2.2. Protocol id 2 asks for TLS (section 5.2.1) and
/// is an upgrade.
fn amqp(bytes: &[u8]) -> Option<bool> {
    if begins(bytes, b"AMQP")? {
        return Some(matches!(byte(bytes, 4)?, 0 | 1 | 3));
    }
    Some(false)
}

/// CONNECT (MQTT 3.1.1 section 3.1): its type, the remaining length, the protocol's name.
fn mqtt(bytes: &[u8]) -> Option<bool> {
    if byte(bytes, 0)? != 0x10 {
        return Some(false);
    }
    let mut at = 1;
    while byte(bytes, at)? & 0x80 != 0 {
        at += 1;
        if at > 4 {
            return Some(false);
        }
    }
    let rest = bytes.get(at + 1..)?;
    let is = |pattern| begins(rest, pattern);
    match (is(b"\0\x04MQTT"), is(b"\0\x06MQIsdp")) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// FCGI_BEGIN_REQUEST (FastCGI 1.0 section 5.1), or FCGI_GET_VALUES (section 4.1).
fn fastcgi(bytes: &[u8]) -> Option<bool> {
    const BEGIN_REQUEST: u8 = 1;
    const GET_VALUES: u8 = 9;
    if byte(bytes, 0)? != 1 {
        return Some(false);
    }
    let (kind, request, length) = (byte(bytes, 1)?, big16(bytes, 2)?, big16(bytes, 4)?);
    if kind == BEGIN_REQUEST {
        let (reserved, role) = (byte(bytes, 7)?, big16(bytes, 8)?);
        return Some(length == 8 && request != 0 && reserved == 0 && (1..=3).contains(&role));
    }
    if kind != GET_VALUES || request != 0 || !(4..=256).contains(&length) {
        return Some(false);
    }
    Some(byte(bytes, 7)? == 0 && name(bytes, 10, byte(bytes, 8)?.into())?)
}

/// A packet of variables (uWSGI protocol): modifiers 0, then keys and values after their lengths.
fn uwsgi(bytes: &[u8]) -> Option<bool> {
    if byte(bytes, 0)? != 0 {
        return Some(false);
    }
    let size = little16(bytes, 1)?;
    let (modifier, key) = (byte(bytes, 3)?, little16(bytes, 4)?);
    if modifier != 0 || !(3..=64).contains(&key) || size < key + 4 {
        return Some(false);
    }
    let is_variable = |c: &u8| c.is_ascii_uppercase() || *c == b'_' || c.is_ascii_digit();
    Some(bytes.get(6..6 + usize::from(key.min(8)))?.iter().all(is_variable))
}

/// A netstring of headers, the first of which is CONTENT_LENGTH (SCGI specification).
fn scgi(bytes: &[u8]) -> Option<bool> {
    let digits = bytes.iter().take(7).take_while(|c| c.is_ascii_digit()).count();
    if !(1..7).contains(&digits) && bytes.len() > digits {
        return Some(false);
    }
    begins(bytes.get(digits..)?, b":CONTENT_LENGTH\0")
}

/// A packet of the web server (AJP 1.3): its magic, and a request to forward or a ping.
fn ajp(bytes: &[u8]) -> Option<bool> {
    if !begins(bytes, &[0x12, 0x34])? {
        return Some(false);
    }
    let (length, code) = (big16(bytes, 2)?, byte(bytes, 4)?);
    match code {
        2 => Some(length <= 8192 && byte(bytes, 5)? <= 28 && big16(bytes, 6)? <= 64),
        10 => Some(length == 1),
        _ => Some(false),
    }
}

/// A request of memcached's binary protocol: magic, and lengths that agree.
fn memcached(bytes: &[u8]) -> Option<bool> {
    if byte(bytes, 0)? != 0x80 {
        return Some(false);
    }
    let (opcode, key, extras) = (byte(bytes, 1)?, big16(bytes, 2)?, byte(bytes, 4)?);
    if opcode > 0x25 || key > 250 || extras > 32 {
        return Some(false);
    }
    let (kind, body) = (byte(bytes, 5)?, big32(bytes, 8)?);
    let least = u32::from(key) + u32::from(extras);
    Some(kind == 0 && (least..=1 << 21).contains(&body))
}

/// A call in the binary or compact protocol, framed or not (Thrift specification): version, type,
/// and the method's name.
fn thrift(bytes: &[u8]) -> Option<bool> {
    let message = |at: usize| match byte(bytes, at)? {
        0x80 => {
            let head = (byte(bytes, at + 1)?, byte(bytes, at + 2)?, byte(bytes, at + 3)?);
            let length = big32(bytes, at + 4)?;
            let call = matches!(head, (1, 0, 1 | 4)) && (1..=256).contains(&length);
            Some(call && name(bytes, at + 8, usize::try_from(length).ok()?)?)
        }
        0x82 => {
            // Version 1 and the type in one byte, a sequence number, the length of the name.
            let call = matches!(byte(bytes, at + 1)?, 0x21 | 0x81);
            let (sequence, length) = (byte(bytes, at + 2)?, byte(bytes, at + 3)?);
            let plausible = call && sequence < 0x80 && (4..0x80).contains(&length);
            Some(plausible && name(bytes, at + 4, length.into())?)
        }
        _ => Some(false),
    };
    match byte(bytes, 0)? {
        0x80 | 0x82 => message(0),
        0 => {
            let length = big32(bytes, 0)?;
            Some((8..=1 << 24).contains(&length) && message(4)?)
        }
        _ => Some(false),
    }
}

/// A message header (MongoDB wire protocol): length, a request that answers nothing, a known code.
fn mongodb(bytes: &[u8]) -> Option<bool> {
    let length = little32(bytes, 0)?;
    if !(20..=48_000_000).contains(&length) {
        return Some(false);
    }
    Some(little32(bytes, 8)? == 0 && matches!(little32(bytes, 12)?, 1000 | 2001..=2013))
}

/// A request header (Kafka protocol guide): length, a known key and version, the client's name.
fn kafka(bytes: &[u8]) -> Option<bool> {
    let length = big32(bytes, 0)?;
    let (key, version) = (big16(bytes, 4)?, big16(bytes, 6)?);
    if !(10..=1 << 24).contains(&length) || key > 100 || version > 20 {
        return Some(false);
    }
    match big16(bytes, 12)? {
        // No name.
        0xffff => Some(true),
        0 => Some(length < 1 << 16),
        named @ 1..=255 => name(bytes, 14, named.into()),
        _ => Some(false),
    }
}

/// OPTIONS or STARTUP (Cassandra native protocol, versions 3 to 5).
fn cassandra(bytes: &[u8]) -> Option<bool> {
    let version = byte(bytes, 0)?;
    if !(3..=5).contains(&version) {
        return Some(false);
    }
    let (flags, stream) = (byte(bytes, 1)?, big16(bytes, 2)?);
    let (opcode, length) = (byte(bytes, 4)?, big32(bytes, 5)?);
    let fits = match opcode {
        1 => (4..=1024).contains(&length),
        5 => length == 0,
        _ => false,
    };
    Some(fits && flags <= 0x1f && stream < 1 << 15)
}

/// A query over TCP (RFC 1035 sections 4.1.1 and 4.2.2): a length, flags of a question, one
/// question, no answer.
fn dns(bytes: &[u8]) -> Option<bool> {
    let (length, flags) = (big16(bytes, 0)?, big16(bytes, 4)?);
    if !(17..=4096).contains(&length) || flags & 0x8000 != 0 {
        return Some(false);
    }
    let counts = (big16(bytes, 6)?, big16(bytes, 8)?, big16(bytes, 10)?);
    // An update has the zone there (RFC 2136), a notification a record.
    let plausible = counts.0 == 1 && counts.1 <= 1 && counts.2 <= 16;
    Some(plausible && byte(bytes, 14)? <= 63)
}

/// A request for a ticket (RFC 4120 section 5.4.1), which TCP puts after its length (section 7.2.2):
/// the application tag, a sequence, and in it version 5 and the type.
fn kerberos(bytes: &[u8]) -> Option<bool> {
    const VERSION: &[u8] = &[0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1];
    let at = match (byte(bytes, 0)?, byte(bytes, 4)) {
        (0x6a | 0x6c, _) => 0,
        (0, Some(0x6a | 0x6c)) => 4,
        (0, None) => return None,
        _ => return Some(false),
    };
    let request = bytes.get(at..)?;
    // Two headers with lengths of up to five bytes come before.
    if request.len() < 12 + VERSION.len() {
        return None;
    }
    Some(request[..12 + VERSION.len()].windows(VERSION.len()).any(|part| part == VERSION))
}

/// A request (Modbus Messaging on TCP/IP, section 3.1.3): protocol 0, a short length, a function.
fn modbus(bytes: &[u8]) -> Option<bool> {
    let (protocol, length) = (big16(bytes, 2)?, big16(bytes, 4)?);
    let function = byte(bytes, 7)?;
    let known = matches!(function & 0x7f, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43);
    Some(protocol == 0 && (2..=254).contains(&length) && known)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol, what is said, its first bytes, and after how many of them it is told.
    const CASES: &[(&str, &str, &[u8], usize)] = &[
        ("amqp", "AMQP 0-9-1", b"AMQP\0\0\x09\x01", 5),
        ("amqp", "AMQP 1.0 with SASL", b"AMQP\x03\x01\0\0", 5),
        ("mqtt", "CONNECT, 3.1.1", b"\x10\x12\0\x04MQTT\x04\x02\0\x3c\0\x06client", 8),
        ("mqtt", "CONNECT, 3.1", b"\x10\x80\x02\0\x06MQIsdp\x03", 11),
        ("fastcgi", "BEGIN_REQUEST", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", 10),
        ("uwsgi", "QUERY_STRING", b"\0\x60\x01\0\x0c\0QUERY_STRING\0\0", 14),
        ("scgi", "CONTENT_LENGTH", b"70:CONTENT_LENGTH\x0027\0", 18),
        ("ajp", "forward request", b"\x12\x34\x01\x02\x02\x02\0\x08HTTP/1.1\0", 8),
        ("ajp", "ping", b"\x12\x34\0\x01\x0a", 5),
        (
            "memcached",
            "get, binary",
            b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0key",
            12,
        ),
        ("thrift", "binary, framed", b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0", 16),
        ("thrift", "binary", b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0", 12),
        ("thrift", "compact, framed", b"\0\0\0\x0b\x82\x21\x01\x04ping\0", 12),
        ("mongodb", "hello in OP_MSG", b"\x48\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0", 16),
        (
            "mongodb",
            "isMaster in OP_QUERY",
            b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0",
            16,
        ),
        ("kafka", "ApiVersions", b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x06client", 18),
        ("kafka", "Metadata, no name", b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\xff\xff\0\0", 14),
        ("cassandra", "OPTIONS", b"\x04\0\0\0\x05\0\0\0\0", 9),
        ("modbus", "read registers", b"\x02\x01\0\0\0\x06\x01\x03\0\0\0\x0a", 8),
        (
            "kerberos",
            "AS-REQ",
            b"\0\0\x01\x0d\x6a\x82\x01\x09\x30\x82\x01\x05\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa3\x15\x30\x13",
            25,
        ),
        (
            "dns",
            "a query",
            b"\0\x1d\x11\x22\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01",
            15,
        ),
    ];

    #[test]
    fn each_is_told_from_its_first_message() {
        for (protocol, what, bytes, after) in CASES {
            for length in 0..=bytes.len() {
                let expected = if length < *after { Seen::Maybe } else { Seen::Protocol(protocol) };
                assert_eq!(recognise(&bytes[..length]), expected, "{what} after {length} bytes");
            }
        }
        for (protocol, _) in super::CHECKS {
            assert!(CASES.iter().any(|case| case.0 == *protocol), "no case for {protocol}");
        }
    }
}

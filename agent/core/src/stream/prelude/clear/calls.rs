//! Calls and queries: memcached, Thrift, MongoDB, Kafka, ZooKeeper, Cassandra, DNS, Kerberos.

use super::{big16, big32, byte, little32, made_of};

/// A request of memcached's binary protocol: magic, and lengths that agree.
pub fn memcached(bytes: &[u8]) -> Option<bool> {
    /// Partitions of a bucket; memcached itself leaves the field 0.
    const BUCKETS: u16 = 1024;
    if byte(bytes, 0)? != 0x80 {
        return Some(false);
    }
    let (opcode, key, extras) = (byte(bytes, 1)?, big16(bytes, 2)?, byte(bytes, 4)?);
    if opcode > 0x25 || key > 250 || extras > 32 {
        return Some(false);
    }
    let (kind, bucket, body) = (byte(bytes, 5)?, big16(bytes, 6)?, big32(bytes, 8)?);
    let least = u32::from(key) + u32::from(extras);
    Some(kind == 0 && bucket < BUCKETS && (least..=1 << 21).contains(&body))
}

/// A call in the binary or compact protocol, framed or not (Thrift specification): version, type,
/// and the method's name, with its service's where several share a connection.
pub fn thrift(bytes: &[u8]) -> Option<bool> {
    /// Letters of a name that are looked at.
    const ENOUGH: u32 = 8;
    let is_name = |at: usize, length: u32| {
        let looked_at = usize::try_from(length.min(ENOUGH)).ok()?;
        made_of(bytes, at, looked_at, |c| c.is_ascii_alphanumeric() || b"_.:".contains(&c))
    };
    let message = |at: usize| match byte(bytes, at)? {
        0x80 => {
            let head = (byte(bytes, at + 1)?, byte(bytes, at + 2)?, byte(bytes, at + 3)?);
            let length = big32(bytes, at + 4)?;
            let call = matches!(head, (1, 0, 1 | 4)) && (1..=256).contains(&length);
            Some(call && is_name(at + 8, length)?)
        }
        0x82 => {
            // Version 1 and the type in one byte, a sequence number, the length of the name.
            let call = matches!(byte(bytes, at + 1)?, 0x21 | 0x81);
            let (sequence, length) = (byte(bytes, at + 2)?, byte(bytes, at + 3)?);
            let plausible = call && sequence < 0x80 && (4..0x80).contains(&length);
            Some(plausible && is_name(at + 4, length.into())?)
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
pub fn mongodb(bytes: &[u8]) -> Option<bool> {
    let length = little32(bytes, 0)?;
    if !(20..=48_000_000).contains(&length) {
        return Some(false);
    }
    Some(little32(bytes, 8)? == 0 && matches!(little32(bytes, 12)?, 1000 | 2001..=2013))
}

/// A request header (Kafka protocol guide): length, a known key and version, the client's name, and
/// the request, which begins with a small number, the length of a short text, or -1.
pub fn kafka(bytes: &[u8]) -> Option<bool> {
    /// Length field, key, version, number of the request and length of the client's name.
    const HEAD: usize = 4 + 2 + 2 + 4 + 2;
    let length = big32(bytes, 0)?;
    let (key, version) = (big16(bytes, 4)?, big16(bytes, 6)?);
    if !(10..=1 << 24).contains(&length) || key > 100 || version > 20 {
        return Some(false);
    }
    let name = match big16(bytes, 12)? {
        // No name. (An empty one would leave zeros only, as a counter before encrypted bytes has.)
        0xffff => 0,
        named @ 1..=255 => usize::from(named),
        _ => return Some(false),
    };
    let is_name = |c: u8| c.is_ascii_alphanumeric() || b"._-:/ ".contains(&c);
    if length as usize + 4 < HEAD + name || !made_of(bytes, HEAD, name, is_name)? {
        return Some(false);
    }
    let is_empty = length as usize + 4 == HEAD + name;
    Some(is_empty || matches!(big16(bytes, HEAD + name)?, 0..=0xff | 0xffff))
}

/// A request for a session (ZooKeeper's `ConnectRequest`): version 0, the last transaction, a timeout,
/// a session, its password of 16 bytes, and perhaps whether to write.
pub fn zookeeper(bytes: &[u8]) -> Option<bool> {
    const PASSWORD: u32 = 16;
    let (length, version) = (big32(bytes, 0)?, big32(bytes, 4)?);
    if !matches!(length, 44 | 45) || version != 0 {
        return Some(false);
    }
    Some(big32(bytes, 28)? == PASSWORD)
}

/// OPTIONS or STARTUP (Cassandra native protocol, versions 3 to 5), with the first option's name.
pub fn cassandra(bytes: &[u8]) -> Option<bool> {
    const STARTUP: u8 = 1;
    const OPTIONS: u8 = 5;
    let version = byte(bytes, 0)?;
    if !(3..=5).contains(&version) {
        return Some(false);
    }
    let (flags, stream) = (byte(bytes, 1)?, big16(bytes, 2)?);
    let (opcode, length) = (byte(bytes, 4)?, big32(bytes, 5)?);
    let plausible = flags <= 0x1f && stream < 1 << 15;
    match opcode {
        OPTIONS => Some(plausible && length == 0),
        STARTUP if plausible && (4..=1024).contains(&length) => {
            let (options, name) = (big16(bytes, 9)?, big16(bytes, 11)?);
            let is_name = |c: u8| c.is_ascii_uppercase() || c == b'_';
            let counted = (1..=16).contains(&options) && (4..=32).contains(&name);
            Some(counted && made_of(bytes, 13, name.into(), is_name)?)
        }
        _ => Some(false),
    }
}

/// A query over TCP (RFC 1035 sections 4.1.1 and 4.2.2): a length, flags of a question, one
/// question, no answer.
pub fn dns(bytes: &[u8]) -> Option<bool> {
    /// What is an answer's, or must be zero: QR, AA, TC, Z and RCODE.
    const NOT_OF_A_QUERY: u16 = 0x864f;
    let (length, flags) = (big16(bytes, 0)?, big16(bytes, 4)?);
    if !(17..=4096).contains(&length) || flags & NOT_OF_A_QUERY != 0 {
        return Some(false);
    }
    let counts = (big16(bytes, 6)?, big16(bytes, 8)?, big16(bytes, 10)?);
    // An update has the zone there (RFC 2136), a notification a record.
    let plausible = counts.0 == 1 && counts.1 <= 1 && counts.2 <= 16;
    Some(plausible && byte(bytes, 14)? <= 63)
}

/// A request for a ticket (RFC 4120 section 5.4.1), which TCP puts after its length (section 7.2.2):
/// the application tag, a sequence, and in it version 5 and the type.
pub fn kerberos(bytes: &[u8]) -> Option<bool> {
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

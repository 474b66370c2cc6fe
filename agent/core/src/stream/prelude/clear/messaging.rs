//! Messaging and routing: AMQP, MQTT, ZeroMQ, BGP.

use super::{begins, big16, byte};

/// AMQP 0-9-1 section 4.2.2 and AMQP 1.0 section 2.2. Protocol id 2 asks for TLS (section 5.2.1) and
/// is an upgrade.
pub fn amqp(bytes: &[u8]) -> Option<bool> {
    if begins(bytes, b"AMQP")? {
        return Some(matches!(byte(bytes, 4)?, 0 | 1 | 3));
    }
    Some(false)
}

/// CONNECT (MQTT 3.1.1 section 3.1): its type, the remaining length, the protocol's name.
pub fn mqtt(bytes: &[u8]) -> Option<bool> {
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

/// A greeting of ZMTP 3 (RFC 23/ZMTP) that names a mechanism without encryption.
pub fn zmtp(bytes: &[u8]) -> Option<bool> {
    if byte(bytes, 0)? != 0xff {
        return Some(false);
    }
    if byte(bytes, 9)? != 0x7f || byte(bytes, 10)? != 3 {
        return Some(false);
    }
    match byte(bytes, 12)? {
        b'N' => begins(&bytes[12..], b"NULL\0"),
        b'P' => begins(&bytes[12..], b"PLAIN\0"),
        _ => Some(false),
    }
}

/// A message of BGP (RFC 4271 section 4.1): the marker, a length, a type.
pub fn bgp(bytes: &[u8]) -> Option<bool> {
    if !begins(bytes, &[0xff; 16])? {
        return Some(false);
    }
    Some((19..=4096).contains(&big16(bytes, 16)?) && (1..=5).contains(&byte(bytes, 18)?))
}

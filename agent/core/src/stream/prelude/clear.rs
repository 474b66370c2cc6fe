//! Binary protocols that speak in the clear from their first byte, by what that first message must hold.
//!
//! Each check fixes 24 bits or more beside lengths, counters and small numbers, which may stand
//! before another protocol's encrypted bytes as well: those pass for a protocol at most once in 2^24
//! connections. `tests/evenly_spread.rs` tries that.

mod calls;
mod devices;
mod gateways;
mod messaging;

use super::Protocol;

/// Whether bytes begin a protocol: `None` while they are too few to tell.
type Check = fn(&[u8]) -> Option<bool>;

/// Protocols of which the first message of the client tells.
const CHECKS: &[(Protocol, Check)] = &[
    (Protocol::Amqp, messaging::amqp),
    (Protocol::Mqtt, messaging::mqtt),
    (Protocol::Fastcgi, gateways::fastcgi),
    (Protocol::Uwsgi, gateways::uwsgi),
    (Protocol::Scgi, gateways::scgi),
    (Protocol::Ajp, gateways::ajp),
    (Protocol::Memcached, calls::memcached),
    (Protocol::Thrift, calls::thrift),
    (Protocol::Mongodb, calls::mongodb),
    (Protocol::Kafka, calls::kafka),
    (Protocol::Zookeeper, calls::zookeeper),
    (Protocol::Cassandra, calls::cassandra),
    (Protocol::Dns, calls::dns),
    (Protocol::Kerberos, calls::kerberos),
    (Protocol::Modbus, devices::modbus),
    (Protocol::Enip, devices::enip),
    (Protocol::Zmtp, messaging::zmtp),
    (Protocol::Bgp, messaging::bgp),
];

/// What the checks say of a client's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// They are this protocol.
    Protocol(Protocol),
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
            Some(true) => return Seen::Protocol(*name),
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

/// Whether the `length` bytes from `at` on are all of this kind, as far as they go.
fn made_of(bytes: &[u8], at: usize, length: usize, kind: fn(u8) -> bool) -> Option<bool> {
    let there = bytes.get(at..).unwrap_or_default();
    if !there.iter().take(length).all(|byte| kind(*byte)) {
        return Some(false);
    }
    (there.len() >= length).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol, what is said, its first bytes, and after how many of them it is told.
    const CASES: &[(Protocol, &str, &[u8], usize)] = &[
        (Protocol::Amqp, "AMQP 0-9-1", b"AMQP\0\0\x09\x01", 5),
        (Protocol::Amqp, "AMQP 1.0 with SASL", b"AMQP\x03\x01\0\0", 5),
        (Protocol::Mqtt, "CONNECT, 3.1.1", b"\x10\x12\0\x04MQTT\x04\x02\0\x3c\0\x06client", 8),
        (Protocol::Mqtt, "CONNECT, 3.1", b"\x10\x80\x02\0\x06MQIsdp\x03", 11),
        (Protocol::Fastcgi, "BEGIN_REQUEST", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", 16),
        (Protocol::Uwsgi, "QUERY_STRING", b"\0\x60\x01\0\x0c\0QUERY_STRING\0\0", 20),
        (Protocol::Scgi, "CONTENT_LENGTH", b"70:CONTENT_LENGTH\x0027\0", 18),
        (Protocol::Ajp, "forward request", b"\x12\x34\x01\x02\x02\x02\0\x08HTTP/1.1\0", 8),
        (Protocol::Ajp, "ping", b"\x12\x34\0\x01\x0a", 5),
        (
            Protocol::Memcached,
            "get, binary",
            b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0key",
            12,
        ),
        (Protocol::Thrift, "binary, framed", b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0", 16),
        (Protocol::Thrift, "binary", b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0", 12),
        (Protocol::Thrift, "compact, framed", b"\0\0\0\x0b\x82\x21\x01\x04ping\0", 12),
        (Protocol::Mongodb, "hello in OP_MSG", b"\x48\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0", 16),
        (
            Protocol::Mongodb,
            "isMaster in OP_QUERY",
            b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0",
            16,
        ),
        (Protocol::Kafka, "ApiVersions", b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x06client\0\x0a", 22),
        (Protocol::Kafka, "Metadata, no name", b"\0\0\0\x12\0\x03\0\x01\0\0\0\x02\xff\xff\0\0", 16),
        (Protocol::Kafka, "ApiVersions, no name", b"\0\0\0\x0a\0\x12\0\0\0\0\0\x02\xff\xff", 14),
        (
            Protocol::Zookeeper,
            "a new session",
            b"\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10\0",
            32,
        ),
        (Protocol::Cassandra, "OPTIONS", b"\x04\0\0\0\x05\0\0\0\0", 9),
        (
            Protocol::Cassandra,
            "STARTUP",
            b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0",
            24,
        ),
        (Protocol::Modbus, "read registers", b"\x02\x01\0\0\0\x06\x01\x03\0\0\0\x0a", 12),
        (
            Protocol::Enip,
            "RegisterSession",
            b"\x65\0\x04\0\0\0\0\0\0\0\0\0context!\0\0\0\0\x01\0\0\0",
            24,
        ),
        (Protocol::Zmtp, "NULL", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL\0\0", 17),
        (
            Protocol::Bgp,
            "KEEPALIVE",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\x13\x04",
            19,
        ),
        (
            Protocol::Kerberos,
            "AS-REQ",
            b"\0\0\x01\x0d\x6a\x82\x01\x09\x30\x82\x01\x05\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\xa3\x15\x30\x13",
            25,
        ),
        (
            Protocol::Dns,
            "a query",
            b"\0\x1d\x11\x22\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01",
            15,
        ),
    ];

    #[test]
    fn each_is_told_from_its_first_message() {
        for (protocol, what, bytes, after) in CASES {
            for length in 0..=bytes.len() {
                let expected =
                    if length < *after { Seen::Maybe } else { Seen::Protocol(*protocol) };
                assert_eq!(recognise(&bytes[..length]), expected, "{what} after {length} bytes");
            }
        }
        for (protocol, _) in super::CHECKS {
            assert!(CASES.iter().any(|case| case.0 == *protocol), "no case for {protocol}");
        }
    }
}

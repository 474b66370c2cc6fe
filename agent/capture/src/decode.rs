//! Records of the kernel programs become events.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use hopsight_abi::{Bytes16, Header, Record, direction, flags};

use super::library::decode;
use hopsight_core::model::{
    Beginning, CloseCause, ConnectionId, Direction, Event, Origin, Process, Timestamp,
};
use hopsight_system::names::name_of;

/// Appends what `record` tells to `out`: a loss that it reports, then its own event.
pub fn append_events(header: &Header, record: Record<'_>, out: &mut Vec<Event>) {
    let connection = ConnectionId(header.cookie);
    let at = Timestamp(header.at_ns);
    let towards = if header.direction == direction::TO_CLIENT {
        Direction::ToClient
    } else {
        Direction::ToServer
    };
    if header.flags & flags::LOST != 0 {
        out.push(Event::Lost { connection, at });
    }
    out.push(match record {
        Record::Opened(opened) => Event::Opened {
            connection,
            at,
            origin: Origin::Process(Process {
                pid: opened.tgid,
                name: Arc::from(name_of(&opened.comm.to_bytes())),
                cgroup_id: opened.cgroup_id,
            }),
            destination: socket_addr(opened.destination_ip, opened.destination_port),
            beginning: Beginning::Seen,
        },
        Record::Established(established) => Event::Established {
            connection,
            at,
            local: socket_addr(established.local_ip, established.local_port),
            remote: socket_addr(established.remote_ip, established.remote_port),
        },
        Record::Segment(segment, bytes) => Event::Segment {
            connection,
            at,
            direction: towards,
            offset: segment.offset,
            payload_len: segment.payload_len,
            acked: Some(segment.acked),
            bytes: bytes.to_vec(),
        },
        Record::Fin(fin) => Event::Fin { connection, at, direction: towards, offset: fin.offset },
        Record::Closed(_) => Event::Closed { connection, at, cause: close_cause(header.flags) },
        Record::Library(library, bytes) => match decode::event(header, library, bytes) {
            Some(event) => Event::Library(event),
            None => return,
        },
    });
}

const fn close_cause(flags: u16) -> CloseCause {
    match flags & (flags::CONNECT_FAILED | flags::RESET_BY_CLIENT | flags::RESET_BY_SERVER) {
        0 => CloseCause::Closed,
        flags::RESET_BY_CLIENT => CloseCause::ResetBy(Direction::ToServer),
        flags::RESET_BY_SERVER => CloseCause::ResetBy(Direction::ToClient),
        reset if reset & flags::CONNECT_FAILED == 0 => CloseCause::Closed,
        _ => CloseCause::ConnectFailed,
    }
}

/// An address of a record; IPv4-mapped ones become IPv4, which is what is on the wire.
fn socket_addr(ip: Bytes16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip.to_bytes())).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use hopsight_abi::{Closed, Kind, Opened, Segment};

    use super::*;

    fn events(header: Header, record: Record<'_>) -> Vec<Event> {
        let mut out = Vec::new();
        append_events(&header, record, &mut out);
        out
    }

    #[test]
    fn a_reported_loss_comes_first() {
        let header = Header {
            kind: Kind::Segment as u8,
            direction: direction::TO_CLIENT,
            flags: flags::LOST,
            cookie: 5,
            at_ns: 6,
            ..Header::default()
        };
        let segment = Segment { offset: 7, payload_len: 8, acked: 9, reserved: 0 };
        let (connection, at) = (ConnectionId(5), Timestamp(6));
        assert_eq!(
            events(header, Record::Segment(segment, b"ab")),
            [
                Event::Lost { connection, at },
                Event::Segment {
                    connection,
                    at,
                    direction: Direction::ToClient,
                    offset: 7,
                    payload_len: 8,
                    acked: Some(9),
                    bytes: b"ab".to_vec(),
                },
            ]
        );
    }

    #[test]
    fn a_failed_connect_is_told_from_a_close() {
        for (flags, expected) in [
            (0, CloseCause::Closed),
            (flags::CONNECT_FAILED, CloseCause::ConnectFailed),
            (flags::CONNECT_FAILED | flags::RESET_BY_SERVER, CloseCause::ConnectFailed),
            (flags::RESET_BY_CLIENT, CloseCause::ResetBy(Direction::ToServer)),
            (flags::RESET_BY_SERVER, CloseCause::ResetBy(Direction::ToClient)),
        ] {
            let header = Header { flags, ..Header::default() };
            let [Event::Closed { cause, .. }] =
                events(header, Record::Closed(Closed::default()))[..]
            else {
                panic!("one closed event");
            };
            assert_eq!(cause, expected);
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let opened = Opened {
            destination_ip: Bytes16::new(
                Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]).octets(),
            ),
            destination_port: 443,
            ..Opened::default()
        };
        let [Event::Opened { destination, .. }] =
            events(Header::default(), Record::Opened(opened))[..]
        else {
            panic!("one opened event");
        };
        assert_eq!(destination.to_string(), "127.0.0.1:443");
    }
}

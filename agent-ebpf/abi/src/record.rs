//! Records of the ring buffer.

use core::fmt;

use crate::{
    library::Library,
    state::Comm,
    wire::{Bytes16, wire_struct},
};

/// What a record tells. Zero is no kind, so that a zeroed record is an error.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Opened`].
    Opened = 1,
    /// [`Established`].
    Established = 2,
    /// [`Segment`].
    Segment = 3,
    /// [`Fin`].
    Fin = 4,
    /// [`Closed`].
    Closed = 5,
    /// [`Library`].
    Library = 6,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Opened, Self::Established, Self::Segment, Self::Fin, Self::Closed, Self::Library];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Name in metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Established => "established",
            Self::Segment => "segment",
            Self::Fin => "fin",
            Self::Closed => "closed",
            Self::Library => "library",
        }
    }
}

/// Values of [`Header::direction`].
pub mod direction {
    /// From the proxy to the upstream (egress).
    pub const TO_SERVER: u8 = 0;
    /// From the upstream to the proxy (ingress).
    pub const TO_CLIENT: u8 = 1;
}

/// Bits of [`Header::flags`].
pub mod flags {
    /// Records or bytes of this connection were lost since its last delivered record.
    pub const LOST: u16 = 1;
    /// On a closed record: `connect` failed, there never was a connection.
    pub const CONNECT_FAILED: u16 = 1 << 1;
    /// On a closed record: the proxy's end reset the connection.
    pub const RESET_BY_CLIENT: u16 = 1 << 2;
    /// On a closed record: the upstream reset the connection.
    pub const RESET_BY_SERVER: u16 = 1 << 3;
}

wire_struct! {
    /// Begins every record.
    Header: 24 {
        /// A [`Kind`] as number.
        kind: u8,
        /// One of [`direction`]; 0 where the kind has none.
        direction: u8,
        /// Bits of [`flags`].
        flags: u16,
        /// Meaningful bytes of the record, this header included. The ring buffer's own length may
        /// be larger: segments are reserved in a few fixed sizes.
        len: u32,
        /// Socket cookie (`bpf_get_socket_cookie`).
        cookie: u64,
        /// `CLOCK_MONOTONIC` in nanoseconds.
        at_ns: u64,
    }
}

wire_struct! {
    /// A watched process starts a TCP handshake.
    Opened: 56 {
        /// Process (thread group) id in the initial pid namespace.
        tgid: u32,
        /// Thread id in the initial pid namespace.
        tid: u32,
        /// Inode number of the process's cgroup v2 directory.
        cgroup_id: u64,
        /// Name the process is watched under.
        comm: Comm,
        /// Destination as the process gave it to `connect`.
        destination_ip: Bytes16,
        /// Port of the destination.
        destination_port: u16,
        /// Zero.
        reserved_short: u16,
        /// Zero.
        reserved: u32,
    }
}

wire_struct! {
    /// The TCP handshake is complete.
    Established: 40 {
        /// Address of the proxy's end.
        local_ip: Bytes16,
        /// Address of the upstream's end, after any NAT that rewrote the socket.
        remote_ip: Bytes16,
        /// Port of the proxy's end.
        local_port: u16,
        /// Port of the upstream's end.
        remote_port: u16,
        /// Zero.
        reserved: u32,
    }
}

wire_struct! {
    /// Payload of a TCP segment, or of a part of one; the captured bytes follow, up to
    /// [`Header::len`].
    Segment: 16 {
        /// Offset of the first byte from the first payload byte of the direction, modulo 2^32.
        offset: u32,
        /// Length of the payload from there on; more than the captured bytes where a budget cut it.
        payload_len: u32,
        /// What the sender had received, as an offset in the other direction (its acknowledgement).
        acked: u32,
        /// Zero.
        reserved: u32,
    }
}

wire_struct! {
    /// A segment with the FIN flag passed.
    Fin: 8 {
        /// Offset of the end of the direction's payload, modulo 2^32.
        offset: u32,
        /// Zero.
        reserved: u32,
    }
}

wire_struct! {
    /// The socket reached the state CLOSE.
    Closed: 8 {
        /// TCP state before (`BPF_TCP_*`).
        previous_state: u32,
        /// Zero.
        reserved: u32,
    }
}

/// A decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// See [`Opened`].
    Opened(Opened),
    /// See [`Established`].
    Established(Established),
    /// See [`Segment`]; with the captured bytes.
    Segment(Segment, &'a [u8]),
    /// See [`Fin`].
    Fin(Fin),
    /// See [`Closed`].
    Closed(Closed),
    /// See [`Library`]; with the captured bytes.
    Library(Library, &'a [u8]),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header, its length field or the body need.
    TooShort,
    /// No known [`Kind`].
    UnknownKind(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("record shorter than its kind needs"),
            Self::UnknownKind(kind) => write!(f, "record of unknown kind {kind}"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl<'a> Record<'a> {
    /// Decodes one record of the ring buffer.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a whole record of a known kind.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<(Header, Self), DecodeError> {
        let header = Header::from_bytes(bytes).ok_or(DecodeError::TooShort)?;
        let kind = Kind::from_number(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
        let len = usize::try_from(header.len).map_err(|_| DecodeError::TooShort)?;
        let body = bytes.get(Header::SIZE..len).ok_or(DecodeError::TooShort)?;
        let record = match kind {
            Kind::Opened => Opened::from_bytes(body).map(Self::Opened),
            Kind::Established => Established::from_bytes(body).map(Self::Established),
            Kind::Segment => Segment::from_bytes(body)
                .map(|segment| Self::Segment(segment, &body[Segment::SIZE..])),
            Kind::Fin => Fin::from_bytes(body).map(Self::Fin),
            Kind::Closed => Closed::from_bytes(body).map(Self::Closed),
            Kind::Library => Library::from_bytes(body)
                .map(|library| Self::Library(library, &body[Library::SIZE..])),
        };
        Ok((header, record.ok_or(DecodeError::TooShort)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<const N: usize>(kind: u8, len: usize, body: [u8; N]) -> ([u8; 128], usize) {
        let header = Header {
            kind,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            cookie: 7,
            at_ns: 9,
            ..Header::default()
        };
        let mut bytes = [0; 128];
        bytes[..Header::SIZE].copy_from_slice(&header.to_bytes());
        bytes[Header::SIZE..Header::SIZE + N].copy_from_slice(&body);
        (bytes, Header::SIZE + N)
    }

    #[test]
    fn a_segment_ends_where_its_header_says() {
        let mut body = [0xAA; Segment::SIZE + 16];
        let segment = Segment { offset: u32::MAX, payload_len: 3, acked: 4, reserved: 0 };
        body[..Segment::SIZE].copy_from_slice(&segment.to_bytes());
        let (bytes, size) = record(Kind::Segment as u8, Header::SIZE + Segment::SIZE + 3, body);
        let Ok((header, decoded)) = Record::from_bytes(&bytes[..size]) else {
            panic!("a whole record decodes");
        };
        assert_eq!(decoded, Record::Segment(segment, &[0xAA; 3]));
        assert_eq!((header.cookie, header.at_ns), (7, 9));
    }

    #[test]
    fn every_body_survives_the_round_trip() {
        let opened = Opened {
            tgid: 1,
            tid: 2,
            cgroup_id: u64::MAX,
            comm: Bytes16::new(*b"nginx\0\0\0\0\0\0\0\0\0\0\0"),
            destination_ip: Bytes16::new([3; 16]),
            destination_port: 443,
            reserved_short: 0,
            reserved: 0,
        };
        let established = Established {
            local_ip: Bytes16::new([1; 16]),
            remote_ip: Bytes16::new([2; 16]),
            local_port: 3,
            remote_port: 4,
            reserved: 0,
        };
        let fin = Fin { offset: 5, reserved: 0 };
        let closed = Closed { previous_state: 2, reserved: 0 };
        assert_eq!(Opened::from_bytes(&opened.to_bytes()), Some(opened));
        assert_eq!(Established::from_bytes(&established.to_bytes()), Some(established));
        assert_eq!(Fin::from_bytes(&fin.to_bytes()), Some(fin));
        assert_eq!(Closed::from_bytes(&closed.to_bytes()), Some(closed));
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let (zeroed, size) = record(0, Header::SIZE, []);
        let (unknown, _) = record(200, Header::SIZE, []);
        let (length_beyond_the_end, _) = record(Kind::Fin as u8, 4096, [0; Fin::SIZE]);
        let (length_within_the_header, _) = record(Kind::Fin as u8, 3, [0; Fin::SIZE]);
        let (body_cut, body_size) = record(Kind::Opened as u8, Header::SIZE + 8, [0; 8]);
        for (name, bytes, expected) in [
            ("empty", &[][..], DecodeError::TooShort),
            ("half a header", &zeroed[..12], DecodeError::TooShort),
            ("kind 0", &zeroed[..size], DecodeError::UnknownKind(0)),
            ("kind 200", &unknown[..size], DecodeError::UnknownKind(200)),
            ("length beyond the end", &length_beyond_the_end[..], DecodeError::TooShort),
            ("length within the header", &length_within_the_header[..], DecodeError::TooShort),
            ("body cut", &body_cut[..body_size], DecodeError::TooShort),
        ] {
            assert_eq!(Record::from_bytes(bytes), Err(expected), "{name}");
        }
    }
}

//! One TCP connection of a capture: what its segments say.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use hopsight_core::{
    model::{Beginning, CloseCause, ConnectionId, Direction, Event, Origin, Timestamp},
    tls::records::{ContentType, RecordHeader},
};

use crate::replay::{
    closed::{Ended, Sent},
    packet::{Path, TcpSegment},
};

/// The largest window without scaling (RFC 9293 section 3.1), in bytes.
const WINDOW: u32 = u16::MAX as u32;

/// One end of a connection as numbers, which compare and hash in a fraction of the time that
/// addresses take: the IPv6 address (an IPv4 address as RFC 4291 section 2.5.5.2 maps it), the port.
pub type End = (u128, u16);

fn end(address: SocketAddr) -> End {
    let number = match address.ip() {
        IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    (number, address.port())
}

/// What a connection is found by: both directions have the same, the smaller address first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The two ends.
    pub ends: [End; 2],
    /// What its packets are inside of.
    pub path: Path,
}

impl Key {
    /// Of a segment inside of `path` between these ends.
    pub fn new(path: Path, a: SocketAddr, b: SocketAddr) -> Self {
        let [a, b] = [end(a), end(b)];
        Self { path, ends: if a <= b { [a, b] } else { [b, a] } }
    }

    /// 0 for the sender with the smaller address.
    pub fn side(&self, sender: SocketAddr) -> usize {
        usize::from(end(sender) != self.ends[0])
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [(a, a_port), (b, b_port)] = self.ends;
        state.write_u128(a);
        state.write_u128(b);
        state.write_u32(u32::from(a_port) << 16 | u32::from(b_port));
        // Most are inside of nothing.
        if !self.path.is_empty() {
            self.path.hash(state);
        }
    }
}

/// A connection that is followed.
#[derive(Debug)]
pub struct Tracked {
    /// What it is called in events.
    pub id: ConnectionId,
    client: SocketAddr,
    /// Sequence number of the first payload byte of each direction, once known.
    base: [Option<u32>; 2],
    /// Sequence number after everything that a direction sent, where its base is known.
    next: [u32; 2],
    /// Sequence number after a direction's FIN.
    fin: [Option<u32>; 2],
    /// That FIN was acknowledged: nothing before it is missing any more.
    fin_acknowledged: [bool; 2],
    /// Initial sequence number of the SYN, to tell a new connection from a repeated SYN.
    syn: Option<u32>,
    /// Where the server's segments come by another way than the client's.
    pub answers_in: Option<Path>,
    established: bool,
    /// No more bytes are wanted.
    pub done: bool,
    /// Something was heard of it since it was last considered for being given up.
    pub active: bool,
}

/// What became of a connection with a segment.
pub enum TcpState {
    /// It goes on.
    Open,
    /// Both sides have finished, for the first time, and not all of it is acknowledged.
    Closing,
    /// It is over, and how.
    Closed(CloseCause),
}

impl Tracked {
    /// A new connection, if this segment is of one; nothing follows from the end of an unknown one.
    pub fn open(
        id: ConnectionId,
        at: Timestamp,
        segment: &TcpSegment<'_>,
        out: &mut Vec<Event>,
    ) -> Option<Self> {
        let silent = segment.payload_len == 0 && !segment.syn;
        if segment.rst || silent {
            return None;
        }
        let from_server = if segment.syn { segment.ack } else { speaks_as_server(segment) };
        let [client, server] = if from_server {
            [segment.destination, segment.source]
        } else {
            [segment.source, segment.destination]
        };
        let is_handshake = |header: RecordHeader| header.content_type == ContentType::Handshake;
        let begins = segment.syn
            || RecordHeader::parse(segment.payload)
                .is_ok_and(|header| header.is_some_and(is_handshake));
        out.push(Event::Opened {
            connection: id,
            at,
            origin: Origin::PacketCapture,
            destination: server,
            beginning: if begins { Beginning::Seen } else { Beginning::MidStream },
        });
        Some(Self {
            id,
            client,
            base: [None; 2],
            next: [0; 2],
            fin: [None; 2],
            fin_acknowledged: [false; 2],
            syn: None,
            answers_in: None,
            established: false,
            done: false,
            active: true,
        })
    }

    /// Whether this SYN opens another connection between the same ends. Where packets were captured
    /// out of order it may be this one's own.
    pub fn is_before(&self, syn: &TcpSegment<'_>) -> bool {
        let base = self.base[Direction::ToServer.index()];
        let is_own = self.syn == Some(syn.sequence)
            || syn.source == self.client && base == Some(syn.sequence.wrapping_add(1));
        self.established && !is_own
    }

    /// Whether this is the server's answer to its SYN, the first that was seen.
    pub fn is_answered_by(&self, answer: &TcpSegment<'_>) -> bool {
        answer.destination == self.client
            && self.syn.is_some_and(|syn| syn.wrapping_add(1) == answer.acknowledged)
            && self.base[Direction::ToClient.index()].is_none()
    }

    /// Takes in one of its segments.
    pub fn apply(
        &mut self,
        at: Timestamp,
        segment: &TcpSegment<'_>,
        out: &mut Vec<Event>,
    ) -> TcpState {
        let direction =
            if segment.source == self.client { Direction::ToServer } else { Direction::ToClient };
        let index = direction.index();
        if segment.rst && !self.may_reset(index, segment.sequence) {
            return TcpState::Open;
        }
        self.active = true;
        let id = self.id;
        if segment.syn {
            // The newest SYN counts as long as nothing followed the older one.
            if !self.established || self.base[index].is_none() {
                self.base[index] = Some(segment.sequence.wrapping_add(1));
                self.next[index] = segment.sequence.wrapping_add(1);
            }
            if !segment.ack {
                self.syn = Some(segment.sequence);
            }
        }
        if !self.established && (!segment.syn || segment.payload_len > 0) {
            self.established = true;
            let [local, remote] = if direction == Direction::ToServer {
                [segment.source, segment.destination]
            } else {
                [segment.destination, segment.source]
            };
            out.push(Event::Established { connection: id, at, local, remote });
        }
        // A SYN takes one sequence number before any payload (TCP Fast Open).
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        if segment.payload_len > 0 {
            let base = self.sent(index, sequence, segment.payload_len);
            let other = self.base[direction.reversed().index()].filter(|_| segment.ack);
            if !self.done {
                out.push(Event::Segment {
                    connection: id,
                    at,
                    direction,
                    offset: sequence.wrapping_sub(base),
                    payload_len: segment.payload_len,
                    acked: other.map(|base| segment.acknowledged.wrapping_sub(base)),
                    bytes: segment.payload.to_vec(),
                });
            }
        }
        self.note_end(at, direction, segment, out)
    }

    /// Whether the receiver may heed a reset with this number. It ignores one outside of its window,
    /// and answers one inside of it that is not the very next (RFC 5961 section 3.2); what the
    /// capture missed may lie in between. Where nothing of the sender was seen, as with a refused
    /// SYN, any number will do.
    fn may_reset(&self, index: usize, sequence: u32) -> bool {
        self.base[index].is_none_or(|base| {
            let earliest = base.wrapping_sub(WINDOW);
            let latest = self.next[index].wrapping_add(WINDOW);
            !is_before(sequence, earliest) && !is_before(latest, sequence)
        })
    }

    /// Notes that a direction sent this much, and returns where it began.
    fn sent(&mut self, index: usize, sequence: u32, length: u32) -> u32 {
        let next = sequence.wrapping_add(length);
        let base = *self.base[index].get_or_insert_with(|| {
            self.next[index] = next;
            sequence
        });
        if is_before(self.next[index], next) {
            self.next[index] = next;
        }
        base
    }

    /// FIN, RST, and the acknowledgement of a FIN.
    fn note_end(
        &mut self,
        at: Timestamp,
        direction: Direction,
        segment: &TcpSegment<'_>,
        out: &mut Vec<Event>,
    ) -> TcpState {
        let (index, other) = (direction.index(), direction.reversed().index());
        let was_closing = self.fin.iter().all(Option::is_some);
        if segment.fin {
            let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
            let base = self.sent(index, sequence, segment.payload_len);
            let end = sequence.wrapping_add(segment.payload_len);
            let offset = end.wrapping_sub(base);
            out.push(Event::Fin { connection: self.id, at, direction, offset });
            self.fin[index] = Some(end.wrapping_add(1));
        }
        if segment.ack
            && let Some(end) = self.fin[other]
        {
            self.fin_acknowledged[other] |= !is_before(segment.acknowledged, end);
        }
        let is_closing = self.fin.iter().all(Option::is_some);
        if self.fin_acknowledged == [true, true] || segment.rst && is_closing {
            TcpState::Closed(CloseCause::Closed)
        } else if segment.rst {
            TcpState::Closed(CloseCause::ResetBy(direction))
        } else if is_closing && !was_closing {
            TcpState::Closing
        } else {
            TcpState::Open
        }
    }

    /// What is to be remembered of it once it is over.
    pub fn ended(&self, key: &Key) -> Ended {
        let client = key.side(self.client);
        let sent =
            |index: usize| self.base[index].map(|first| Sent { first, next: self.next[index] });
        let mut by_side = [None; 2];
        by_side[client] = sent(Direction::ToServer.index());
        by_side[1 - client] = sent(Direction::ToClient.index());
        Ended { syn: self.syn, sent: by_side }
    }
}

/// In the circle of sequence numbers, `a` lies before `b` (RFC 9293 section 3.4).
const fn is_before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() > 0
}

/// Without a SYN: whether the sender of this segment is the server. A hello tells; else the lower
/// port is taken for the server's.
fn speaks_as_server(segment: &TcpSegment<'_>) -> bool {
    match segment.payload {
        [0x16, 3, _, _, _, 1, ..] => false,
        [0x16, 3, _, _, _, 2, ..] => true,
        _ => segment.source.port() < segment.destination.port(),
    }
}

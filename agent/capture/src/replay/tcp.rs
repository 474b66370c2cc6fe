//! Follows TCP connections in a capture and turns their segments into events.

use std::{
    collections::{VecDeque, hash_map::Entry},
    net::SocketAddr,
};

use super::packet::TcpSegment;
use hopsight_core::{
    collections::HashMap,
    model::{Beginning, CloseCause, Direction, Event, FlowId, Origin, Timestamp},
    tls::records::{ContentType, RecordHeader},
};

#[derive(Debug)]
struct Tracked {
    flow: FlowId,
    client: SocketAddr,
    /// Sequence number of the first payload byte of each direction, once known.
    base: [Option<u32>; 2],
    fin: [bool; 2],
    /// Initial sequence number of the SYN, to tell a new connection from a repeated SYN.
    syn: Option<u32>,
    established: bool,
    /// No more bytes are wanted.
    done: bool,
}

/// All connections of a capture that are still open.
#[derive(Debug, Default)]
pub struct TcpTracker {
    connections: HashMap<(SocketAddr, SocketAddr), Tracked>,
    by_flow: HashMap<FlowId, (SocketAddr, SocketAddr)>,
    /// The last connections that were reset: what was on its way then still comes.
    reset: VecDeque<(SocketAddr, SocketAddr)>,
    flows: u64,
}

/// Connections remembered as reset.
const MAX_RESET: usize = 256;

/// Both directions of a connection have the same key.
fn key(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl TcpTracker {
    /// No more bytes of this flow are wanted.
    pub fn done(&mut self, flow: FlowId) {
        if let Some(tracked) = self.by_flow.get(&flow).and_then(|key| self.connections.get_mut(key))
        {
            tracked.done = true;
        }
    }

    /// Takes in one segment.
    pub fn segment(&mut self, at: Timestamp, segment: &TcpSegment<'_>, out: &mut Vec<Event>) {
        let key = key(segment.source, segment.destination);
        let opens = segment.syn && !segment.ack;
        let is_another =
            |tracked: &Tracked| tracked.established && tracked.syn != Some(segment.sequence);
        if opens && self.connections.get(&key).is_some_and(is_another) {
            self.close(key, at, CloseCause::Closed, out);
        }
        let tracked = match self.connections.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !segment.syn && self.reset.contains(&key) => return,
            Entry::Vacant(place) => {
                let flow = FlowId(self.flows + 1);
                let Some(tracked) = open(flow, at, segment, out) else { return };
                self.flows += 1;
                self.by_flow.insert(flow, key);
                place.insert(tracked)
            }
        };
        let direction = if segment.source == tracked.client {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        let index = direction.index();
        if segment.syn {
            // The newest SYN counts as long as nothing followed the older one.
            if !tracked.established || tracked.base[index].is_none() {
                tracked.base[index] = Some(segment.sequence.wrapping_add(1));
            }
            if opens {
                tracked.syn = Some(segment.sequence);
            }
        }
        let flow = tracked.flow;
        if !tracked.established && (!segment.syn || segment.payload_len > 0) {
            tracked.established = true;
            let [local, remote] = if direction == Direction::ToServer {
                [segment.source, segment.destination]
            } else {
                [segment.destination, segment.source]
            };
            out.push(Event::Established { flow, at, local, remote });
        }
        // A SYN takes one sequence number before any payload (TCP Fast Open).
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        if segment.payload_len > 0 && !tracked.done {
            let base = *tracked.base[index].get_or_insert(sequence);
            let acked = tracked.base[1 - index].filter(|_| segment.ack);
            out.push(Event::Segment {
                flow,
                at,
                direction,
                offset: sequence.wrapping_sub(base),
                payload_len: segment.payload_len,
                acked: acked.map(|base| segment.acknowledgment.wrapping_sub(base)),
                bytes: segment.payload.to_vec(),
            });
        }
        if segment.fin {
            let base = *tracked.base[index].get_or_insert(sequence);
            let offset = sequence.wrapping_add(segment.payload_len).wrapping_sub(base);
            out.push(Event::Fin { flow, at, direction, offset });
            tracked.fin[index] = true;
        }
        if segment.rst {
            if self.reset.len() == MAX_RESET {
                self.reset.pop_front();
            }
            self.reset.push_back(key);
        }
        let both_ended = tracked.fin == [true, true];
        if segment.rst {
            self.close(key, at, CloseCause::ResetBy(direction), out);
        } else if both_ended {
            self.close(key, at, CloseCause::Closed, out);
        }
    }

    fn close(
        &mut self,
        key: (SocketAddr, SocketAddr),
        at: Timestamp,
        cause: CloseCause,
        out: &mut Vec<Event>,
    ) {
        if let Some(tracked) = self.connections.remove(&key) {
            self.by_flow.remove(&tracked.flow);
            out.push(Event::Closed { flow: tracked.flow, at, cause });
        }
    }
}

/// A new connection, if this segment is of one; nothing follows from the end of an unknown one.
fn open(
    flow: FlowId,
    at: Timestamp,
    segment: &TcpSegment<'_>,
    out: &mut Vec<Event>,
) -> Option<Tracked> {
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
    let begins = segment.syn
        || RecordHeader::parse(segment.payload)
            .is_ok_and(|header| header.is_some_and(|h| h.content_type == ContentType::Handshake));
    out.push(Event::Opened {
        flow,
        at,
        origin: Origin::PacketCapture,
        destination: server,
        beginning: if begins { Beginning::Seen } else { Beginning::MidStream },
    });
    Some(Tracked {
        flow,
        client,
        base: [None; 2],
        fin: [false; 2],
        syn: None,
        established: false,
        done: false,
    })
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

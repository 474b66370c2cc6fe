//! Packets of a watched socket: the beginning of each direction goes to the agent.

use core::hint::black_box;

use aya_ebpf::{
    bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, macros::cgroup_skb,
    programs::SkBuffContext,
};
use hopsight_abi::{ConnectionState, Fin, Kind, Lost, direction};

use crate::{
    begin::{HEAD, Head},
    emit::{self, Payload},
    maps::{DONE, config, connection_of, count},
    packet::{self, TcpSegment},
};

/// A packet leaves a socket of the cgroup.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    observe::<{ direction::TO_SERVER }>(&ctx);
    1
}

/// A packet reaches a socket of the cgroup, before TCP has looked at it.
#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    observe::<{ direction::TO_CLIENT }>(&ctx);
    1
}

#[inline(always)]
fn observe<const D: u8>(ctx: &SkBuffContext) {
    let Some(connection) = live_connection(ctx.skb.skb) else { return };
    let Some(segment) = packet::parse(ctx) else {
        count(Lost::Unreadable);
        return;
    };
    let offset = relative_offset::<D>(connection, &segment);
    if segment.rst {
        connection.reset[usize::from(D)] = 1;
    }
    if segment.payload_len > 0 {
        if is_done(connection) {
            return;
        }
        deliver::<D>(ctx.skb.skb, connection, &segment, offset);
    }
    if segment.fin {
        let body = Fin { offset: offset.wrapping_add(segment.payload_len), reserved: 0 };
        emit::record(connection, (Kind::Fin, Lost::Fin), D, 0, body);
    }
}

/// The connection of this packet if more of it is wanted. For all other traffic of the machine this is
/// the whole cost.
#[inline(always)]
fn live_connection(skb: *mut __sk_buff) -> Option<&'static mut ConnectionState> {
    // SAFETY: a field of the context; it may be null.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // A request socket or one in TIME-WAIT has no storage; the helper looks (bpf_sk_storage_get).
    connection_of(sk).filter(|connection| connection.done == 0)
}

/// Offset of the payload in its direction. The SYN tells where the stream begins; of a connection
/// that is older than the agent, the first segment seen does.
#[inline(always)]
fn relative_offset<const D: u8>(connection: &mut ConnectionState, segment: &TcpSegment) -> u32 {
    let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
    let d = usize::from(D);
    if connection.base_known[d] == 0 {
        connection.base[d] = sequence;
        connection.base_known[d] = 1;
    }
    sequence.wrapping_sub(connection.base[d])
}

/// Whether the agent has said that it wants no more.
#[inline(always)]
fn is_done(connection: &mut ConnectionState) -> bool {
    if DONE.get_ptr(connection.cookie).is_none() {
        return false;
    }
    connection.done = 1;
    // The entry is not needed any more; the least recently used go by themselves anyway.
    let _ = DONE.remove(connection.cookie);
    true
}

#[inline(always)]
fn deliver<const D: u8>(
    skb: *mut __sk_buff,
    connection: &mut ConnectionState,
    segment: &TcpSegment,
    offset: u32,
) {
    let (d, other) = (usize::from(D), usize::from(1 - D));
    if connection.tls == 0 && begins_tls::<D>(skb, connection, segment, offset) {
        connection.tls = 1;
        connection.heard[d] = connection.sent[other];
    }
    let end = offset.wrapping_add(segment.payload_len);
    if end.wrapping_sub(connection.sent[d]) as i32 > 0 {
        connection.sent[d] = end;
    }
    let config = config();
    let (level, budget) = if connection.tls == 0 {
        (1, config.classify_budget)
    } else if in_flight::<D>(connection) {
        (3, config.flight_budget)
    } else {
        (2, config.handshake_budget.saturating_add(connection.in_flights[d]))
    };
    let left = budget.saturating_sub(connection.delivered[d]);
    let take = if segment.payload_len < left { segment.payload_len } else { left };
    if take < segment.payload_len {
        // One cut segment tells the agent that the budget is spent; the rest would be noise.
        if connection.exhausted[d] >= level {
            return;
        }
        connection.exhausted[d] = level;
        count(Lost::BudgetReached);
    }
    connection.delivered[d] = connection.delivered[d].wrapping_add(take);
    if level == 3 {
        connection.in_flights[d] = connection.delivered[d];
    }
    // (Of a base that is not known nothing was acknowledged.)
    let acked = if connection.base_known[other] == 0 {
        0
    } else {
        segment.acknowledgment.wrapping_sub(connection.base[other])
    };
    let payload = Payload { skb, at: segment.payload_at, len: segment.payload_len, offset, acked };
    emit::segment(connection, D, payload, take);
}

/// A server's answer that is shorter holds no certificate: it asks for another ClientHello.
const SHORTEST_FLIGHT: u32 = 512;

/// Whether this side is in a flight of the handshake: what it says before the other side has the
/// word again. A client has its hello and its own flight, a server one answer, and each one more
/// after a HelloRetryRequest. What comes after that is not the handshake's.
///
/// The number of bytes is bounded all the same: a client's first data follow its flight without a
/// turn, and the agent's word that it has seen enough takes a moment.
#[inline(always)]
fn in_flight<const D: u8>(connection: &mut ConnectionState) -> bool {
    let (d, other) = (usize::from(D), usize::from(1 - D));
    if connection.heard[d] != connection.sent[other] {
        connection.heard[d] = connection.sent[other];
        connection.turns[d] = connection.turns[d].saturating_add(1);
        if D == direction::TO_CLIENT
            && connection.turns[d] == 2
            && connection.delivered[d] < SHORTEST_FLIGHT
        {
            connection.retried = 1;
        }
    }
    u16::from(connection.turns[d]) <= 1 + connection.retried
}

#[inline(always)]
fn begins_tls<const D: u8>(
    skb: *mut __sk_buff,
    connection: &ConnectionState,
    segment: &TcpSegment,
    offset: u32,
) -> bool {
    let mut start = 0u64;
    let len = if segment.payload_len < HEAD as u32 { segment.payload_len } else { HEAD as u32 };
    let len = (black_box(len.wrapping_sub(1)) & (HEAD as u32 - 1)).wrapping_add(1);
    // SAFETY: `len` is at most the size of `start`.
    let loaded =
        unsafe { bpf_skb_load_bytes(skb.cast(), segment.payload_at, (&raw mut start).cast(), len) };
    if loaded != 0 {
        return false;
    }
    let head = Head {
        start: start.to_ne_bytes(),
        len: segment.payload_len,
        first: offset == 0,
        to_server: D == direction::TO_SERVER,
    };
    if connection.mid_stream == 0 { head.begins_tls() } else { head.begins_handshake() }
}

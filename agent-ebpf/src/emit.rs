//! Records into the ring buffer.
//!
//! Records are reserved in the ring itself: a scratch buffer per processor could be overwritten by
//! a softirq that interrupts the program, or by a program of a task that preempts it.

use core::hint::black_box;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_ktime_get_ns, generated::bpf_skb_load_bytes},
};
use hopsight_abi::{ConnectionState, Header, Kind, Lost, Segment, flags};

use crate::maps::{EVENTS, count};

#[repr(C)]
struct Framed<B> {
    header: Header,
    body: B,
}

#[repr(C)]
struct Chunk<const N: usize> {
    header: Header,
    body: Segment,
    data: [u8; N],
}

/// Which way the bytes go, as [`Header::direction`].
pub type Direction = u8;

#[inline(always)]
fn header(
    connection: &ConnectionState,
    kind: Kind,
    direction: Direction,
    flags: u16,
    len: usize,
) -> Header {
    let lost = if connection.lost[usize::from(direction)] == 0 { 0 } else { flags::LOST };
    Header {
        kind: kind as u8,
        direction,
        flags: flags | lost,
        len: len as u32,
        cookie: connection.cookie,
        // SAFETY: no arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
    }
}

/// Remembers that something of this direction was lost, so that its next record says so.
#[inline(always)]
fn lose(connection: &mut ConnectionState, direction: Direction, lost: Lost) {
    connection.lost[usize::from(direction)] = 1;
    count(lost);
}

/// Delivers a record of fixed size. `false`: it was lost, and counted as `loss`.
#[inline(always)]
pub fn record<B: 'static>(
    connection: &mut ConnectionState,
    (kind, loss): (Kind, Lost),
    direction: Direction,
    flags: u16,
    body: B,
) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Framed<B>>(0) else {
        lose(connection, direction, loss);
        return false;
    };
    let header = header(connection, kind, direction, flags, size_of::<Framed<B>>());
    entry.write(Framed { header, body });
    entry.submit(0);
    connection.lost[usize::from(direction)] = 0;
    true
}

/// Payload of a packet, from `at` bytes into it on.
pub struct Payload {
    /// The packet.
    pub skb: *mut __sk_buff,
    /// Where in the packet the payload starts.
    pub at: u32,
    /// Its length.
    pub len: u32,
    /// Its offset in the stream.
    pub offset: u32,
    /// What its sender had received of the other direction.
    pub acked: u32,
}

/// One chunk: `len` bytes in a reservation of `N`, a power of two; `1 <= len <= N`.
/// `claimed` is the payload length the record states.
#[inline(always)]
fn chunk<const N: usize>(
    connection: &mut ConnectionState,
    direction: Direction,
    payload: &Payload,
    len: u32,
    claimed: u32,
) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Chunk<N>>(0) else {
        lose(connection, direction, Lost::Segment);
        return false;
    };
    // The verifier must see 1..=N, and LLVM must not see that the mask changes nothing.
    let len = (black_box(len.wrapping_sub(1)) & (N as u32 - 1)).wrapping_add(1);
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to a reservation of its size; every field up to the announced length
    // is written before it is submitted.
    let loaded = unsafe {
        let fixed = size_of::<Header>() + size_of::<Segment>();
        (*record).header =
            header(connection, Kind::Segment, direction, 0, fixed.wrapping_add(len as usize));
        (*record).body = Segment {
            offset: payload.offset,
            payload_len: claimed,
            acked: payload.acked,
            reserved: 0,
        };
        let data = (&raw mut (*record).data).cast();
        bpf_skb_load_bytes(payload.skb.cast(), payload.at, data, len)
    };
    if loaded != 0 {
        entry.discard(0);
        lose(connection, direction, Lost::Unreadable);
        return false;
    }
    entry.submit(0);
    connection.lost[usize::from(direction)] = 0;
    true
}

/// A segment of which the budget leaves nothing: only its length.
#[inline(always)]
fn empty(connection: &mut ConnectionState, direction: Direction, payload: &Payload) {
    let Payload { offset, len: payload_len, acked, .. } = *payload;
    let body = Segment { offset, payload_len, acked, reserved: 0 };
    record(connection, (Kind::Segment, Lost::Segment), direction, 0, body);
}

const LARGE: u32 = 8192;
const MEDIUM: u32 = 2048;
const SMALL: u32 = 256;
/// Large chunks in the longest packet, which BIG TCP makes 512 KiB (`GSO_MAX_SIZE`). Without it,
/// loopback on 6.18 shows up to about 68 KiB.
const MAX_LARGE: u32 = (512 << 10) / LARGE;

/// Delivers the first `take` bytes of the payload in as many records as needed; the last one
/// claims what was cut off.
///
/// Chunks come in three sizes, each size in its own bounded loop: a choice inside one loop would
/// multiply the paths the verifier has to walk.
#[inline(always)]
pub fn segment(
    connection: &mut ConnectionState,
    direction: Direction,
    mut payload: Payload,
    mut take: u32,
) {
    if take == 0 {
        return empty(connection, direction, &payload);
    }
    for _ in 0..MAX_LARGE {
        // The last record has to claim the rest, so it goes below unless nothing is cut.
        if take < LARGE || (take == LARGE && payload.len != take) {
            break;
        }
        if !chunk::<{ LARGE as usize }>(connection, direction, &payload, LARGE, LARGE) {
            return;
        }
        advance(&mut payload, &mut take, LARGE);
    }
    for _ in 0..LARGE / MEDIUM {
        if take <= MEDIUM {
            break;
        }
        if !chunk::<{ MEDIUM as usize }>(connection, direction, &payload, MEDIUM, MEDIUM) {
            return;
        }
        advance(&mut payload, &mut take, MEDIUM);
    }
    let claimed = payload.len;
    if take > SMALL {
        chunk::<{ MEDIUM as usize }>(connection, direction, &payload, take, claimed);
    } else if take > 0 {
        chunk::<{ SMALL as usize }>(connection, direction, &payload, take, claimed);
    }
}

#[inline(always)]
fn advance(payload: &mut Payload, take: &mut u32, by: u32) {
    payload.at = payload.at.wrapping_add(by);
    payload.offset = payload.offset.wrapping_add(by);
    payload.len = payload.len.wrapping_sub(by);
    *take = take.wrapping_sub(by);
}

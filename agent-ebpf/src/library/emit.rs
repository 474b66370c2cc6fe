//! Library records into the ring buffer.

use core::hint::black_box;

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_user},
    macros::map,
    maps::LruHashMap,
};
use hopsight_abi::{Header, Kind, Library, LibraryCount, TRANSCRIPT_CAP};

use super::add;
use crate::maps::LIBRARY_EVENTS;

/// Bytes that one process may deliver in a second: a thousand handshakes; and of tickets alone: whoever
/// has it send these from many connections takes no handshake from it.
const BYTES_PER_SECOND: u64 = 8 << 20;
const TICKET_BYTES_PER_SECOND: u64 = 4 << 20;

/// What a process has delivered lately.
#[repr(C)]
#[derive(Clone, Copy)]
struct Delivered {
    /// Number of the second.
    second: u64,
    bytes: u64,
}

/// By process, and whether it is tickets.
#[map]
static DELIVERED: LruHashMap<Rate, Delivered> = LruHashMap::with_max_entries(4_096, 0);

/// What is delivered.
#[derive(Clone, Copy)]
pub enum What {
    /// A ticket that a server gave.
    Ticket,
    /// Anything else.
    Other,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Rate {
    process: u32,
    of_tickets: u32,
}

/// Whether a process may deliver so many more bytes in this second. Its threads may count at the same
/// time: what is lost of that makes the rate a little higher.
#[inline(always)]
fn is_within_rate(process: u32, what: What, more: u64) -> bool {
    let rate = Rate { process, of_tickets: matches!(what, What::Ticket).into() };
    let most = match what {
        What::Ticket => TICKET_BYTES_PER_SECOND,
        What::Other => BYTES_PER_SECOND,
    };
    // SAFETY: no arguments.
    let second = unsafe { bpf_ktime_get_ns() } / 1_000_000_000;
    let Some(known) = DELIVERED.get_ptr_mut(rate) else {
        let first = Delivered { second, bytes: more };
        // Where there is no room for it the rate is not kept.
        let _ = DELIVERED.insert(rate, first, 0);
        return true;
    };
    // SAFETY: the map's value, which lives until the program ends (RCU).
    let known = unsafe { &mut *known };
    if known.second != second {
        *known = Delivered { second, bytes: 0 };
    }
    known.bytes = known.bytes.wrapping_add(more);
    known.bytes <= most
}

#[repr(C)]
struct Chunk<const N: usize> {
    header: Header,
    body: Library,
    data: [u8; N],
}

#[inline(always)]
fn header(captured: u32) -> Header {
    Header {
        kind: Kind::Library as u8,
        len: (Header::SIZE + Library::SIZE) as u32 + captured,
        // SAFETY: no arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        ..Header::default()
    }
}

/// Delivers a record without bytes. False if it is lost.
#[inline(always)]
pub fn record(body: Library) -> bool {
    if !is_within_rate(body.tgid, What::Other, size_of::<Chunk<0>>() as u64) {
        add(LibraryCount::Limited, 1);
        return false;
    }
    let Some(mut entry) = LIBRARY_EVENTS.reserve::<Chunk<0>>(0) else {
        add(LibraryCount::Lost, 1);
        return false;
    };
    entry.write(Chunk { header: header(0), body, data: [] });
    entry.submit(0);
    true
}

/// Delivers a record with `len` bytes of the process's memory at `data`, [`TRANSCRIPT_CAP`] at most
/// and at least one. False if it is lost.
#[inline(always)]
pub fn bytes(body: Library, what: What, data: u64, len: u32) -> bool {
    // Reserved in a few sizes: most messages are small, a certificate chain rarely is.
    match len {
        ..=1024 => reserved::<1024>(body, what, data, len),
        1025..=4096 => reserved::<4096>(body, what, data, len),
        4097..=16_384 => reserved::<16_384>(body, what, data, len),
        TRANSCRIPT_CAP.. => reserved::<65_536>(body, what, data, TRANSCRIPT_CAP),
        _ => reserved::<65_536>(body, what, data, len),
    }
}

/// As [`bytes`], in a reservation for `N`, a power of two; `1 <= len <= N`.
#[inline(always)]
fn reserved<const N: usize>(body: Library, what: What, data: u64, len: u32) -> bool {
    if !is_within_rate(body.tgid, what, size_of::<Chunk<0>>() as u64 + u64::from(len)) {
        add(LibraryCount::Limited, 1);
        return false;
    }
    let Some(mut entry) = LIBRARY_EVENTS.reserve::<Chunk<N>>(0) else {
        add(LibraryCount::Lost, 1);
        return false;
    };
    // The verifier must see 1..=N, and LLVM must not see that the mask changes nothing.
    let len = (black_box(len.wrapping_sub(1)) & (N as u32 - 1)).wrapping_add(1);
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to a reservation of its size; every field up to the announced length
    // is written before it is submitted.
    let read = unsafe {
        (*record).header = header(len);
        (*record).body = body;
        bpf_probe_read_user((&raw mut (*record).data).cast(), len, data as *const _)
    };
    if read != 0 {
        entry.discard(0);
        add(LibraryCount::Unreadable, 1);
        return false;
    }
    entry.submit(0);
    add(LibraryCount::Bytes, len.into());
    true
}

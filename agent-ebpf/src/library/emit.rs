//! Library records into the ring buffer.

use core::hint::black_box;

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_user};
use hopsight_abi::{Header, Kind, Library, LibraryCount};

use super::add;
use crate::maps::EVENTS;

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

/// Delivers a record without bytes.
#[inline(always)]
pub fn record(body: Library) {
    let Some(mut entry) = EVENTS.reserve::<Chunk<0>>(0) else {
        add(LibraryCount::Lost, 1);
        return;
    };
    entry.write(Chunk { header: header(0), body, data: [] });
    entry.submit(0);
}

/// Delivers a record with `len` bytes of the process's memory at `data`, in a reservation for `N`,
/// a power of two; `1 <= len <= N`.
#[inline(always)]
pub fn bytes<const N: usize>(body: Library, data: u64, len: u32) {
    let Some(mut entry) = EVENTS.reserve::<Chunk<N>>(0) else {
        add(LibraryCount::Lost, 1);
        return;
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
        return;
    }
    entry.submit(0);
    add(LibraryCount::Bytes, len.into());
}

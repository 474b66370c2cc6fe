//! Probes inside TLS libraries (OpenSSL's names and calling conventions).
//!
//! Every probe only reads. A probe on a library's file fires in every process that maps it, so
//! each program first asks whether the process is watched.

mod connection;
mod emit;
mod registers;
mod transcript;
mod verification;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use hopsight_abi::LibraryCount;

use crate::connect::watched_name;

/// Counts per [`LibraryCount`].
#[map]
static LIBRARY_COUNTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(LibraryCount::ALL.len() as u32, 0);

/// Connection objects and the role they were given.
#[map]
static CONNECTIONS: LruHashMap<Connection, u8> = LruHashMap::with_max_entries(32_768, 0);

const CLIENT: u8 = 1;
const SERVER: u8 = 2;

/// A connection object (`SSL *`) of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Connection {
    tgid: u64,
    ssl: u64,
}

/// Adds to a count.
#[inline(always)]
fn add(count: LibraryCount, amount: u64) {
    if let Some(counter) = LIBRARY_COUNTS.get_ptr_mut(count as u32) {
        crate::maps::add(counter, amount);
    }
}

/// Counts the hit; the current process if it is watched.
#[inline(always)]
fn enter() -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    add(LibraryCount::Hit, 1);
    if watched_name(tgid).is_none() {
        add(LibraryCount::Unwatched, 1);
        return None;
    }
    Some(tgid)
}

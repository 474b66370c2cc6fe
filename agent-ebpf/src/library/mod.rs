//! Probes inside TLS libraries.
//!
//! Every probe only reads. A probe on a library's file fires in every process that maps it, so
//! each program first asks whether the process is watched.

mod boringssl;
mod connection;
mod emit;
mod go;
mod registers;
mod ticket;
mod transcript;
mod verification;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use hopsight_abi::{LibraryCount, Stack, StackCount};

use crate::connect::watched_name;

/// Counts per [`LibraryCount`].
#[map]
static LIBRARY_COUNTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(LibraryCount::ALL.len() as u32, 0);

/// Counts per [`Stack`] and [`StackCount`]: what is hit far more often than handshakes begin is
/// taken out by the agent.
#[map]
static STACK_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Stack::COUNTS, 0);

/// Connection objects and the role they were given.
#[map]
static CONNECTIONS: LruHashMap<Connection, u8> = LruHashMap::with_max_entries(32_768, 0);

/// Handshake type (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
/// A client of which messages are missing.
const LOST: u8 = 3;

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

/// Adds one to a count of a stack, as [`add`] does.
#[inline(always)]
fn count(stack: Stack, count: StackCount) {
    if let Some(counter) = STACK_COUNTS.get_ptr_mut(stack.index(count)) {
        // SAFETY: as in `add`.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}

/// Counts the hit; the current process if it is watched.
#[inline(always)]
fn enter(stack: Stack) -> Option<u32> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    add(LibraryCount::Hit, 1);
    if watched_name(tgid).is_none() {
        add(LibraryCount::Unwatched, 1);
        return None;
    }
    count(stack, StackCount::Hit);
    Some(tgid)
}

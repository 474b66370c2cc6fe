//! Probes inside TLS libraries.
//!
//! Every probe only reads. A probe on a library's file fires in every process that maps it, so
//! each program first asks whether the process is watched.

mod boringssl;
mod connection;
mod emit;
mod go;
mod hit;
mod registers;
mod ticket;
mod transcript;
mod verification;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use hopsight_abi::{Library, LibraryCount, Observation, Part};

use crate::connect::watched_name;

/// Counts per [`LibraryCount`].
#[map]
static LIBRARY_COUNTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(LibraryCount::ALL.len() as u32, 0);

/// Hits that showed nothing of what their places were chosen for, per process and [`Part`]
/// ([`Part::key`]): where they are many, the agent takes the probes out.
#[map]
static MISFIRES: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1_024, 0);

/// Connection objects and what is known of each.
#[map]
static CONNECTIONS: LruHashMap<Connection, Known> = LruHashMap::with_max_entries(32_768, 0);

/// Handshake types (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;

const CLIENT: u32 = 1;
const SERVER: u32 = 2;
/// A client of which messages are missing.
const LOST: u32 = 3;

/// A connection object (`SSL *`) of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Connection {
    tgid: u64,
    ssl: u64,
}

/// What is known of a connection object, from one connection to the next.
#[repr(C)]
#[derive(Clone, Copy)]
struct Known {
    /// [`CLIENT`], [`SERVER`] or [`LOST`].
    role: u32,
    /// Bytes of tickets that it delivered lately; see [`ticket`].
    tickets: u32,
    /// The second in which it did.
    second: u64,
}

/// Adds to a count.
#[inline(always)]
fn add(count: LibraryCount, amount: u64) {
    if let Some(counter) = LIBRARY_COUNTS.get_ptr_mut(count as u32) {
        crate::maps::add(counter, amount);
    }
}

/// Counts a hit that showed nothing of what its place was chosen for.
#[inline(always)]
fn misfire(part: Part, tgid: u32) {
    let key = part.key(tgid);
    match MISFIRES.get_ptr_mut(key) {
        Some(counter) => crate::maps::add(counter, 1),
        // A full LRU map evicts; the process is counted anew.
        None => drop(MISFIRES.insert(key, 1, 0)),
    }
}

/// Tells the agent that the current process runs another program, which it may want to look into.
#[inline(always)]
pub fn started(tgid: u32) {
    emit::record(Library { observation: Observation::Started as u8, tgid, ..Library::default() });
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

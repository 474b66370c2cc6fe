//! Maps and constants of the programs.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use aya_ebpf::{
    Global,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::{btf_map, map},
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use hopsight_abi::{Comm, Config, ConnectionState, Lost};

/// Constants, written by the loader before the verifier sees the programs.
#[unsafe(no_mangle)]
static CONFIG: Global<Config> = Global::new(Config {
    classify_budget: 2048,
    handshake_budget: 65_536,
    flight_budget: 524_288,
    flags: 0,
});

/// The state of each watched socket, freed with it.
#[btf_map]
static SOCKETS: SkStorage<ConnectionState> = SkStorage::new();

/// Records for the agent. The loader sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Library records for the agent: whoever floods it with them presses out no connection's. The loader
/// sets the size.
#[map]
pub static LIBRARY_EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Socket cookies of connections of which the agent wants no more bytes.
#[map]
pub static DONE: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Thread names that are watched.
#[map]
pub static NAMES: HashMap<Comm, u8> = HashMap::with_max_entries(256, 0);

/// Processes that are watched whatever their threads are called (Envoy's are named
/// `wrk:worker_0`), with the name to report: noted by the programs of `process` and by the agent.
#[map]
pub static PROCESSES: HashMap<u32, Comm> = HashMap::with_max_entries(16_384, 0);

/// When watched processes last began to run another program (`bpf_ktime_get_ns`): nothing of their memory
/// is older.
#[map]
pub static EXECUTED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Processes that have opened connections, put in by the agent, with when their main thread ended
/// (`bpf_ktime_get_ns`); 0 until then.
#[map]
pub static OPENERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Processes that have made others, or threads, with when they last did (`bpf_ktime_get_ns`).
#[map]
pub static FORKED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Counts per [`Lost`].
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(Lost::ALL.len() as u32, 0);

/// The configuration.
#[inline(always)]
pub fn config() -> Config {
    CONFIG.load()
}

#[inline(always)]
fn storage(sk: *mut bpf_sock, flags: u64) -> Option<&'static mut ConnectionState> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: `sk` comes from a context the verifier checked; the value is `ConnectionState` by the
    // map's definition and lives until the program ends (RCU).
    unsafe {
        bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags)
            .cast::<ConnectionState>()
            .as_mut()
    }
}

/// The state of `sk` if it is watched.
#[inline(always)]
pub fn connection_of(sk: *mut bpf_sock) -> Option<&'static mut ConnectionState> {
    storage(sk, 0)
}

/// A new state for `sk`, all zero. There may have been one: a socket may connect again after a
/// failure.
#[inline(always)]
pub fn watch(sk: *mut bpf_sock) -> Option<&'static mut ConnectionState> {
    const WORDS: usize = ConnectionState::SIZE / size_of::<u64>();
    const _: () = assert!(WORDS * size_of::<u64>() == ConnectionState::SIZE);
    let connection = storage(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))?;
    let words = ptr::from_mut(connection).cast::<u64>();
    for i in 0..WORDS {
        // SAFETY: within the state. Volatile, or LLVM makes it a call of a byte-wise loop.
        unsafe { words.add(i).write_volatile(0) };
    }
    Some(connection)
}

/// Stops watching `sk`.
#[inline(always)]
pub fn forget(sk: *mut bpf_sock) {
    // SAFETY: as in `storage`.
    unsafe { bpf_sk_storage_delete((&raw const SOCKETS).cast_mut().cast(), sk.cast()) };
}

/// Counts a loss.
#[inline(always)]
pub fn count(lost: Lost) {
    if let Some(counter) = LOST.get_ptr_mut(lost as u32) {
        add(counter, 1);
    }
}

/// Adds to a count of this processor's slot of an array, exactly: a softirq may count in the same
/// slot while a program of a task does, so the addition is atomic (`BPF_ATOMIC | BPF_ADD`, which
/// every kernel has that has BPF).
#[inline(always)]
pub fn add(counter: *mut u64, amount: u64) {
    // SAFETY: map look-ups return valid, aligned pointers; every access by programs is atomic.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

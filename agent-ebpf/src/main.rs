//! Kernel programs of hopsight: what a watched process's outgoing TCP connections say first.
//!
//! Every program returns 1, "go on", on every path: nothing here can stop or change traffic.
#![no_std]
#![no_main]
// `core::sync::atomic` has no read-modify-write for BPF; the intrinsic becomes its atomic addition.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to an atomic addition on this target")]

mod begin;
mod connect;
mod emit;
mod library;
mod maps;
mod packet;
mod process;
mod skb;
mod sock_ops;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_probe_read_user` is for GPL-compatible programs only, and so is `bpf_ktime_get_ns` before
/// Linux 5.8.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

//! Kernel programs of hopsight: what a watched process's outgoing TCP connections say first.
//!
//! Every program returns 1, "go on", on every path: nothing here can stop or change traffic.
#![no_std]
#![no_main]

mod begin;
mod connect;
mod emit;
mod library;
mod maps;
mod packet;
mod skb;
mod sock_ops;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_get_socket_cookie`, `bpf_sk_fullsock` and friends are not GPL-only; the ring buffer and
/// `bpf_ktime_get_ns` are not either on the wanted kernels, but verifiers before 5.8 disagree.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

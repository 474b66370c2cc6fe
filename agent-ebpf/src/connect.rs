//! `connect(2)` of a watched process: from here on its socket is watched.

use core::hint::black_box;

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_socket_cookie},
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use hopsight_abi::{Bytes16, Comm, Lost, config_flags};

use crate::{
    maps::{self, NAMES, PROCESSES, config},
    packet::{ipv4_mapped, ipv6},
};

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

/// An IPv4 socket connects.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    watch(&ctx, |addr| {
        // SAFETY: the context's own field, read as the verifier wants it.
        ipv4_mapped(unsafe { (*addr).user_ip4 })
    });
    1
}

/// An IPv6 socket connects; IPv4-mapped destinations come here too.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    watch(&ctx, |addr| {
        // SAFETY: the address of the context's own field; `ipv6` reads word by word.
        ipv6(unsafe { &raw const (*addr).user_ip6 })
    });
    1
}

#[inline(always)]
fn watch(ctx: &SockAddrContext, destination: impl FnOnce(*mut bpf_sock_addr) -> Bytes16) {
    let addr = ctx.sock_addr;
    // SAFETY: reads of the context's fields; the verifier checks each offset and width.
    let (kind, protocol, port, sk) = unsafe {
        ((*addr).type_, (*addr).protocol, (*addr).user_port, (*addr).__bindgen_anon_1.sk)
    };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let Some(comm) = watched_name(tgid) else { return };
    let destination_ip = destination(addr);
    let Some(connection) = maps::watch(sk) else {
        maps::count(Lost::Storage);
        return;
    };
    // SAFETY: one helper takes this program's context, the other nothing.
    unsafe {
        connection.cookie = bpf_get_socket_cookie(ctx.as_ptr());
        connection.cgroup_id = bpf_get_current_cgroup_id();
    }
    connection.tgid = tgid;
    connection.tid = tid;
    connection.comm = comm;
    connection.destination_ip = destination_ip;
    connection.destination_port = u16::from_be(port as u16);
}

/// The name of the connecting thread, zero after its end: some kernels (6.1) write no byte after
/// the terminating one.
#[inline(always)]
pub fn current_comm() -> Option<Comm> {
    // Two zero words LLVM would merge into a call of a byte-wise loop.
    let mut comm = Comm::from_words([black_box(0); 2]);
    // SAFETY: the helper writes at most as many bytes as it is given.
    let read = unsafe { bpf_get_current_comm((&raw mut comm).cast(), size_of::<Comm>() as u32) };
    (read == 0).then_some(comm)
}

/// The name the current process is watched under; `None`: it is not watched.
#[inline(always)]
pub fn watched_name(tgid: u32) -> Option<Comm> {
    if config().flags & config_flags::WATCH_ALL != 0 {
        return current_comm();
    }
    // SAFETY: the entry may be replaced meanwhile; a torn name would be a wrong label of one
    // connection, and names of one process do not change in practice.
    if let Some(name) = unsafe { PROCESSES.get(tgid) } {
        return Some(*name);
    }
    current_comm().filter(|comm| NAMES.get_ptr(*comm).is_some())
}

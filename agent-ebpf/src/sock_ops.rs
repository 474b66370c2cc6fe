//! States of a watched socket: SYN about to leave, established, closed.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_ESTABLISHED, BPF_TCP_SYN_SENT,
        bpf_sock,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use hopsight_abi::{Closed, ConnectionState, Established, Kind, Lost, Opened, direction, flags};

use crate::{
    emit,
    maps::{self, DONE, connection_of},
    packet::{ipv4_mapped, ipv6},
};

const AF_INET: u32 = 2;

/// A TCP socket of the cgroup changes.
#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    observe(&ctx);
    1
}

#[inline(always)]
fn observe(ctx: &SockOpsContext) {
    let op = ctx.op();
    if !matches!(
        op,
        BPF_SOCK_OPS_TCP_CONNECT_CB | BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_STATE_CB
    ) {
        return;
    }
    // SAFETY: a field of the context, null for request sockets.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    let Some(connection) = connection_of(sk) else { return };
    match op {
        BPF_SOCK_OPS_TCP_CONNECT_CB => opened(ctx, sk, connection),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(ctx, connection),
        _ => state_changed(ctx, connection),
    }
}

/// Here, not in `connect`: a connect that another program denied or that has no route never comes
/// this far, and never ends either.
#[inline(always)]
fn opened(ctx: &SockOpsContext, sk: *mut bpf_sock, connection: &mut ConnectionState) {
    let body = Opened {
        tgid: connection.tgid,
        tid: connection.tid,
        cgroup_id: connection.cgroup_id,
        comm: connection.comm,
        destination_ip: connection.destination_ip,
        destination_port: connection.destination_port,
        reserved_short: 0,
        reserved: 0,
    };
    let delivered =
        emit::record(connection, (Kind::Opened, Lost::Opened), direction::TO_SERVER, 0, body);
    if !delivered {
        // Without its opening nobody could say whose connection it is.
        maps::forget(sk);
        return;
    }
    watch_state(ctx);
    aya_log_ebpf::debug!(
        ctx,
        "connection {} opened by process {}",
        connection.cookie,
        connection.tgid
    );
}

/// Other programs' callbacks on this socket stay as they are.
#[inline(always)]
fn watch_state(ctx: &SockOpsContext) {
    let wanted = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    // The answer tells of flags this kernel does not know, and this one is older than any of them.
    let _ = ctx.set_cb_flags(wanted as i32);
}

#[inline(always)]
fn established(ctx: &SockOpsContext, connection: &mut ConnectionState) {
    let ops = ctx.ops;
    // SAFETY: fields of the context; addresses are read word by word.
    let (body, receive_next) = unsafe {
        let (local_ip, remote_ip) = if ctx.family() == AF_INET {
            (ipv4_mapped((*ops).local_ip4), ipv4_mapped((*ops).remote_ip4))
        } else {
            (ipv6(&raw const (*ops).local_ip6), ipv6(&raw const (*ops).remote_ip6))
        };
        let body = Established {
            local_ip,
            remote_ip,
            local_port: (*ops).local_port as u16,
            remote_port: u32::from_be((*ops).remote_port) as u16,
            reserved: 0,
        };
        (body, (*ops).rcv_nxt)
    };
    // The SYN-ACK that was accepted decides, not one that merely arrived. (Our own first byte is
    // known from the SYN: `snd_nxt` may count data sent with it.)
    connection.base[usize::from(direction::TO_CLIENT)] = receive_next;
    connection.base_known[usize::from(direction::TO_CLIENT)] = 1;
    emit::record(connection, (Kind::Established, Lost::Established), direction::TO_SERVER, 0, body);
    watch_state(ctx);
    aya_log_ebpf::debug!(ctx, "connection {} established", connection.cookie);
}

#[inline(always)]
fn state_changed(ctx: &SockOpsContext, connection: &mut ConnectionState) {
    let (previous, current) = (ctx.arg(0), ctx.arg(1));
    if current != BPF_TCP_CLOSE {
        return;
    }
    let mut how = if previous == BPF_TCP_SYN_SENT { flags::CONNECT_FAILED } else { 0 };
    if connection.reset[usize::from(direction::TO_CLIENT)] != 0 {
        how |= flags::RESET_BY_SERVER;
    } else if connection.reset[usize::from(direction::TO_SERVER)] != 0
        || previous == BPF_TCP_ESTABLISHED
    {
        // Our own reset leaves after the state has changed (tcp_disconnect, __tcp_close).
        how |= flags::RESET_BY_CLIENT;
    }
    let body = Closed { previous_state: previous, reserved: 0 };
    emit::record(connection, (Kind::Closed, Lost::Closed), direction::TO_SERVER, how, body);
    if connection.done == 0 {
        // The agent may have answered after the last packet; absence is the usual case.
        let _ = DONE.remove(connection.cookie);
    }
    aya_log_ebpf::debug!(ctx, "connection {} closed", connection.cookie);
}

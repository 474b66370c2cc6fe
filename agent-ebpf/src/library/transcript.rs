//! OpenSSL and rustls add handshake messages to the transcript hash; what every library's messages
//! become.

use aya_ebpf::{helpers::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use hopsight_abi::{Library, LibraryCount, Observation, Part, Stack, sent_by};

use super::{
    CLIENT, LOST, NEW_SESSION_TICKET, add, connection,
    emit::{self, What},
    enter, misfire, registers, ticket,
};

/// libssl calls `EVP_DigestUpdate(context, data, length)`.
#[uprobe]
pub fn transcript(ctx: ProbeContext) -> u32 {
    update(&ctx);
    0
}

/// OpenSSL inside a program enters `ssl3_finish_mac(connection, data, length)`.
#[uprobe]
pub fn finish_mac(ctx: ProbeContext) -> u32 {
    singly(&ctx, Stack::OpenSslInside);
    0
}

/// rustls calls `update(context, data, length)` of its hash. The context lives as long as the
/// handshake, and is all there is of the connection.
#[uprobe]
pub fn rustls_update(ctx: ProbeContext) -> u32 {
    singly(&ctx, Stack::Rustls);
    0
}

#[inline(always)]
fn update(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let ssl = connection::client(ctx, tgid)?;
    let [context, data, len] = registers::arguments(ctx);
    deliver(Part::Library(Stack::OpenSsl), tgid, (ssl, context), data, len, sent_by::UNKNOWN)
}

/// A message of the object in the first argument.
#[inline(always)]
fn singly(ctx: &ProbeContext, stack: Stack) -> Option<()> {
    let tgid = enter()?;
    let [ssl, data, len] = registers::arguments(ctx);
    match connection::role(tgid, ssl) {
        Some(CLIENT) | None => {}
        Some(LOST) => return None,
        Some(_) => {
            add(LibraryCount::Server, 1);
            return None;
        }
    }
    deliver(Part::Library(stack), tgid, (ssl, ssl), data, len, sent_by::UNKNOWN)
}

/// Type of the handshake message at `data`.
#[inline(always)]
pub fn kind(part: Part, tgid: u32, data: u64) -> Option<u8> {
    // SAFETY: the helper checks the address.
    let kind = unsafe { bpf_probe_read_user(data as *const u8) };
    if kind.is_err() {
        add(LibraryCount::Unreadable, 1);
        misfire(part, tgid);
    }
    kind.ok()
}

/// Delivers `len` bytes of messages at `data`, if that is what they are, of a connection object
/// and what tells its transcript from others.
#[inline(always)]
pub fn deliver(
    part: Part,
    tgid: u32,
    (ssl, context): (u64, u64),
    data: u64,
    len: u64,
    sender: u8,
) -> Option<()> {
    // SAFETY: the helper checks the address.
    let Ok(start) = (unsafe { bpf_probe_read_user(data as *const [u8; 4]) }) else {
        add(LibraryCount::Unreadable, 1);
        misfire(part, tgid);
        return None;
    };
    if !is_handshake(start, len) {
        add(LibraryCount::NotHandshake, 1);
        misfire(part, tgid);
        return None;
    }
    let body = Library {
        observation: Observation::Transcript as u8,
        sender,
        tgid,
        ssl,
        context,
        len: len as u32,
        ..Library::default()
    };
    // No transcript needs it: in TLS 1.3 it comes after the handshake, and up to TLS 1.2 it is on the
    // wire.
    if sender == sent_by::PEER && start[0] == NEW_SESSION_TICKET {
        ticket::deliver(body, data);
    } else if !emit::bytes(body, What::Other, data, len as u32) {
        connection::lose(tgid, ssl);
    }
    Some(())
}

/// Whether `len` hashed bytes that begin with `start` can be handshake messages
/// (RFC 8446 section 4: type, 24-bit length, body).
#[inline(always)]
fn is_handshake(start: [u8; 4], len: u64) -> bool {
    const MESSAGE_HASH: u8 = 254;
    const HEADER: u64 = 4;
    let body = u64::from(u32::from_be_bytes([0, start[1], start[2], start[3]]));
    let known = matches!(start[0], 1 | 2 | 4 | 8 | 11..=16 | 20..=22 | 24 | 25 | 67 | MESSAGE_HASH);
    // OpenSSL adds the header of the synthetic message alone, before the hash it announces.
    known
        && len <= u64::from(u32::MAX)
        && (HEADER + body <= len || (len == HEADER && start[0] == MESSAGE_HASH))
}

//! BoringSSL calls `ssl_do_msg_callback` for every handshake message and alert.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use hopsight_abi::{Library, LibraryCount, Observation, Part, Stack, sent_by};

use super::{CLIENT, CLIENT_HELLO, SERVER, add, connection, emit, enter, registers, transcript};

/// The client connection of which a thread read the server's certificate last, and has not
/// finished the handshake; 0: a server's.
#[map]
static VERIFYING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// Whose misfires are counted.
const PART: Part = Part::Library(Stack::BoringSsl);

/// The alert that ends every connection (RFC 8446 section 6.1).
const CLOSE_NOTIFY: u8 = 0;

const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;
const COMPRESSED_CERTIFICATE: u8 = 25;

/// BoringSSL calls `ssl_do_msg_callback(ssl, is_write, handshake, message)`.
#[uprobe]
pub fn boring_message(ctx: ProbeContext) -> u32 {
    message(&ctx);
    0
}

/// BoringSSL calls `ssl_do_msg_callback(ssl, is_write, alert, level and description)`.
#[uprobe]
pub fn boring_alert(ctx: ProbeContext) -> u32 {
    alert(&ctx);
    0
}

/// BoringSSL, or what uses it, has called `X509_verify_cert`.
#[uprobe]
pub fn boring_chain(ctx: ProbeContext) -> u32 {
    judged(&ctx, Observation::ChainVerified);
    0
}

/// BoringSSL has called the application's verify callback.
#[uprobe]
pub fn boring_callback(ctx: ProbeContext) -> u32 {
    judged(&ctx, Observation::CallbackAnswered);
    0
}

#[inline(always)]
fn message(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [ssl, is_write, _, data, len] = registers::five_arguments(ctx);
    let is_write = is_write as u32 != 0;
    let kind = transcript::kind(PART, tgid, data)?;
    if kind == CLIENT_HELLO {
        connection::set(tgid, ssl, if is_write { CLIENT } else { SERVER });
    }
    let is_client = connection::role(tgid, ssl) == Some(CLIENT);
    let thread = bpf_get_current_pid_tgid();
    match kind {
        CERTIFICATE | CERTIFICATE_VERIFY | COMPRESSED_CERTIFICATE if !is_write => {
            // A full LRU map evicts; the verification then goes unreported.
            let _ = VERIFYING.insert(thread, if is_client { ssl } else { 0 }, 0);
        }
        FINISHED if is_write => {
            // It may never have been there.
            let _ = VERIFYING.remove(thread);
        }
        // A session that is resumed is verified without a Certificate message: what is verified from
        // here on may be another connection's.
        _ if is_of_another(thread, ssl) => {
            let _ = VERIFYING.remove(thread);
        }
        _ => {}
    }
    if !is_client {
        add(LibraryCount::Server, 1);
        return None;
    }
    let sender = if is_write { sent_by::US } else { sent_by::PEER };
    transcript::deliver(PART, tgid, (ssl, ssl), data, len, sender)
}

/// Whether the thread read the certificate of another connection last.
#[inline(always)]
fn is_of_another(thread: u64, ssl: u64) -> bool {
    // SAFETY: only this thread writes its entry.
    unsafe { VERIFYING.get(thread) }.is_some_and(|verifying| *verifying != ssl)
}

#[inline(always)]
fn alert(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [ssl, is_write, _, data, len] = registers::five_arguments(ctx);
    if is_write as u32 != 0 || len != 2 || connection::role(tgid, ssl) != Some(CLIENT) {
        return None;
    }
    // SAFETY: the helper checks the address.
    let Ok([_, description]) = (unsafe { bpf_probe_read_user(data as *const [u8; 2]) }) else {
        add(LibraryCount::Unreadable, 1);
        return None;
    };
    if description == CLOSE_NOTIFY {
        return None;
    }
    emit::record(Library {
        observation: Observation::AlertReceived as u8,
        tgid,
        ssl,
        value: description.into(),
        ..Library::default()
    });
    Some(())
}

#[inline(always)]
fn judged(ctx: &ProbeContext, observation: Observation) -> Option<()> {
    let tgid = enter()?;
    // SAFETY: only this thread writes its entry.
    let ssl = unsafe { VERIFYING.get(bpf_get_current_pid_tgid()) }.copied()?;
    if ssl == 0 {
        return None;
    }
    emit::record(Library {
        observation: observation as u8,
        tgid,
        ssl,
        // A C `int`: the upper half is undefined.
        value: u64::from(registers::returned(ctx) as u32),
        ..Library::default()
    });
    Some(())
}

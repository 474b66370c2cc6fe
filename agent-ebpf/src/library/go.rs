//! Go's `crypto/tls` passes handshake messages and asks about certificates.
//!
//! A client's handshake runs in one goroutine from its first message to its last, on changing
//! threads: a goroutine leads to the connection where no register does. `*Conn` is a stable key,
//! for Go moves stacks and not the heap.

use aya_ebpf::{
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use hopsight_abi::{Library, LibraryCount, Observation, Part, Stack, sent_by};

use super::{
    CLIENT, CLIENT_HELLO, NEW_SESSION_TICKET, SERVER, add, connection, emit, enter, misfire,
    registers, transcript,
};

/// The handshake that a goroutine is in, by process and address of the goroutine.
#[map]
static GOROUTINES: LruHashMap<Goroutine, Handshake> = LruHashMap::with_max_entries(16_384, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Goroutine {
    tgid: u64,
    g: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Handshake {
    connection: u64,
    /// Something asked about a certificate.
    verified: u32,
    /// The client's Finished went out: what is verified from now on is something else.
    finished: u32,
}

/// Whose misfires are counted.
const PART: Part = Part::Library(Stack::Go);

const FINISHED: u8 = 20;
/// Content type of handshake messages (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// `crypto/tls` calls `(*Conn).writeRecordLocked(type, message)`.
#[uprobe]
pub fn go_sent(ctx: ProbeContext) -> u32 {
    sent(&ctx);
    0
}

/// `crypto/tls` calls `(*Conn).unmarshalHandshakeMessage(message, transcript)`.
#[uprobe]
pub fn go_received(ctx: ProbeContext) -> u32 {
    received(&ctx);
    0
}

/// `crypto/tls` calls `handshakeMessage.unmarshal(message)`.
#[uprobe]
pub fn go_unmarshal(ctx: ProbeContext) -> u32 {
    unmarshal(&ctx);
    0
}

/// `crypto/tls` has called `x509.(*Certificate).Verify`.
#[uprobe]
pub fn go_verified(ctx: ProbeContext) -> u32 {
    verified(&ctx, Observation::GoVerified);
    0
}

/// Something else has called `x509.(*Certificate).Verify`.
#[uprobe]
pub fn go_app_verified(ctx: ProbeContext) -> u32 {
    verified(&ctx, Observation::GoAppVerified);
    0
}

#[inline(always)]
fn goroutine(ctx: &ProbeContext, tgid: u32) -> Goroutine {
    Goroutine { tgid: tgid.into(), g: registers::goroutine(ctx) }
}

#[inline(always)]
fn sent(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [connection, content_type, data, len] = registers::go_arguments(ctx);
    if content_type as u8 != HANDSHAKE {
        add(LibraryCount::NotHandshake, 1);
        misfire(PART, tgid);
        return None;
    }
    let kind = transcript::kind(PART, tgid, data)?;
    match kind {
        CLIENT_HELLO => {
            connection::set(tgid, connection, CLIENT);
            let handshake = Handshake { connection, verified: 0, finished: 0 };
            // A full LRU map evicts; the handshake then stays without what its goroutine shows.
            let _ = GOROUTINES.insert(goroutine(ctx, tgid), handshake, 0);
        }
        FINISHED => finish(ctx, tgid, connection),
        _ => {}
    }
    message(tgid, connection, data, len, sent_by::US)
}

/// The client is done: says so where nothing asked about the server's certificate. That is said
/// here, and not left to be concluded, for a record that is lost must not become an answer.
#[inline(always)]
fn finish(ctx: &ProbeContext, tgid: u32, connection: u64) {
    let Some(handshake) = GOROUTINES.get_ptr_mut(goroutine(ctx, tgid)) else { return };
    // SAFETY: a valid pointer to an entry that only this goroutine writes.
    let handshake = unsafe { &mut *handshake };
    if handshake.connection != connection {
        return;
    }
    handshake.finished = 1;
    if handshake.verified == 0 {
        let observation = Observation::NeverVerified as u8;
        emit::record(Library { observation, tgid, ssl: connection, ..Library::default() });
    }
}

#[inline(always)]
fn received(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [connection, data, len, _] = registers::go_arguments(ctx);
    if transcript::kind(PART, tgid, data)? == CLIENT_HELLO {
        connection::set(tgid, connection, SERVER);
        // It may never have been in a handshake of its own.
        let _ = GOROUTINES.remove(goroutine(ctx, tgid));
    }
    message(tgid, connection, data, len, sent_by::PEER)
}

#[inline(always)]
fn unmarshal(ctx: &ProbeContext) -> Option<()> {
    let tgid = enter()?;
    let [_, data, len, _] = registers::go_arguments(ctx);
    match transcript::kind(PART, tgid, data)? {
        CLIENT_HELLO => {
            // The goroutine serves a client now.
            let _ = GOROUTINES.remove(goroutine(ctx, tgid));
            return None;
        }
        // It comes when the handshake is over, and the goroutine may read another connection.
        NEW_SESSION_TICKET => return None,
        _ => {}
    }
    // SAFETY: two words that only this goroutine writes.
    let handshake = unsafe { GOROUTINES.get(goroutine(ctx, tgid)) }.copied();
    let Some(handshake) = handshake else {
        add(LibraryCount::Server, 1);
        return None;
    };
    message(tgid, handshake.connection, data, len, sent_by::PEER)
}

#[inline(always)]
fn message(tgid: u32, connection: u64, data: u64, len: u64, sender: u8) -> Option<()> {
    if connection::role(tgid, connection) != Some(CLIENT) {
        add(LibraryCount::Server, 1);
        return None;
    }
    transcript::deliver(PART, tgid, (connection, connection), data, len, sender)
}

#[inline(always)]
fn verified(ctx: &ProbeContext, observation: Observation) -> Option<()> {
    let tgid = enter()?;
    let handshake = GOROUTINES.get_ptr_mut(goroutine(ctx, tgid))?;
    // SAFETY: a valid pointer to an entry that only this goroutine writes.
    let handshake = unsafe { &mut *handshake };
    if handshake.finished != 0 {
        return None;
    }
    handshake.verified = 1;
    emit::record(Library {
        observation: observation as u8,
        tgid,
        ssl: handshake.connection,
        // The type of the returned error: none is nil, no error.
        value: u64::from(registers::go_error(ctx) != 0),
        ..Library::default()
    });
    Some(())
}
